from router.simulation.ours import Tradewind
from router.simulation.predictive import Predictive
from tests.build import A, B, C
from tests.simulated import MIDDLE, NEAR, busy


def test_quiet_fleet_is_served_by_the_nearest() -> None:
    done = busy(lambda world: Predictive(), rate=2.0, duration_s=60.0, front_doors={"regions": [A, B, C]}).run()
    at_home = sum(call.cluster == {A: NEAR, B: MIDDLE, C: "far"}[call.origin] for call in done)
    assert at_home / len(done) > 0.9


def test_cluster_whose_tokens_slow_down_is_passed_over_long_before_it_is_full() -> None:
    """Twice of what one H100 bears, with two more beside it."""
    slow = [call.tpot_s for call in busy(lambda world: Tradewind(), rate=18.0, duration_s=60.0).run()]
    calls = busy(lambda world: Predictive(), rate=18.0, duration_s=60.0).run()
    fast = [call.tpot_s for call in calls]
    assert sorted(fast)[int(0.9 * len(fast))] < 0.6 * sorted(slow)[int(0.9 * len(slow))]
    assert {call.cluster for call in calls} == {NEAR, MIDDLE, "far"}


def test_grey_cluster_is_left_within_seconds() -> None:
    fault = {"kind": "slow", "target": NEAR, "factor": 5, "at_s": 30, "for_s": 30}
    done = busy(lambda world: Predictive(), rate=5.0, duration_s=60.0, faults=[fault]).run()
    late = [call for call in done if call.at > 40]
    assert sum(call.cluster == NEAR for call in late) / len(late) < 0.1


def test_conversation_stays_where_its_beginning_is_cached() -> None:
    talk = {"rate": 2.0, "turns": 6, "think_s": 5}
    done = busy(lambda world: Predictive(), rate=2.0, duration_s=60.0, workload=talk).run()
    homes: dict[str | None, set[str]] = {}
    for call in done:
        homes.setdefault(call.session, set()).add(call.cluster)
    assert sum(len(clusters) == 1 for clusters in homes.values()) / len(homes) > 0.85
