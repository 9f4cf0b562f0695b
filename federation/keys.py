"""The names of everything in Redis. No key is spelled anywhere else.

`tw:1:` is the schema version. The hash tag `{fed}` puts heartbeats and drains in one slot,
so that one MGET reads them all; together they are a few kilobytes a cluster.
"""

PREFIX = "tw:1:"


def heartbeat_key(cluster: str) -> str:
    """The last heartbeat of a cluster: one sealed message (federation.wire)."""
    return f"{PREFIX}{{fed}}:heartbeat:{cluster}"


def drain_key(cluster: str) -> str:
    """The drain record of a cluster: JSON of federation.model.Drain."""
    return f"{PREFIX}{{fed}}:drain:{cluster}"
