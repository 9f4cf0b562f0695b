"""decide(call, fleet, own, rng) -> Place | Refuse: nearest eligible cluster with headroom.

What depends on the fleet alone was settled when the view was made (drops, slots, the order
by distance), so a call looks at its first few candidates only.
"""

from collections.abc import Container, Mapping
from random import Random

from federation.view import Drop, FleetView, ModelView, Placed, PoolView
from router.call import Call
from router.decision import Decision, Place, Reason, Refuse

CANDIDATES_MAX = 3  # As many as a call has attempts.
PANIC_SHARE = 0.5  # With fewer than this share of the answering clusters in good standing, standing is ignored.
FREE_SLOTS_MIN = 1.0

_NEAREST, _OVERFLOW = Reason.NEAREST, Reason.OVERFLOW  # Looking a member up costs more than the comparison.

Own = Mapping[tuple[str, str], int]  # (cluster, model) -> our own calls in flight there now.


def decide(call: Call, fleet: FleetView, own: Own, rng: Random) -> Decision:
    """Where to try the call, in which order. `rng` is drawn from only for clusters that start slowly."""
    view = fleet.models.get(call.model)
    if view is None:
        return Refuse(known=False, generation=fleet.generation)
    allowed, clusters, needs = call.regions, call.clusters, call.needs
    roomy: list[Placed] = []
    full: list[Placed] = []
    nearest_is_full = False
    for placed in view.nearest_first(call.origin, fleet):
        pool = placed.pool
        if pool.drop is not None or (allowed is not None and pool.region not in allowed):
            continue
        if clusters is not None and pool.cluster not in clusters:
            continue
        if needs is not None and not needs <= pool.features:
            continue
        # Counting what we sent since the last report; a slow starter takes only its share.
        if pool.free_of_others - own.get(pool.key, 0) >= FREE_SLOTS_MIN and (
            pool.share >= 1.0 or rng.random() < pool.share
        ):
            if not roomy:
                nearest_is_full = bool(full)
            roomy.append(placed)
            if len(roomy) == CANDIDATES_MAX:
                break
        else:
            full.append(placed)
    if roomy:
        reason = _OVERFLOW if nearest_is_full else _NEAREST
        if full and len(roomy) < CANDIDATES_MAX:
            roomy += least_saturated(full, own)[: CANDIDATES_MAX - len(roomy)]
        return Place(tuple(roomy), reason, fleet.generation)
    return _without_room(call, fleet, view, full, own)


def least_saturated(full: list[Placed], own: Own) -> list[Placed]:
    """Those without room, the least loaded first; slow starters last, then by distance."""
    return sorted(
        full,
        key=lambda p: (p.pool.share < 1.0, p.pool.saturation(own.get(p.pool.key, 0)), p.rtt_ms),
    )


def _without_room(call: Call, fleet: FleetView, view: ModelView, full: list[Placed], own: Own) -> Decision:
    """Nobody has room: the least saturated takes it; with too few in good standing, standing is ignored."""
    answering = [
        placed
        for placed in view.nearest_first(call.origin, fleet)
        if placed.pool.in_panic and unfit(call, placed.pool) is None
    ]
    if answering and len(full) < PANIC_SHARE * (len(full) + len(answering)):
        order = least_saturated(full + answering, own)
        reason = Reason.PANIC if order[0].pool.in_panic else _reason_without_room(order[0], full)
        return Place(tuple(order[:CANDIDATES_MAX]), reason, fleet.generation)
    if full:
        order = least_saturated(full, own)
        reason = _reason_without_room(order[0], full)
        return Place(tuple(order[:CANDIDATES_MAX]), reason, fleet.generation)
    return Refuse(known=True, generation=fleet.generation, drops=drops(call, view))


def last_resort(call: Call, fleet: FleetView, own: Own, tried: Container[str]) -> Placed | None:
    """For a call that has failed wherever it was allowed to go: the least loaded of those that answer, out or not.

    What it would get otherwise is an error. A cluster may be well again before its back-off is over or its hold has
    passed, and one call that has nothing to lose is a better probe of that than none.
    """
    view = fleet.models.get(call.model)
    if view is None:
        return None
    there = [
        placed
        for placed in view.nearest_first(call.origin, fleet)
        if (placed.pool.in_panic or placed.pool.drop is Drop.NO_ROOM)
        and placed.pool.cluster not in tried
        and unfit(call, placed.pool) is None
    ]
    return least_saturated(there, own)[0] if there else None


def _reason_without_room(first: Placed, full: list[Placed]) -> Reason:
    return Reason.NEAREST if first is full[0] else Reason.OVERFLOW


def drops(call: Call, view: ModelView) -> dict[str, Drop]:
    """Why each cluster that serves the model was passed over."""
    found: dict[str, Drop] = {}
    for pool in view.pools:
        drop = unfit(call, pool) or pool.drop
        if drop is not None:
            found[pool.cluster] = drop
    return found


def unfit(call: Call, pool: PoolView) -> Drop | None:
    """Why this call in particular cannot go to a pool."""
    if call.regions is not None and pool.region not in call.regions:
        return Drop.REGION_NOT_ALLOWED
    if call.clusters is not None and pool.cluster not in call.clusters:
        return Drop.ELSEWHERE
    if call.needs is not None and not call.needs <= pool.features:
        return Drop.FEATURE_MISSING
    return None
