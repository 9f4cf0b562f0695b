from router.simulation.call import End
from router.simulation.ours import Tradewind
from tests.simulated import MIDDLE, NEAR, busy, call, world


def test_nearest_with_room_is_taken() -> None:
    [done] = world(Tradewind(), [call(at=4.0)]).run()
    assert (done.cluster, done.reason) == (NEAR, "nearest")


def test_full_cluster_overflows() -> None:
    done = world(Tradewind(), [call(at=4.0, output_tokens=1000) for _ in range(300)]).run()
    assert {one.cluster: one.reason for one in done} == {NEAR: "nearest", MIDDLE: "overflow"}
    assert sum(one.cluster == NEAR for one in done) == 256


def test_unknown_model_is_refused() -> None:
    one = call(at=4.0)
    one.model = "other"
    [done] = world(Tradewind(), [one]).run()
    assert done.end is End.REFUSED


def test_same_seed_same_run_to_the_last_bit() -> None:
    faults = [{"kind": "flapping", "target": NEAR, "at_s": 4, "for_s": 12}]
    runs = [
        [(one.number, one.cluster, one.ended_at) for one in busy(lambda world: Tradewind(), faults=faults).run()]
        for _ in range(2)
    ]
    assert runs[0] == runs[1]
