"""How much a cluster can take, and how much of it is taken: the only capacity arithmetic.

Serving capacity is counted in slots, the calls a model pool runs at once. A figure is worth
as much as its source: fresh figures count whole, stale ones are discounted, and of a lost
cluster only the inventory's declared bound is left.
"""

from dataclasses import dataclass

from federation.liveness import Liveness, liveness
from federation.model import Belief, ModelPool

STALE_DISCOUNT = 0.7  # Of the slots last reported: it may have lost replicas since.
SLOTS_UNDECLARED = 32  # For a pool that nobody has said anything about.


@dataclass(frozen=True, slots=True)
class Capacity:
    """Slots of one (cluster, model) and the load that others put on it, at one instant."""

    slots: float
    load_of_others: float  # Running and waiting there, less our own calls at the time of the report.
    waiting: int
    kv_cache_utilization: float
    ready: bool  # False: a fresh report says that no replica is ready.


def belief_liveness(belief: Belief, now: float) -> Liveness:
    """Liveness of the heartbeat that we hold, if any."""
    heartbeat = belief.heartbeat
    if heartbeat is None:
        return Liveness.LOST
    # An agent that cannot see its cluster repeats old figures: as good as a statement that has not advanced.
    return liveness(belief.arrived_at, heartbeat.interval_ms / 1000, belief.advanced and heartbeat.observed, now)


def pool_of(belief: Belief, model: str) -> ModelPool | None:
    """What the heartbeat says about a model."""
    if belief.heartbeat is None:
        return None
    for pool in belief.heartbeat.pools:
        if pool.model == model:
            return pool
    return None


def models_of(belief: Belief) -> frozenset[str]:
    """The models a cluster is there for: what the inventory declares, or what it reports if that declares nothing.

    A declared model that a fresh report does not tell of is known and not ready: that no agent
    sees it must not make it unknown.
    """
    if belief.spec.models or belief.heartbeat is None:
        return frozenset(belief.spec.models)
    return frozenset(pool.model for pool in belief.heartbeat.pools if pool.replicas_desired or pool.replicas_ready)


def capacity(belief: Belief, model: str, alive: Liveness) -> Capacity:
    """Slots and foreign load of `model` at this cluster."""
    declared = belief.spec.models.get(model)
    pool = pool_of(belief, model)
    if pool is not None and pool.replicas_ready == 0 and alive is not Liveness.FRESH:
        pool = None  # Nobody was ready then; what is now, probes and calls must find out.
    if pool is None or alive is Liveness.LOST:
        if declared is not None:
            slots = float(declared.slots)
        else:
            slots = STALE_DISCOUNT * pool.slots if pool is not None and pool.slots else float(SLOTS_UNDECLARED)
        ready = alive is not Liveness.FRESH  # Fresh, and it says nothing of this model.
        return Capacity(slots=slots, load_of_others=0.0, waiting=0, kv_cache_utilization=0.0, ready=ready)
    slots = float(pool.slots if declared is None else min(pool.slots, declared.slots))
    if alive is Liveness.STALE:
        slots *= STALE_DISCOUNT
    own_then = belief.own_at_arrival.get(model, 0)
    return Capacity(
        slots=slots,
        load_of_others=max(0.0, float(pool.running + pool.waiting - own_then)),
        waiting=pool.waiting,
        kv_cache_utilization=pool.kv_cache_utilization_max,
        ready=pool.replicas_ready > 0 or alive is not Liveness.FRESH,
    )
