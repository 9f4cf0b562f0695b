from router.simulation.fleet_capacity import capacity, replica_capacity
from router.simulation.workload import Demand, generated
from tests.build import A, B
from tests.simulated import scenario


def calls_at(alone, rate, rng):
    return generated(Demand.of(alone, rate), alone.duration_s, rng)


def test_fleet_can_do_what_its_replicas_can() -> None:
    """An H100 bears about ten calls a second of 700 and 150 tokens (median), by the pace of its tokens."""
    plan = scenario(clusters=[{"name": "a", "region": A, "replicas": 3}, {"name": "b", "region": B, "replicas": 2}])
    assert 5 * 8 < capacity(plan, calls_at) < 5 * 14


def test_slower_accelerators_can_do_less() -> None:
    plan = scenario(clusters=[{"name": "a", "region": A, "accelerator": "l4"}])
    assert 0.2 < replica_capacity(plan, plan.clusters[0], calls_at) < 3


def test_objectives_that_nobody_can_keep_leave_nothing() -> None:
    plan = scenario(objectives={"ttft_s": 0.001, "ttft_s_per_prompt_token": 0})
    assert replica_capacity(plan, plan.clusters[0], calls_at) < 0.1
