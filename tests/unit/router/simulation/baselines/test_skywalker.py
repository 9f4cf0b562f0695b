from itertools import pairwise

from router.simulation.baselines.skywalker import SkyWalker
from tests.simulated import MIDDLE, NEAR, busy, call, world


def test_own_region_is_served_while_nothing_is_pending_there() -> None:
    done = world(SkyWalker(), [call(at=2.0 + number) for number in range(5)]).run()
    assert {one.cluster for one in done} == {NEAR}


def test_calls_are_handed_over_and_then_held_back_when_everybody_has_something_pending() -> None:
    calls = [call(at=5.0, prompt_tokens=20_000) for _ in range(12)]
    one = world(SkyWalker(), calls)
    sent: list[int] = []
    one.timeline.at(5.01, lambda _: sent.append(sum(each.attempts for each in one.calls)))
    done = one.run()
    assert 3 <= sent[0] <= 6, "one for each replica, but for answers of probes that crossed; the rest waits"
    assert {each.cluster for each in done} == {NEAR, MIDDLE, "far"}
    assert all(each.end == "served" for each in done)
    assert min(done, key=lambda each: each.first_token_at).number < 3


def test_matching_prefix_beats_less_load() -> None:
    clusters = [
        {"name": "one", "region": "region-a", "replicas": 1},
        {"name": "two", "region": "region-a", "replicas": 1},
    ]
    talk = {"rate": 3.0, "turns": 6, "think_s": 4}
    done = busy(lambda world: SkyWalker(), rate=3.0, duration_s=60.0, clusters=clusters, workload=talk).run()
    turns: dict[str | None, list[str]] = {}
    for each in done:
        turns.setdefault(each.session, []).append(each.cluster)
    stayed = sum(one == other for served in turns.values() for one, other in pairwise(served))
    moves = sum(len(served) - 1 for served in turns.values())
    assert stayed / moves > 0.7
