import pytest

from router.simulation.runs import Inputs, Result, simulate
from tests.build import DISTANCES, A
from tests.simulated import scenario


def run(policy: str = "nearest", seed: int = 1, **fields: object) -> Result:
    plan = scenario(warm_up_s=5.0, workload={"rate": 5.0}, **fields)
    return simulate(Inputs(plan, dict(DISTANCES.measured), (), 5.0), policy, seed)


def test_calls_of_the_warm_up_are_not_counted() -> None:
    found = run()
    assert found.figures.calls == len(found.outcomes) == pytest.approx(75, rel=0.4)
    assert min(one.at_s for one in found.outcomes) >= 5.0


def test_policies_meet_the_same_calls_under_the_same_seed() -> None:
    one, other, third = run("nearest"), run("round-robin"), run("nearest", seed=2)
    rows = [[(call.at_s, call.prompt_tokens) for call in found.outcomes] for found in (one, other, third)]
    assert rows[0] == rows[1] != rows[2]


def test_work_costs_what_its_replicas_cost() -> None:
    dear = [{"name": "a", "region": A, "replicas": 1, "cost_per_hour": 10.0}]
    cheap = [{"name": "a", "region": A, "replicas": 1, "cost_per_hour": 1.0}]
    ratio = run(clusters=dear).figures.cost_per_million_tokens / run(clusters=cheap).figures.cost_per_million_tokens
    assert ratio == pytest.approx(10.0)
