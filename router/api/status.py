"""What the fleet looks like now, as `tradewind status` shows it."""

from typing import Any

from federation.capacity import belief_liveness, models_of, pool_of
from federation.ejection import State
from federation.liveness import Liveness
from federation.model import Belief
from federation.view import PoolView
from router.edge.door import FrontDoor


def status_of(door: FrontDoor) -> dict[str, Any]:
    """A JSON value; ages in seconds, measured on this front door's clock."""
    feed = door.feed
    snapshot = feed.snapshot
    now = feed.clock.monotonic()
    return {
        "mode": snapshot.mode,
        "generation": snapshot.generation,
        "region": door.settings.region,
        "uptime_s": now - door.started_at,
        "lame_duck": door.lame_duck,
        "stores": [
            {
                "name": status.store.name,
                "reachable": status.reachable,
                "age_s": None if status.answered_at is None else now - status.answered_at,
            }
            for status in feed.stores
        ],
        "clusters": [_cluster(door, name, belief, now) for name, belief in snapshot.beliefs.items()],
    }


def _cluster(door: FrontDoor, name: str, belief: Belief, now: float) -> dict[str, Any]:
    drain = belief.drain
    standing = belief.standing
    views = door.feed.view.models
    pools = {model: pool for model, view in views.items() for pool in view.pools if pool.cluster == name}
    return {
        "cluster": name,
        "region": belief.spec.region,
        "endpoint": belief.spec.endpoint,
        "liveness": belief_liveness(belief, now),
        "heartbeat_age_s": None if belief.arrived_at is None else now - belief.arrived_at,
        "standing": {
            "state": standing.state,
            "cause": standing.cause,
            "for_s": now - standing.since if standing.since else None,
            "next_try_s": max(0.0, standing.until - now) if standing.state is State.EJECTED else None,
            "doubted_s": standing.doubted_until - now if standing.doubted(now) else None,
            "share": standing.share(now, door.feed.rules),
        },
        "drain": {"reason": drain.reason, "until_unix_ms": drain.until_unix_ms, "by": drain.by}
        if drain is not None and drain.holds(door.wall() * 1000)
        else None,
        "rtt_ms": None if belief.rtt_s is None else belief.rtt_s * 1000,
        "models": [_model(door, belief, model, pools.get(model)) for model in sorted(models_of(belief))],
    }


def _model(door: FrontDoor, belief: Belief, model: str, view: PoolView | None) -> dict[str, Any]:
    # Figures of a lost heartbeat are history: what is shown is what decisions go by.
    reported = pool_of(belief, model) if view is not None and view.liveness is not Liveness.LOST else None
    own = door.in_flight.get((belief.spec.name, model), 0)
    return {
        "model": model,
        "slots": view.slots if view is not None else 0,
        "running": reported.running if reported is not None else None,
        "waiting": reported.waiting if reported is not None else None,
        "own_in_flight": own,
        "saturation": view.saturation(own) if view is not None and view.slots > 0 else None,
        "kv_cache_utilization": reported.kv_cache_utilization_max if reported is not None else None,
        "replicas_ready": reported.replicas_ready if reported is not None else None,
        "replicas_desired": reported.replicas_desired if reported is not None else None,
        "drop": view.drop if view is not None else None,
    }
