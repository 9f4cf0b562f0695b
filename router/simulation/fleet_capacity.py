"""What a fleet can serve within its objectives, so that a load of 0.8 means something. Pure, and a simulation itself.

The capacity of a kind of replica for a workload is the highest rate of calls, at random moments and with the workload's
lengths, at which a cluster of four of them still keeps both objectives for GOOD_SHARE of the calls. That of a fleet is
the sum over its replicas: regions do not help each other in it, so a policy that uses them well can serve more.
"""

from collections.abc import Callable, Iterable
from random import Random
from typing import Final

import msgspec

from federation.geography import Distances
from router.simulation.baselines.nearest import Nearest
from router.simulation.call import SimulatedCall
from router.simulation.outcomes import figures, outcome, slowness
from router.simulation.scenario import ClusterRow, FrontDoors, Heartbeats, Scenario, expanded
from router.simulation.world import World

GOOD_SHARE: Final = 0.95
REPLICAS: Final = 4
DURATION_S: Final = 60.0
WARM_UP_S: Final = 15.0
STEPS: Final = 7  # Of bisection: to within a hundredth.
RATE_MAX: Final = 400.0  # Calls a second and replica; short prompts on the fastest come to less.

CallsAt = Callable[[Scenario, float, Random], Iterable[SimulatedCall]]
"""Calls of a scenario at so many a second."""


def capacity(scenario: Scenario, calls_at: CallsAt) -> float:
    """Calls a second that the scenario's fleet can serve within its objectives."""
    kinds: dict[str, float] = {}
    total = 0.0
    for row in expanded(scenario.clusters).values():
        if row.accelerator not in kinds:
            kinds[row.accelerator] = replica_capacity(scenario, row, calls_at)
        total += kinds[row.accelerator] * row.replicas
    return total


def replica_capacity(scenario: Scenario, row: ClusterRow, calls_at: CallsAt) -> float:
    """Calls a second and replica of that row's kind; 0.0 if not even few calls keep the objectives."""
    alone = _alone(scenario, row)
    low, high = 0.0, RATE_MAX
    rate = 1.0
    while rate < RATE_MAX and _keeps(alone, rate, calls_at):
        low, rate = rate, 2.0 * rate
    high = min(rate, RATE_MAX)
    for _ in range(STEPS):
        middle = (low + high) / 2
        if _keeps(alone, middle, calls_at):
            low = middle
        else:
            high = middle
    return low


def _keeps(alone: Scenario, rate: float, calls_at: CallsAt) -> bool:
    """Whether that many calls a second and replica are served well enough."""
    calls = calls_at(alone, rate * REPLICAS, Random(alone.seed))
    world = World(alone, Distances.prior(), calls, lambda world: Nearest(), alone.seed)
    done = [call for call in world.run() if call.at >= WARM_UP_S]
    slow = {name: slowness(one) for name, one in world.rows.items()}
    found = figures([outcome(call, world.rows, slow, alone.objectives) for call in done], 0.0)
    return found.goodput >= GOOD_SHARE


def _alone(scenario: Scenario, row: ClusterRow) -> Scenario:
    """One cluster of that kind, with a front door beside it, by day and night alike, undisturbed."""
    workload = msgspec.structs.replace(scenario.workload, regions=None, day_s=None, surges=())
    return msgspec.structs.replace(
        scenario,
        duration_s=DURATION_S,
        warm_up_s=WARM_UP_S,
        clusters=(msgspec.structs.replace(row, name="alone", replicas=REPLICAS, times=1),),
        front_doors=FrontDoors(),
        heartbeats=Heartbeats(),
        workload=workload,
        faults=(),
    )
