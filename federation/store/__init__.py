"""Where heartbeats and drains are exchanged: the only thing that agents and front doors share.

A *store* is one Redis target (or, in tests and the simulator, memory). Nobody asks several
stores in one go: each caller runs one independent loop per store, with its own *breaker*,
so that a frozen one delays nobody else's. What a store cannot do in time, it says by
`StoreUnavailable`; an empty answer is never a disguised failure.

The Redis store lives in `federation.store.redis` and is not imported here: it costs the
Redis client's import.
"""

from federation.store.breaker import Breaker
from federation.store.interface import (
    FederationStore,
    StoreFault,
    StoreReading,
    StoreUnavailable,
    heartbeat_ttl_s,
)
from federation.store.memory import MemoryStore

__all__ = [
    "Breaker",
    "FederationStore",
    "MemoryStore",
    "StoreFault",
    "StoreReading",
    "StoreUnavailable",
    "heartbeat_ttl_s",
]
