"""One run of a scenario: what it needs, what it found. Pure."""

from collections.abc import Callable, Iterable
from random import Random

import msgspec

from federation.geography import Distances
from router.replay.traces import Arrival
from router.simulation.call import End, SimulatedCall
from router.simulation.outcomes import Figures, Outcome, figures, outcome, slowness
from router.simulation.policies import POLICIES
from router.simulation.scenario import Scenario
from router.simulation.workload import Demand, generated, traced
from router.simulation.world import World

Advance = Callable[[float], None]
"""Told of simulated seconds."""


class Inputs(msgspec.Struct, frozen=True):
    """A scenario and what stands in the files that it names."""

    scenario: Scenario
    measured_ms: dict[tuple[str, str], float]
    arrivals: tuple[Arrival, ...]  # Of the trace; none: calls are generated.
    rate: float  # Calls a second.


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """One run."""

    policy: str
    seed: int
    figures: Figures
    outcomes: list[Outcome]
    events: int  # Of the simulation.


def calls_of(inputs: Inputs, scenario: Scenario, rate: float, rng: Random) -> Iterable[SimulatedCall]:
    """The calls that come."""
    demand = Demand.of(scenario, rate)
    if inputs.arrivals:
        return traced(demand, inputs.arrivals, scenario.duration_s, rng)
    return generated(demand, scenario.duration_s, rng)


def simulate(inputs: Inputs, policy: str, seed: int, watch: Advance | None = None) -> Result:
    """One run. The same seed brings the same calls to every policy."""
    scenario = inputs.scenario
    calls = calls_of(inputs, scenario, inputs.rate, Random(f"{seed}/calls"))
    world = World(scenario, Distances(inputs.measured_ms), calls, POLICIES[policy].make, seed)
    done = world.run(watch)
    slow = {name: slowness(row) for name, row in world.rows.items()}
    outcomes = [outcome(call, world.rows, slow, scenario.objectives) for call in done if call.at >= scenario.warm_up_s]
    cost = sum(cluster.busy_s / 3600 * world.rows[name].cost_per_hour for name, cluster in world.clusters.items())
    counted = sum(call.output_tokens for call in done if call.end is End.SERVED) or 1
    share = sum(one.output_tokens for one in outcomes if one.end == End.SERVED) / counted
    return Result(
        policy=policy,
        seed=seed,
        figures=figures(outcomes, cost * share),
        outcomes=outcomes,
        events=world.timeline.happened,
    )
