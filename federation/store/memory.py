"""A store in this process' memory: for tests and the simulator."""

from collections.abc import Sequence

from federation.clock import Clock
from federation.keys import drain_key, heartbeat_key
from federation.model import Drain
from federation.store.interface import StoreFault, StoreReading, StoreUnavailable
from federation.store.records import decode_drain, drain_ttl_ms, encode_drain, order_of


class MemoryStore:
    """Behaves as the Redis store does, failures on request included."""

    def __init__(self, clock: Clock, name: str = "memory") -> None:
        self._clock = clock
        self._name = name
        self._entries: dict[str, tuple[bytes, float]] = {}  # Key to what stands there and its end in monotonic seconds.
        self.fault: StoreFault | None = None  # Set by a test: every call fails so, until it is None again.

    @property
    def name(self) -> str:
        return self._name

    async def read(self, clusters: Sequence[str]) -> StoreReading:
        self._fail_on_request()
        heartbeats: dict[str, bytes] = {}
        drains: dict[str, Drain] = {}
        malformed: list[str] = []
        for cluster in clusters:
            if (message := self._get(heartbeat_key(cluster))) is not None:
                heartbeats[cluster] = message
            if (record := self._get(drain_key(cluster))) is None:
                continue
            if (drain := decode_drain(cluster, record)) is not None:
                drains[cluster] = drain
            else:
                malformed.append(cluster)
        return StoreReading(heartbeats, drains, tuple(malformed))

    async def publish(self, cluster: str, message: bytes, ttl_s: float) -> bool:
        order = order_of(message)
        assert order is not None, "only sealed heartbeats are published"
        self._fail_on_request()
        standing = self._get(heartbeat_key(cluster))
        standing_order = order_of(standing) if standing is not None else None
        if standing_order is not None and standing_order > order:
            return False
        self.plant(heartbeat_key(cluster), message, ttl_s)
        return True

    async def put_drain(self, drain: Drain) -> bool:
        self._fail_on_request()
        record = self._get(drain_key(drain.cluster))
        standing = decode_drain(drain.cluster, record) if record is not None else None
        if standing is not None and standing.version_ms >= drain.version_ms:
            return False
        ttl_ms = drain_ttl_ms(drain.until_unix_ms, int(self._clock.wall() * 1000))
        self.plant(drain_key(drain.cluster), encode_drain(drain), ttl_ms / 1000)
        return True

    async def aclose(self) -> None:
        pass

    def plant(self, key: str, value: bytes, ttl_s: float) -> None:
        """Put any bytes under a key, as a stranger with access could."""
        self._entries[key] = (value, self._clock.monotonic() + ttl_s)

    def flush(self) -> None:
        """Forget everything, as a server does that was restarted without persistence."""
        self._entries.clear()

    def _get(self, key: str) -> bytes | None:
        value, ends_at = self._entries.get(key, (b"", 0.0))
        return value if self._clock.monotonic() < ends_at else None

    def _fail_on_request(self) -> None:
        if self.fault is not None:
            raise StoreUnavailable(self._name, self.fault, "on request")
