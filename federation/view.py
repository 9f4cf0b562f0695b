"""The fleet seen at one instant: what a decision reads.

`observation.observe` makes it once a tick. What a call adds (its origin, the counts of our own calls in flight) costs
microseconds: the order by distance is worked out at the first call from an origin, and handed on from view to view for
as long as somebody asks for it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import msgspec

from federation.geography import Distances
from federation.liveness import Liveness
from federation.model import Belief, Mode

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


class Order(msgspec.Struct, frozen=True, gc=False):
    """All pools of a model as seen from one origin, nearest first; and where each cluster stands in that."""

    placed: tuple[Placed, ...]
    place_of: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class ModelView:
    """All pools of one model, by cluster name; and, kept as they are asked for, by distance."""

    model: str
    pools: tuple[PoolView, ...]
    _by_origin: dict[str, Order] = field(default_factory=dict, compare=False, repr=False)
    _place_of: dict[str, int] = field(default_factory=dict, compare=False, repr=False)  # Of a cluster in `pools`.
    _handed_on: Mapping[str, Order] = field(default_factory=dict, compare=False, repr=False)

    def nearest_first(self, origin: str, fleet: "FleetView") -> tuple[Placed, ...]:
        """Every pool, nearest to `origin` first, ties by name; dropped ones included."""
        order = self._by_origin.get(origin)
        if order is None:
            order = self._handed_on.get(origin) or self._ordered(origin, fleet)
            self._by_origin[origin] = order
        return order.placed

    def _ordered(self, origin: str, fleet: "FleetView") -> Order:
        placed = [Placed(pool, fleet.rtt_ms(origin, pool.region, pool.probed_rtt_ms)) for pool in self.pools]
        placed.sort(key=lambda p: (p.rtt_ms, p.pool.cluster))
        return Order(tuple(placed), {one.pool.cluster: place for place, one in enumerate(placed)})

    def renewed(self, changed: Sequence[PoolView], fleet: "FleetView") -> "ModelView":
        """The view with other figures for the same clusters; orders that were asked for are handed on where they hold.

        `fleet` tells distances only.
        """
        place_of = self._place_of or {pool.cluster: place for place, pool in enumerate(self.pools)}
        pools = list(self.pools)
        for pool in changed:
            pools[place_of[pool.cluster]] = pool
        handed_on: dict[str, Order] = {}
        for origin, order in self._by_origin.items():
            placed = list(order.placed)
            for pool in changed:
                place = order.place_of[pool.cluster]
                rtt_ms = fleet.rtt_ms(origin, pool.region, pool.probed_rtt_ms)
                if rtt_ms != placed[place].rtt_ms:
                    break  # Distances moved: sorted anew when somebody asks.
                placed[place] = Placed(pool, rtt_ms)
            else:
                handed_on[origin] = Order(tuple(placed), order.place_of)
        return ModelView(self.model, tuple(pools), {}, place_of, handed_on)


class Seen(msgspec.Struct, frozen=True, gc=False):
    """One cluster as it was looked at, and until when it looks the same if nothing new is heard of it."""

    belief: Belief
    until: float  # Monotonic seconds.
    pools: tuple[PoolView, ...]  # By model.


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
    seen: Mapping[str, Seen] = field(default_factory=dict, compare=False, repr=False)
    unknown: frozenset[str] = frozenset()  # Clusters of which nobody has said yet what they serve.
    until: float = field(default=0.0, compare=False)  # Before then, time alone changes nothing that is seen here.

    def rtt_ms(self, origin: str, region: str, probed_rtt_ms: float | None) -> float:
        """Distance as declared; from our own region as probed, where the two clearly differ."""
        declared = self.distances.rtt_ms(origin, region)
        if probed_rtt_ms is None or origin != self.own_region:
            return declared
        doubt_ms = max(PROBE_DOUBT_MS, PROBE_DOUBT_SHARE * declared)
        return probed_rtt_ms if abs(probed_rtt_ms - declared) > doubt_ms else declared
