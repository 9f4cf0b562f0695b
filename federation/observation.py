"""observe(snapshot, now) -> view: settles everything that depends on the fleet and the time alone, once a tick.

Liveness, standing, drains and slots are worked out here, so that a decision only compares numbers. Of a thousand
clusters a tick changes a few dozen: what was seen of the others is taken over from the view before, as long as neither
what we believe of them nor the passing of time makes a difference.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from federation.capacity import belief_liveness, capacity, models_of, pool_of
from federation.ejection import Cause, State
from federation.features import with_derived
from federation.geography import Distances
from federation.liveness import Liveness, next_change_at
from federation.model import Belief, HoldKind, Snapshot
from federation.view import Drop, FleetView, ModelView, PoolView, Seen


def observe(
    snapshot: Snapshot,
    now: float,
    wall_ms: float,
    distances: Distances,
    own_region: str = "",
    before: FleetView | None = None,
) -> FleetView:
    """The fleet at `now` (monotonic seconds); `wall_ms` judges when drains end. `before`: the last view, if any."""
    earlier = before.seen if before is not None and before.distances is distances else {}
    seen: dict[str, Seen] = {}
    changed: dict[str, list[PoolView]] = {}
    all_models_known = True
    for name, belief in snapshot.beliefs.items():
        held = earlier.get(name)
        if held is None or now >= held.until or not _alike(belief, held.belief):
            held = _look(belief, now, wall_ms)
            for pool in held.pools:
                changed.setdefault(pool.model, []).append(pool)
        seen[name] = held
        if not held.pools and belief.heartbeat is None:
            all_models_known = False
    view = FleetView(
        generation=snapshot.generation,
        mode=snapshot.mode,
        at=now,
        distances=distances,
        own_region=own_region,
        models={},
        clusters=tuple(snapshot.beliefs) if before is None or len(before.clusters) != len(seen) else before.clusters,
        all_models_known=all_models_known,
        seen=seen,
    )
    return replace(view, models=_models(seen, changed, before, view))


def _models(
    seen: Mapping[str, Seen], changed: Mapping[str, Sequence[PoolView]], before: FleetView | None, view: FleetView
) -> Mapping[str, ModelView]:
    """Views of all models, those of whom nothing changed taken over as they are."""
    if before is not None and _same_pools(seen, before.seen):
        models = dict(before.models)
        for model, pools in changed.items():
            newer = {pool.cluster: pool for pool in pools}
            old = models[model]
            models[model] = old.renewed(tuple([newer.get(pool.cluster, pool) for pool in old.pools]), pools, view)
        return models
    by_model: dict[str, list[PoolView]] = {}
    for one in seen.values():
        for pool in one.pools:
            by_model.setdefault(pool.model, []).append(pool)
    return {model: ModelView(model, tuple(pools)) for model, pools in sorted(by_model.items())}


def _same_pools(seen: Mapping[str, Seen], before: Mapping[str, Seen]) -> bool:
    """Whether the same clusters serve the same models from the same regions as before."""
    if len(seen) != len(before):
        return False
    for name, one in seen.items():
        other = before.get(name)
        if other is one:
            continue
        if other is None or len(one.pools) != len(other.pools):
            return False
        for pool, old in zip(one.pools, other.pools, strict=True):
            if pool.model != old.model or pool.region != old.region:
                return False
    return True


def _alike(belief: Belief, held: Belief) -> bool:
    """Whether two beliefs look the same from here: what good is told of a cluster in good standing is no news."""
    if belief is held:
        return True
    return (
        belief.heartbeat is held.heartbeat
        and belief.own_at_arrival is held.own_at_arrival
        and belief.advanced == held.advanced
        and belief.arrived_at == held.arrived_at
        and belief.spec is held.spec
        and belief.drain is held.drain
        and belief.holds is held.holds
        and belief.rtt_s == held.rtt_s
        and (
            belief.standing is held.standing
            or (
                belief.standing.state is State.ADMITTED
                and held.standing.state is State.ADMITTED
                and belief.standing.doubted_until == held.standing.doubted_until
            )
        )
    )


def _look(belief: Belief, now: float, wall_ms: float) -> Seen:
    alive = belief_liveness(belief, now)
    pools = tuple([_pool_view(belief, model, alive, now, wall_ms) for model in sorted(models_of(belief))])
    return Seen(belief, _until(belief, now), pools)


def _until(belief: Belief, now: float) -> float:
    """When the passing of time alone makes a difference; `now` where it may at any moment."""
    standing, heartbeat = belief.standing, belief.heartbeat
    if standing.state is State.PROBATION or (belief.drain is not None and belief.drain.active):
        return now
    until = float("inf")
    if heartbeat is not None and belief.arrived_at is not None:
        until = next_change_at(belief.arrived_at, heartbeat.interval_ms / 1000, now)
    if now < standing.doubted_until < until:
        until = standing.doubted_until
    for hold in belief.holds.values():
        if now < hold.until < until:
            until = hold.until
    return until


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
