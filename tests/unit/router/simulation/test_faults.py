import pytest

from router.simulation.call import End
from router.simulation.faults import FAULTS, NEEDS_CLUSTER
from router.simulation.ours import Tradewind
from tests.build import A
from tests.simulated import NEAR, busy


@pytest.mark.parametrize("kind", FAULTS)
def test_every_fault_ends_as_it_began(kind: str) -> None:
    """Afterwards the fleet serves as before, and not one call is left over."""
    target = {"target": NEAR} if kind in NEEDS_CLUSTER else {}
    fault = {"kind": kind, "at_s": 5, "for_s": 6, "door": A, **target}
    one = busy(lambda world: Tradewind(), rate=5.0, duration_s=60.0, faults=[fault])
    done = one.run()
    assert not any(call.end is End.OPEN for call in done)
    late = [call for call in done if call.at > 50]
    assert {call.end for call in late} == {End.SERVED}
    assert {call.cluster for call in late} == {NEAR}


def test_fault_of_a_region_befalls_all_its_clusters() -> None:
    clusters = [{"name": "east", "region": A, "replicas": 1, "times": 2}, {"name": "west", "region": "region-b"}]
    one = busy(
        lambda world: Tradewind(),
        clusters=clusters,
        faults=[{"kind": "region_lost", "target": A, "at_s": 5, "for_s": 5}],
    )
    done = one.run()
    assert {call.cluster for call in done if 6.5 < call.at < 9} == {"west"}
