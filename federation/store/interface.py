"""The port: what agents and front doors ask of one store, and how it says that it cannot.

Every method ends within the store's own bound, by default `BOUND_S`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from federation.model import Drain

BOUND_S = 0.5
HEARTBEAT_TTL_S_MIN = 60.0
HEARTBEAT_TTL_INTERVALS = 10.0


def heartbeat_ttl_s(interval_s: float) -> float:
    """How long a heartbeat is kept: garbage collection, not liveness."""
    return max(HEARTBEAT_TTL_S_MIN, HEARTBEAT_TTL_INTERVALS * interval_s)


class StoreFault(StrEnum):
    """Why a store could not do what it was asked. The strings are metric labels."""

    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"
    READ_ONLY = "read_only"
    LOADING = "loading"
    FULL = "full"
    MOVED = "moved"
    DENIED = "denied"
    BUSY = "busy"
    ERROR = "error"


_WHAT_TO_DO = {
    StoreFault.TIMEOUT: "check that it is not frozen or overloaded and that no firewall drops the way to it",
    StoreFault.UNREACHABLE: "check that it runs at this address and that this host may connect to it",
    StoreFault.READ_ONLY: "this address leads to a replica: use the primary's, or wait for the failover to end",
    StoreFault.LOADING: "it reads its data set from disk: wait",
    StoreFault.FULL: "its memory is full: raise maxmemory or find what fills it",
    StoreFault.MOVED: "this is a Redis Cluster in motion or a client for one is needed: give a single endpoint",
    StoreFault.DENIED: "check the user name, the password and what its ACL allows",
    StoreFault.BUSY: "too many calls of ours at once, or a long script of another's: wait",
    StoreFault.ERROR: "see its log",
}


class StoreUnavailable(Exception):
    """A store did not do what it was asked; nothing is known about what stands there.

    After a timeout a write may still be carried out later. That is harmless: an older
    heartbeat or drain never replaces a newer one.
    """

    def __init__(self, name: str, cause: StoreFault, detail: str) -> None:
        super().__init__(f"store {name}: {cause}: {detail}; {_WHAT_TO_DO[cause]}")
        self.name = name
        self.cause = cause
        self.detail = detail


@dataclass(frozen=True, slots=True)
class StoreReading:
    """What stood in one store at one moment, by cluster name. Absent means: nothing known, never: gone."""

    heartbeats: Mapping[str, bytes]  # Sealed messages, not yet verified.
    drains: Mapping[str, Drain]
    malformed_drains: tuple[str, ...] = ()  # Clusters whose drain record could not be read.


class FederationStore(Protocol):
    """One store. All methods raise StoreUnavailable and nothing else of the world's."""

    @property
    def name(self) -> str:
        """For logs and metric labels: no credentials in it."""
        ...

    async def read(self, clusters: Sequence[str]) -> StoreReading:
        """The heartbeats and drains of these clusters, in one round trip."""
        ...

    async def publish(self, cluster: str, message: bytes, ttl_s: float) -> bool:
        """Put a sealed heartbeat there; False if a newer one stands there already."""
        ...

    async def put_drain(self, drain: Drain) -> bool:
        """Put a drain record there; False if one as new or newer stands there already."""
        ...

    async def aclose(self) -> None: ...
