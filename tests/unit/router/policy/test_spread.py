"""Choosing among near-equals: one by one, and a hundred front doors at once."""

from collections import Counter
from random import Random
from statistics import fmean, pstdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.policy.spread import picked, shares, unseen_calls

EQUAL = [0.2] * 5
SLOPES = [0.01] * 5


def test_one_front_door_takes_the_best() -> None:
    rng = Random(1)
    unseen = unseen_calls(others_calls_per_s=0.0, age_s=10.0)
    for _ in range(100):
        assert picked([0.3, 0.2, 0.25], [0.01] * 3, unseen, rng.random()) == [1, 2, 0]


def test_clear_best_is_taken_whatever_the_doubt_within_it() -> None:
    assert shares([0.3, 0.2, 0.25], [0.01] * 3, 0.0, doubt_s=0.04) == [0.0, 1.0, 0.0]
    assert shares([0.3, 0.2, 0.25], [0.01] * 3, 4.0) == [0.0, 1.0, 0.0], "four more calls leave it the best"


def test_hundred_front_doors_with_one_stale_snapshot_do_not_all_choose_the_same() -> None:
    rng = Random(2)
    costs = [0.200, 0.201, 0.202, 0.203, 0.204]
    unseen = unseen_calls(others_calls_per_s=99 * 1.0, age_s=1.0)
    chosen = Counter(picked(costs, SLOPES, unseen, rng.random())[0] for _ in range(100))
    assert len(chosen) == 5
    assert max(chosen.values()) < 35
    greedy = Counter(min(range(5), key=costs.__getitem__) for _ in range(100))
    assert max(greedy.values()) == 100


def test_water_ends_at_one_level() -> None:
    found = shares([0.1, 0.2, 5.0], [0.01, 0.02, 0.01], 25.0)
    poured = [25.0 * share for share in found]
    assert 0.1 + 0.01 * poured[0] == pytest.approx(0.2 + 0.02 * poured[1])
    assert poured[2] == 0.0, "the far end of the world gets nothing"


def test_equals_share_by_what_they_can_take() -> None:
    assert shares([0.2, 0.2], [0.01, 0.03], 10.0) == pytest.approx([0.75, 0.25])
    assert shares([0.2, 0.2], [0.01, 0.03], 0.0, doubt_s=0.05) == pytest.approx([0.75, 0.25])


def test_older_figures_and_more_front_doors_spread_more() -> None:
    costs = [0.1, 0.15, 0.2]
    first = [shares(costs, [0.01] * 3, unseen_calls(10.0 * doors, age))[0] for doors, age in ((1, 1), (5, 1), (5, 10))]
    assert first == sorted(first, reverse=True)
    assert first[0] > 0.7
    assert first[-1] < 0.5


def test_last_choice_keeps_a_small_advantage() -> None:
    assert picked([0.20, 0.21], [0.01] * 2, 0.0, 0.5, stay=1, stay_s=0.02) == [1, 0]
    assert picked([0.20, 0.25], [0.01] * 2, 0.0, 0.5, stay=1, stay_s=0.02) == [0, 1]


def test_single_candidate_is_taken() -> None:
    assert picked([3.0], [0.0], 1e9, 0.999999) == [0]


numbers = st.lists(st.tuples(st.floats(0, 1e3), st.floats(0, 10)), min_size=1, max_size=12)


@given(numbers, st.floats(0, 1e6), st.floats(0, 10), st.floats(0, 1, exclude_max=True))
def test_shares_add_up_and_every_candidate_is_tried_once(
    candidates: list[tuple[float, float]], unseen: float, doubt_s: float, draw: float
) -> None:
    costs, slopes = [cost for cost, _ in candidates], [slope for _, slope in candidates]
    found = shares(costs, slopes, unseen, doubt_s)
    assert sum(found) == pytest.approx(1.0)
    assert min(found) >= 0.0
    assert found[min(range(len(costs)), key=costs.__getitem__)] > 0.0
    order = picked(costs, slopes, unseen, draw, doubt_s=doubt_s)
    assert sorted(order) == list(range(len(costs)))
    rest = order[1:]
    assert rest == sorted(rest, key=lambda place: (costs[place], place))


# A hundred front doors and five clusters, with figures that are as old as they say.


def simulated(doors: int, heartbeat_s: float, *, damped: bool, seed: int = 3, seconds: int = 60) -> tuple[float, float]:
    """(mean wait, mean deviation of loads) of calls to five clusters at 90 % of what they can do."""
    rng, arrivals, clusters, tick_s, per_s = Random(seed), Random(seed + 100), 5, 0.05, 100.0
    calls_per_s = 0.9 * clusters * per_s / doors
    backlog = [0.0] * clusters
    seen, seen_at = list(backlog), 0.0
    own = [[0] * clusters for _ in range(doors)]
    waits: list[float] = []
    deviations: list[float] = []
    for step in range(int(seconds / tick_s)):
        now = step * tick_s
        if now - seen_at >= heartbeat_s:
            seen, seen_at = list(backlog), now
            own = [[0] * clusters for _ in range(doors)]
        unseen = unseen_calls(calls_per_s * (doors - 1), now - seen_at)
        for mine in own:
            for _ in range(int(calls_per_s * tick_s) + (arrivals.random() < calls_per_s * tick_s % 1.0)):
                costs = [0.02 + (seen[place] + mine[place]) / per_s for place in range(clusters)]
                if damped:
                    place = picked(costs, [1.0 / per_s] * clusters, unseen, rng.random())[0]
                else:
                    place = min(range(clusters), key=costs.__getitem__)
                mine[place] += 1
                backlog[place] += 1
                waits.append(backlog[place] / per_s)
        backlog = [max(0.0, waiting - per_s * tick_s) for waiting in backlog]
        deviations.append(pstdev(backlog))
    return fmean(waits), fmean(deviations)


@pytest.mark.parametrize("heartbeat_s", [0.5, 2.0])
def test_hundred_front_doors_do_not_herd(heartbeat_s: float) -> None:
    greedy_wait_s, greedy_deviation = simulated(100, heartbeat_s, damped=False)
    wait_s, deviation = simulated(100, heartbeat_s, damped=True)
    assert wait_s < 0.5 * greedy_wait_s
    assert deviation < 0.5 * greedy_deviation


def test_damping_costs_one_front_door_nothing() -> None:
    assert simulated(1, 1.0, damped=True) == simulated(1, 1.0, damped=False)
