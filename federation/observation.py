"""observe(snapshot, now) -> view: settles everything that depends on the fleet and the time alone, once a tick.

Liveness, standing, drains and slots are worked out here, so that a decision only compares numbers. Of a thousand
clusters a tick changes a few dozen: what was seen of the others is taken over from the view before, as long as neither
what we believe of them nor the passing of time makes a difference.
"""

from collections.abc import Collection, Iterable, Mapping
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
    if before is None or before.distances is not distances:
        return _anew(snapshot, now, wall_ms, distances, own_region, {})
    if snapshot.changed is None or snapshot.generation != before.generation + 1 or now >= before.until:
        return _anew(snapshot, now, wall_ms, distances, own_region, before.seen, before)
    return _renewed(snapshot, snapshot.changed, now, wall_ms, before)


def _anew(
    snapshot: Snapshot,
    now: float,
    wall_ms: float,
    distances: Distances,
    own_region: str,
    earlier: Mapping[str, Seen],
    before: FleetView | None = None,
) -> FleetView:
    """Goes through all beliefs, and looks at those that are not as they were."""
    seen: dict[str, Seen] = {}
    changed: list[Seen] = []
    for name, belief in snapshot.beliefs.items():
        held = earlier.get(name)
        if held is None or now >= held.until or not _alike(belief, held.belief):
            held = _look(belief, now, wall_ms)
            changed.append(held)
        seen[name] = held
    unknown = frozenset([name for name, one in seen.items() if _is_unknown(one)])
    view = FleetView(
        generation=snapshot.generation,
        mode=snapshot.mode,
        at=now,
        distances=distances,
        own_region=own_region,
        models={},
        clusters=tuple(seen),
        all_models_known=not unknown,
        seen=seen,
        unknown=unknown,
        until=min([one.until for one in seen.values()], default=float("inf")),
    )
    same = before is not None and seen.keys() == earlier.keys() and _serve_the_same(changed, earlier)
    models = _with_changes(before.models, changed, view) if before is not None and same else _models(seen)
    return replace(view, models=models)


def _renewed(snapshot: Snapshot, names: Collection[str], now: float, wall_ms: float, before: FleetView) -> FleetView:
    """Looks at the named clusters alone: nothing else is other than one tick ago."""
    changed: list[Seen] = []
    until = before.until
    for name in names:
        belief = snapshot.beliefs[name]
        if not _alike(belief, before.seen[name].belief):
            changed.append(_look(belief, now, wall_ms))
    seen, unknown = before.seen, before.unknown
    if changed:
        seen = {**seen, **{one.belief.spec.name: one for one in changed}}
        until = min(until, *[one.until for one in changed])
        news = {one.belief.spec.name for one in changed if _is_unknown(one)}
        unknown = (
            frozenset((unknown - {one.belief.spec.name for one in changed}) | news) if unknown or news else unknown
        )
    view = FleetView(
        generation=snapshot.generation,
        mode=snapshot.mode,
        at=now,
        distances=before.distances,
        own_region=before.own_region,
        models=before.models,
        clusters=before.clusters,
        all_models_known=not unknown,
        seen=seen,
        unknown=unknown,
        until=until,
    )
    if not changed:
        return view
    same = _serve_the_same(changed, before.seen)
    return replace(view, models=_with_changes(before.models, changed, view) if same else _models(seen))


def _is_unknown(one: Seen) -> bool:
    """Whether nobody has said yet what a cluster serves."""
    return not one.pools and one.belief.heartbeat is None


def _models(seen: Mapping[str, Seen]) -> Mapping[str, ModelView]:
    by_model: dict[str, list[PoolView]] = {}
    for one in seen.values():
        for pool in one.pools:
            by_model.setdefault(pool.model, []).append(pool)
    return {model: ModelView(model, tuple(pools)) for model, pools in sorted(by_model.items())}


def _with_changes(models: Mapping[str, ModelView], changed: Iterable[Seen], view: FleetView) -> Mapping[str, ModelView]:
    """Views of all models, those of which nothing changed taken over as they are."""
    by_model: dict[str, list[PoolView]] = {}
    for one in changed:
        for pool in one.pools:
            by_model.setdefault(pool.model, []).append(pool)
    if not by_model:
        return models
    return {**models, **{model: models[model].renewed(pools, view) for model, pools in by_model.items()}}


def _serve_the_same(changed: Iterable[Seen], before: Mapping[str, Seen]) -> bool:
    """Whether these clusters serve the same models from the same regions as before."""
    for one in changed:
        other = before.get(one.belief.spec.name)
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
