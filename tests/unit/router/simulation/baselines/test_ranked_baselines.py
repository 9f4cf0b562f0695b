"""Baselines that order clusters when a call arrives: which one each of them takes."""

from collections import Counter
from random import Random

import pytest

from router.decision import Reason
from router.simulation.baselines.least_outstanding import LeastOutstanding
from router.simulation.baselines.nearest import Nearest
from router.simulation.baselines.ranking import Ranking, candidates, load, nearest_first, send
from router.simulation.baselines.round_robin import RoundRobin
from router.simulation.baselines.two_choices import TwoChoices
from router.simulation.baselines.waterfall import LIMIT, Waterfall
from router.simulation.baselines.weighted import Weighted
from router.simulation.door import Door
from tests.simulated import FAR, MIDDLE, NEAR, call, world

KEY = "llama-8b"


def door_with(**own: int) -> Door:
    """A front door beside the near cluster, with so many own calls at each."""
    door = world(Nearest()).doors[0]
    door.own |= {(name, KEY): count for name, count in own.items()}
    return door


def ranked(policy: Ranking, door: Door) -> list[str]:
    return [pool.cluster for pool in policy.ranked(door, call(), candidates(door, call()))]


def test_nearest_looks_at_distance_alone() -> None:
    assert ranked(Nearest(), door_with(near=10_000)) == [NEAR, MIDDLE, FAR]


def test_round_robin_takes_turns() -> None:
    policy, door = RoundRobin(), door_with()
    assert [ranked(policy, door)[0] for _ in range(4)] == [MIDDLE, NEAR, FAR, MIDDLE]


def test_least_outstanding_looks_at_load_alone() -> None:
    assert ranked(LeastOutstanding(), door_with(near=9, middle=5, far=7)) == [MIDDLE, FAR, NEAR]


def test_weighted_draws_as_often_as_there_are_slots() -> None:
    one = world(
        Nearest(),
        clusters=[
            {"name": "big", "region": "region-a", "replicas": 3},
            {"name": "small", "region": "region-b", "replicas": 1},
        ],
    )
    door = one.doors[0]
    drawn = Counter(ranked(Weighted(), door)[0] for _ in range(2000))
    assert drawn["big"] / 2000 == pytest.approx(0.75, abs=0.04)


def test_two_choices_never_takes_the_worst_of_three_unless_it_was_not_compared() -> None:
    door = door_with(near=9, middle=5, far=7)
    firsts = Counter(ranked(TwoChoices(), door)[0] for _ in range(3000))
    assert firsts[NEAR] == 0
    assert firsts[MIDDLE] / 3000 == pytest.approx(2 / 3, abs=0.04)


@pytest.mark.parametrize(
    ("own", "first"),
    [
        pytest.param({}, NEAR, id="empty: the nearest"),
        pytest.param({"near": 102}, NEAR, id="up to the limit"),
        pytest.param({"near": 103}, MIDDLE, id="at the limit: the next"),
        pytest.param({"near": 103, "middle": 103}, FAR, id="and the next"),
        pytest.param({"near": 300, "middle": 200, "far": 250}, MIDDLE, id="all at their limit: the least loaded"),
    ],
)
def test_waterfall_fills_the_nearest_to_its_limit(own: dict[str, int], first: str) -> None:
    assert int(256 * LIMIT) == 102
    assert ranked(Waterfall(), door_with(**own))[0] == first


def test_waterfall_loads_a_region_evenly() -> None:
    clusters = [
        {"name": "one", "region": "region-a", "replicas": 1},
        {"name": "two", "region": "region-a", "replicas": 1},
        {"name": "away", "region": "region-b", "replicas": 1},
    ]
    door = world(Nearest(), clusters=clusters).doors[0]
    door.own |= {("one", KEY): 150}
    assert ranked(Waterfall(), door) == ["two", "one", "away"], "together they are below their limit"
    door.own |= {("two", KEY): 100}
    assert ranked(Waterfall(), door)[0] == "away"


def test_clusters_that_are_out_are_no_candidates_while_others_are_left() -> None:
    one = world(Nearest(), [call(at=4.0), call(at=6.0)], duration_s=8.0)
    one.timeline.at(2.0, lambda _: one.clusters[NEAR].unwell())
    seen: list[list[str]] = []
    door = one.doors[0]
    one.timeline.at(5.0, lambda _: seen.append([pool.cluster for pool in candidates(door, call())]))
    one.run()
    assert seen == [[FAR, MIDDLE]]


def test_load_counts_own_calls_per_slot_and_order_by_distance_breaks_ties_by_name() -> None:
    door = door_with(near=64)
    pools = door.pools(KEY)
    assert [load(door, pool) for pool in nearest_first(door, pools)] == [0.25, 0.0, 0.0]


def test_reason_says_whether_a_call_stays_in_its_region() -> None:
    door = door_with()
    for region, reason in ((NEAR, Reason.NEAREST), (FAR, Reason.OVERFLOW)):
        one = call()
        send(door, one, [pool for pool in door.pools(KEY) if pool.cluster == region])
        assert one.reason is reason


def test_ranking_refuses_where_nobody_serves_the_model() -> None:
    one = call()
    one.model = "other"
    door = door_with()
    door.rng = Random(1)
    Nearest().arrived(door, one)
    assert one.end == "refused"
