"""Small worlds for tests of the simulator: one replica in each of the regions A, B and C of `tests.build`."""

from collections.abc import Iterable
from random import Random
from typing import Any

import msgspec

from router.simulation.call import SimulatedCall
from router.simulation.scenario import Scenario
from router.simulation.strategy import Strategy
from router.simulation.workload import Demand, generated
from router.simulation.world import StrategyMaker, World
from tests.build import DISTANCES, A, B, C

MODEL = "llama-8b"
NEAR, MIDDLE, FAR = "near", "middle", "far"
CLUSTERS = (
    {"name": NEAR, "region": A, "replicas": 1},
    {"name": MIDDLE, "region": B, "replicas": 1},
    {"name": FAR, "region": C, "replicas": 1},
)


def scenario(**fields: Any) -> Scenario:
    """Three clusters of one H100 each, a front door beside the near one."""
    defaults: dict[str, Any] = {
        "name": "test",
        "duration_s": 20.0,
        "clusters": CLUSTERS,
        "front_doors": {"regions": [A]},
        "workload": {"rate": 1.0},
    }
    return msgspec.convert(defaults | fields, Scenario)


def call(
    at: float = 1.0, origin: str = A, prompt_tokens: int = 100, output_tokens: int = 50, **fields: Any
) -> SimulatedCall:
    """One call, to come at that time."""
    return SimulatedCall(0, at, origin, MODEL, prompt_tokens, output_tokens, **fields)


def world(
    strategy: StrategyMaker | Strategy, calls: Iterable[SimulatedCall] = (), *, seed: int = 1, **fields: Any
) -> World:
    """A world that has not begun. A strategy that is no maker serves all of its front doors."""
    maker: StrategyMaker = strategy if callable(strategy) else lambda world: strategy  # type: ignore[assignment, return-value]
    return World(scenario(**fields), DISTANCES, list(calls), maker, seed)


def busy(strategy: StrategyMaker, *, rate: float = 20.0, seed: int = 1, **fields: Any) -> World:
    """A world with generated calls."""
    plan = scenario(**{"workload": {"rate": rate}} | fields)
    calls = generated(Demand.of(plan, rate), plan.duration_s, Random(seed))
    return World(plan, DISTANCES, calls, strategy, seed)
