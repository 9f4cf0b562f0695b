"""The fleet seen at one instant: what a decision reads.

`observe` settles everything that depends on the snapshot and the time alone, once a tick:
liveness, standing, drains, slots. What a call adds (its origin, the counts of our own calls
in flight) costs microseconds: the order by distance is worked out at the first call from an
origin and kept with the view.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import msgspec

from federation.capacity import belief_liveness, capacity, models_of, pool_of
from federation.ejection import Cause, State
from federation.features import with_derived
from federation.geography import Distances
from federation.liveness import Liveness
from federation.model import Belief, HoldKind, Mode, Snapshot

# A probe's time includes the cluster's own: it corrects a declared distance only beyond this doubt.
PROBE_DOUBT_MS = 5.0
PROBE_DOUBT_SHARE = 0.25


class Drop(StrEnum):
    """Why a cluster is not a candidate. The strings stand in metrics and in `explain`."""

    MODEL_NOT_SERVED = "model_not_served"
    NOT_READY = "not_ready"
    DRAINED = "drained"
    EJECTED = "ejected"
    UNREACHABLE = "unreachable"
    NO_ROOM = "no_room"
    REGION_NOT_ALLOWED = "region_not_allowed"
    FEATURE_MISSING = "feature_missing"
    ELSEWHERE = "elsewhere"  # What the call needs beside its model is at other clusters: a path, what it refers to.
    SLOW_START = "slow_start"


class PoolView(msgspec.Struct, frozen=True, gc=False):
    """One model pool of one cluster, as a candidate."""

    cluster: str
    region: str
    model: str
    liveness: Liveness
    slots: float
    load_of_others: float
    share: float  # Of ordinary traffic it may take: below 1.0 while it starts slowly.
    drop: Drop | None  # Settled for every call until the next tick; None: a candidate.
    in_panic: bool  # Dropped, but it answers: good enough when nobody better is left.
    probed_rtt_ms: float | None  # As this front door's own probes measure it.
    doubted: bool = False  # Its share is small since it fails calls, and not since it is back for a moment only.
    features: frozenset[str] = frozenset()  # What its servers can do, as declared and as last reported.
    key: tuple[str, str] = ("", "")  # (cluster, model): by which our own calls are counted.
    free_of_others: float = 0.0  # Slots less what others have taken.

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "key", (self.cluster, self.model))
        msgspec.structs.force_setattr(self, "free_of_others", self.slots - self.load_of_others)

    def load(self, own: int) -> float:
        """Calls there now, as we believe: what others had at the last report, and our own."""
        return self.load_of_others + own

    def headroom_slots(self, own: int) -> float:
        """Free slots; negative when more calls are there than it runs at once."""
        return self.free_of_others - own

    def saturation(self, own: int) -> float:
        """Load over slots."""
        return self.load(own) / self.slots if self.slots > 0 else float("inf")


class Placed(msgspec.Struct, frozen=True, gc=False):
    """A pool seen from one origin."""

    pool: PoolView
    rtt_ms: float


@dataclass(frozen=True, slots=True)
class ModelView:
    """All pools of one model, by cluster name; and, kept as they are asked for, by distance."""

    model: str
    pools: tuple[PoolView, ...]
    _by_origin: dict[str, tuple[Placed, ...]] = field(default_factory=dict, compare=False, repr=False)

    def nearest_first(self, origin: str, fleet: "FleetView") -> tuple[Placed, ...]:
        """Every pool, nearest to `origin` first, ties by name; dropped ones included."""
        ordered = self._by_origin.get(origin)
        if ordered is None:
            placed = [Placed(pool, fleet.rtt_ms(origin, pool.region, pool.probed_rtt_ms)) for pool in self.pools]
            ordered = tuple(sorted(placed, key=lambda p: (p.rtt_ms, p.pool.cluster)))
            self._by_origin[origin] = ordered
        return ordered


@dataclass(frozen=True, slots=True)
class FleetView:
    """The fleet at one instant."""

    generation: int
    mode: Mode
    at: float
    distances: Distances
    own_region: str
    models: Mapping[str, ModelView]
    clusters: tuple[str, ...]
    all_models_known: bool  # False: of some cluster nobody has said yet what it serves.

    def rtt_ms(self, origin: str, region: str, probed_rtt_ms: float | None) -> float:
        """Distance as declared; from our own region as probed, where the two clearly differ."""
        declared = self.distances.rtt_ms(origin, region)
        if probed_rtt_ms is None or origin != self.own_region:
            return declared
        doubt_ms = max(PROBE_DOUBT_MS, PROBE_DOUBT_SHARE * declared)
        return probed_rtt_ms if abs(probed_rtt_ms - declared) > doubt_ms else declared


def observe(snapshot: Snapshot, now: float, wall_ms: float, distances: Distances, own_region: str = "") -> FleetView:
    """The fleet at `now` (monotonic seconds); `wall_ms` judges when drains end."""
    pools: dict[str, list[PoolView]] = {}
    all_models_known = True
    for belief in snapshot.beliefs.values():
        alive = belief_liveness(belief, now)
        models_here = models_of(belief)
        if not models_here and belief.heartbeat is None:
            all_models_known = False
        for model in models_here:
            pools.setdefault(model, []).append(_pool_view(belief, model, alive, now, wall_ms))
    models = {model: ModelView(model, tuple(views)) for model, views in sorted(pools.items())}
    return FleetView(
        generation=snapshot.generation,
        mode=snapshot.mode,
        at=now,
        distances=distances,
        own_region=own_region,
        models=models,
        clusters=tuple(snapshot.beliefs),
        all_models_known=all_models_known,
    )


def _pool_view(belief: Belief, model: str, alive: Liveness, now: float, wall_ms: float) -> PoolView:
    seen = capacity(belief, model, alive)
    drop = _drop(belief, model, seen.ready and seen.slots > 0, now, wall_ms)
    return PoolView(
        cluster=belief.spec.name,
        region=belief.spec.region,
        model=model,
        liveness=alive,
        slots=seen.slots,
        load_of_others=seen.load_of_others,
        share=belief.standing.share(now),
        drop=drop,
        in_panic=drop in (Drop.EJECTED, Drop.NOT_READY),
        probed_rtt_ms=None if belief.rtt_s is None else belief.rtt_s * 1000,
        doubted=belief.standing.doubted(now),
        features=_features(belief, model),
    )


def _features(belief: Belief, model: str) -> frozenset[str]:
    """Also those of a cluster that is not heard from: what its servers can do does not change with that."""
    declared = belief.spec.models.get(model)
    reported = pool_of(belief, model)
    both = (declared.features if declared is not None else ()) + (reported.features if reported is not None else ())
    return with_derived(both) if both else frozenset()


def _drop(belief: Belief, model: str, ready: bool, now: float, wall_ms: float) -> Drop | None:
    if belief.drain is not None and belief.drain.holds(wall_ms):
        return Drop.DRAINED
    standing = belief.standing
    if standing.state is State.EJECTED:
        gone = standing.cause is Cause.UNREACHABLE and not standing.reachable
        return Drop.UNREACHABLE if gone else Drop.EJECTED
    if not ready:
        return Drop.NOT_READY
    hold = belief.holds.get(model)
    if hold is not None and now < hold.until:
        return Drop.NO_ROOM if hold.kind is HoldKind.NO_ROOM else Drop.NOT_READY
    return None
