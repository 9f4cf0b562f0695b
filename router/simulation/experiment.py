"""Runs a scenario under several policies and seeds, side by side on all cores.

Reads the files that a scenario names, and starts processes; what each of them does is pure.
"""

import gzip
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from multiprocessing import get_context
from pathlib import Path
from random import Random

import msgspec

from federation.geography import BadMatrix, Distances
from router.replay.traces import Arrival, BadTrace, parse_trace
from router.simulation.call import SimulatedCall
from router.simulation.fleet_capacity import capacity
from router.simulation.outcomes import Figures, Outcome, figures, outcome, slowness
from router.simulation.policies import POLICIES
from router.simulation.scenario import BadScenario, Scenario, load
from router.simulation.workload import Demand, generated, traced
from router.simulation.world import World

Advance = Callable[[float], None]


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


def read(path: Path) -> Inputs:
    """A scenario with all that it needs. Raises BadScenario, BadTrace or BadMatrix with file and line."""
    scenario = load(path)
    measured: dict[tuple[str, str], float] = {}
    if scenario.rtt is not None:
        file = path.parent / scenario.rtt
        measured = dict(Distances.parse(_text(file, path, "rtt"), str(file)).measured)
    arrivals: tuple[Arrival, ...] = ()
    if scenario.workload.trace is not None:
        file = path.parent / scenario.workload.trace
        arrivals = tuple(parse_trace(_text(file, path, "workload.trace").splitlines(), str(file)))
    inputs = Inputs(scenario, measured, arrivals, scenario.workload.rate or 0.0)
    if scenario.workload.load is None:
        return inputs
    able = capacity(scenario, lambda alone, rate, rng: calls_of(inputs, alone, rate, rng))
    if able <= 0.0:
        raise BadScenario([f"{path}: workload.load: this fleet cannot keep the objectives for even one call a second"])
    return msgspec.structs.replace(inputs, rate=scenario.workload.load * able)


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
    outcomes = [
        outcome(call, world.rows, slow, scenario.objectives) for call in done if call.at >= scenario.warm_up_s
    ]
    cost = sum(cluster.busy_s / 3600 * world.rows[name].cost_per_hour for name, cluster in world.clusters.items())
    counted = sum(call.output_tokens for call in done if call.end == "served") or 1
    share = sum(one.output_tokens for one in outcomes if one.end == "served") / counted
    return Result(
        policy=policy,
        seed=seed,
        figures=figures(outcomes, cost * share),
        outcomes=outcomes,
        events=world.timeline.happened,
    )


def run_all(
    inputs: Inputs, policies: Sequence[str], seeds: Sequence[int], jobs: int, advance: Advance
) -> list[Result]:
    """Every policy under every seed, in that order. `advance` is told of simulated seconds that are over."""
    pairs = [(policy, seed) for policy in policies for seed in seeds]
    duration_s = inputs.scenario.duration_s
    if jobs == 1 or len(pairs) == 1:
        results = []
        for policy, seed in pairs:
            results.append(simulate(inputs, policy, seed, lambda second: advance(1.0) if second <= duration_s else None))
        return results
    found: dict[tuple[str, int], Result] = {}
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        under_way: dict[Future[Result], tuple[str, int]] = {pool.submit(simulate, inputs, *pair): pair for pair in pairs}
        while under_way:
            done, _ = wait(under_way, return_when=FIRST_COMPLETED)
            for future in done:
                found[under_way.pop(future)] = future.result()
                advance(duration_s)
    return [found[pair] for pair in pairs]


def _text(file: Path, scenario: Path, field: str) -> str:
    """A text file, perhaps packed. Raises BadScenario that names the field."""
    try:
        content = file.read_bytes()
        if file.suffix == ".gz":
            content = gzip.decompress(content)
        return content.decode("utf-8")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise BadScenario([f"{scenario}: {field}: cannot read {file}: {reason}"]) from None


__all__ = ["BadMatrix", "BadScenario", "BadTrace", "Inputs", "Result", "read", "run_all", "simulate"]
