"""The nouns of the federation, all of them immutable values.

A *heartbeat* is what a cluster's agent says; a *belief* is what we hold about one cluster
(its spec from the inventory, the last heartbeat, its standing, a drain); a *snapshot* is
all beliefs at once, with a generation. Only `fold` makes new snapshots.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any

import msgspec

from federation.ejection import Standing


class Epoch(msgspec.Struct, frozen=True, order=True):
    """One incarnation of a cluster's agent; compared field by field, in this order.

    An agent elected by a Kubernetes Lease fills all three, one without a lease only the
    last. Milliseconds since 1970, except for the count of transitions.
    """

    lease_created_ms: int = 0
    lease_transitions: int = 0
    boot_ms: int = 0


class ModelPool(msgspec.Struct, frozen=True, kw_only=True):
    """Serving capacity of one model in one cluster, summed over its ready model servers."""

    model: str
    replicas_ready: int
    replicas_desired: int
    running: int
    waiting: int
    slots: int  # How many calls the ready replicas run at once.
    kv_cache_utilization_mean: float = 0.0
    kv_cache_utilization_max: float = 0.0
    prefill_tokens_per_s: float = 0.0  # 0: not known yet.
    decode_tokens_per_s: float = 0.0
    time_per_output_token_s: float = (
        0.0  # Mean over what was generated since the last heartbeat; 0: nothing, or unknown.
    )
    prefix_cache_hit_ratio: float = 0.0
    adapters: tuple[str, ...] = ()
    features: tuple[str, ...] = ()  # What the servers can do beyond the plain API: federation.features.


class Accelerators(msgspec.Struct, frozen=True, kw_only=True):
    """Hardware capacity of one accelerator type in one cluster, in devices."""

    type: str
    total: int
    ready: int = 0
    allocated: int = 0
    idle: int = 0
    obtainable: int = 0  # What the autoscaler could still add.
    provisioning: str = "on-demand"


class Heartbeat(msgspec.Struct, frozen=True, kw_only=True):
    """One signed statement by a cluster's agent. Readers ignore fields they do not know."""

    cluster: str
    region: str
    epoch: Epoch
    seq: int
    interval_ms: int
    sent_unix_ms: int  # For people; never compared.
    pools: tuple[ModelPool, ...] = ()
    accelerators: tuple[Accelerators, ...] = ()
    observed: bool = True  # False: the agent lives but cannot see its cluster; the rest is its last knowledge.
    observed_age_ms: int = 0

    @property
    def order(self) -> tuple[Epoch, int]:
        return (self.epoch, self.seq)


class DeclaredPool(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a cluster may serve of a model at most; and its weight when nothing else is known."""

    slots: int
    features: tuple[str, ...] = ()  # As in a heartbeat, for clusters that send none; see federation.features.


class ClusterSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A cluster as declared by the inventory. Identity and endpoint come from here and nowhere else."""

    name: str
    region: str
    endpoint: str
    models: Mapping[str, DeclaredPool] = {}
    probe_path: str = "/health"
    paths: frozenset[str] = frozenset()  # Inference paths that it serves beside those that all are asked for.
    server_name: str | None = None  # The name in its certificate; None: the one in the endpoint.


class Drain(msgspec.Struct, frozen=True, kw_only=True):
    """An operator's wish to take a cluster out of new placements; ends by itself.

    Undraining writes the same record with `active` false and a newer version, so that it
    outlives a store that comes back empty just as the drain does.
    """

    cluster: str
    active: bool
    reason: str
    version_ms: int  # Wall clock of the operator's act; the newer record wins.
    until_unix_ms: int
    by: str = ""

    def holds(self, wall_ms: float) -> bool:
        return self.active and wall_ms < self.until_unix_ms


class HoldKind(StrEnum):
    """Why a model is not placed at a cluster for a while, though nothing is held against the cluster."""

    NO_ROOM = "no_room"
    MODEL_MISSING = "model_missing"


@dataclass(frozen=True, slots=True)
class Hold:
    kind: HoldKind
    until: float  # Monotonic seconds of this process.


def _nothing() -> Mapping[str, Any]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Belief:
    """What we hold about one cluster. Times are monotonic seconds of this process."""

    spec: ClusterSpec
    heartbeat: Heartbeat | None = None
    arrived_at: float | None = None  # When the heartbeat above was first seen here.
    advanced: bool = False  # False: first sight, which may be the last word of a dead agent.
    own_at_arrival: Mapping[str, int] = field(default_factory=_nothing)  # Our calls in flight there by model, then.
    standing: Standing = field(default_factory=Standing)
    drain: Drain | None = None
    holds: Mapping[str, Hold] = field(default_factory=_nothing)
    rtt_s: float | None = None  # Measured by our probes.


class Mode(StrEnum):
    """Whether the stores can be heard."""

    LIVE = "live"
    FROZEN = "frozen"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All beliefs at one instant, keyed and iterated by cluster name in sorted order."""

    generation: int
    mode: Mode
    folded_at: float
    beliefs: Mapping[str, Belief]
    changed: frozenset[str] | None = None  # Whose beliefs are not those of the generation before; None: any.
    restless: frozenset[str] | None = None  # Whose standing time alone may change; None: any.

    @classmethod
    def of_inventory(cls, specs: Mapping[str, ClusterSpec], now: float) -> "Snapshot":
        """What is known before anything was heard: the declared clusters, all in good standing."""
        beliefs = {name: Belief(specs[name]) for name in sorted(specs)}
        return cls(generation=0, mode=Mode.LIVE, folded_at=now, beliefs=MappingProxyType(beliefs))
