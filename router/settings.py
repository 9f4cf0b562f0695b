"""Everything a front door can be told, with its default and the reason for it.

Read from a YAML file and from TRADEWIND_* variables (`TRADEWIND_PORT=9000`,
`TRADEWIND_TIMEOUTS__FIRST_BYTE_S=30`; the environment wins) in router.configuration.
"""

import msgspec

ACCESS_LOGS = ("none", "failed", "all")


class TimeoutSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Bounds on every wait of a call, in seconds."""

    connect_s: float = 1.0  # Three round trips of the longest way there is.
    first_byte_s: float = 300.0  # A long prompt in a full queue; a dead cluster is found by probes long before.
    idle_s: float = 120.0  # Between two bytes of an answer.
    comment_s: float = 15.0  # A stream that is quiet for longer gets a comment, so that no hop gives up on it.
    total_s: float = 3600.0  # The longest answer anyone waits for.
    body_s: float = 30.0  # For a client to send its request.
    keep_alive_s: float = 650.0  # Above the 600 s for which cloud load balancers keep connections to us.
    upstream_idle_s: float = 50.0  # Below the minute after which the usual gateways drop an idle connection.


class EdgeSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Bounds on what one client, or all together, may take."""

    body_bytes_max: int = 32 * 1024 * 1024  # Images inline in a prompt; files have a path of their own.
    upload_bytes_max: int = 200 * 1024 * 1024  # Files in forms: almost two hours of uncompressed speech at 16 kHz.
    buffered_bytes_max: int = 1024 * 1024 * 1024  # Bodies of all calls in flight together.
    kept_bytes_max: int = 256 * 1024 * 1024  # Of all streams together, to go on with them when they break.
    headers_bytes_max: int = 64 * 1024
    headers_max: int = 100
    idle_connections_max: int = 1024  # Kept open to each cluster.
    connections_max: int = 10_000  # To each cluster, idle or not; well below the 28,000 ports towards one address.
    warm_connections: int = 2  # At rest for each cluster, so that a call after a quiet time need not wait for TLS.
    calls_max: int = 20_000  # In flight in one process; beyond it 503.


class ShutdownSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a front door ends."""

    lame_duck_s: float = 5.0  # /readyz says 503, calls are still taken: until load balancers have noticed.
    grace_s: float = 600.0  # For calls under way to finish.


class FederationSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the fleet is watched."""

    poll_s: float = 0.25  # Reading each store; a drain is seen by everyone within a second.
    tick_s: float = 0.05  # Folding what was heard into the next snapshot.
    store_timeout_s: float = 0.5
    probe_s: float = 0.25  # With three silent probes and the time-out below: a frozen cluster is out in 1.5 s.
    probe_timeout_s: float = 0.75
    slow_start_s: float = 10.0


class PairSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A certificate and its key, both PEM; the certificate first, then those between it and the authority."""

    cert_file: str
    key_file: str


class RouterSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A front door."""

    region: str
    inventory: str  # Path of the inventory file, relative to this one.
    host: str = "127.0.0.1"
    port: int = 8080
    admin_host: str = "127.0.0.1"
    admin_port: int = 8081
    admin_token_file: str | None = None  # Without it the admin API answers loopback only, and says so.
    stores: tuple[str, ...] = ()  # Redis URLs; with none, the inventory and our own eyes must do.
    keys_file: str | None = None  # Hashed API keys; without it the front door listens on loopback only.
    rtt_file: str | None = None  # A measured matrix; without it distances are a prior.
    ca_file: str | None = None  # PEM of the authorities that sign the clusters' certificates; else the system's.
    client_cert_file: str | None = None  # Who we are to clusters that ask; with the next one, or not at all.
    client_key_file: str | None = None
    tls: PairSettings | None = None  # For the main port; without it a load balancer in front must end TLS.
    admin_tls: PairSettings | None = None  # For the admin port, which has other clients: it may name the same files.
    client_region_header: str | None = None  # Set by the load balancer: a region, or "latitude,longitude".
    trusted_proxies: tuple[str, ...] = ()  # Networks whose client_region_header is believed.
    cors_origins: tuple[str, ...] = ()  # Web pages that may call from a browser, or "*"; by default none may.
    access_log: str = "failed"  # Which calls leave a line: none, failed (a bounded number), all.
    seed: int | None = None
    workers: int = 1  # Processes that share the main port; one for each core given to the front door.
    timeouts: TimeoutSettings = TimeoutSettings()
    edge: EdgeSettings = EdgeSettings()
    shutdown: ShutdownSettings = ShutdownSettings()
    federation: FederationSettings = FederationSettings()
