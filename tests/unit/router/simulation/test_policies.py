import pytest

from router.simulation.call import End
from router.simulation.policies import POLICIES
from tests.build import A, B
from tests.simulated import NEAR, busy


@pytest.mark.parametrize("name", POLICIES)
def test_policy_serves_everybody_through_a_loss_and_does_so_again_from_the_same_seed(name: str) -> None:
    def run() -> list[tuple]:
        one = busy(
            POLICIES[name].make,
            rate=8.0,
            front_doors={"regions": [A, B]},
            workload={"rate": 8.0, "turns": 2, "system_prompts": 2},
            faults=[{"kind": "region_lost", "target": NEAR, "at_s": 8, "for_s": 6}],
        )
        return [(call.number, call.cluster, call.end, call.ended_at) for call in one.run()]

    first = run()
    assert len(first) > 100
    assert {end for _, _, end, _ in first} == {End.SERVED}
    assert run() == first


def test_every_policy_says_what_it_does() -> None:
    assert all(policy.name == name and policy.about for name, policy in POLICIES.items())
