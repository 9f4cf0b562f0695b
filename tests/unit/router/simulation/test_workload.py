import math
from itertools import pairwise
from random import Random
from statistics import median
from typing import Any

import pytest

from router.replay.traces import Arrival
from router.simulation.scenario import Lengths, Workload
from router.simulation.workload import Demand, day_share, drawn_length, generated, surge_factor, traced
from tests.build import A, B
from tests.simulated import scenario

TWO = {"front_doors": {"regions": [A, B]}}


def demand(rate: float = 20.0, **workload: Any) -> Demand:
    return Demand.of(scenario(workload={"rate": rate, **workload}, **TWO), rate)


def test_lengths_have_the_median_and_the_tail_that_were_asked_for() -> None:
    rng = Random(1)
    drawn = sorted(drawn_length(Lengths(median=700, p95=4000), rng) for _ in range(20_000))
    assert drawn[10_000] == pytest.approx(700, rel=0.03)
    assert drawn[19_000] == pytest.approx(4000, rel=0.05)
    assert max(drawn_length(Lengths(median=700, p95=4000, most=800), rng) for _ in range(100)) == 800


def test_day_is_highest_in_the_afternoon_of_the_regions_own_longitude() -> None:
    workload = Workload(rate=1.0, day_s=2400.0, night=0.2)
    by_hour = [day_share("asia-northeast1", 100.0 * hour, workload) for hour in range(24)]
    assert max(by_hour) == pytest.approx(1.0, abs=0.01)
    assert min(by_hour) == pytest.approx(0.2, abs=0.01)
    assert by_hour.index(max(by_hour)) == 5  # 14:00 in Tokyo is 05:00 in Greenwich.
    assert day_share("asia-northeast1", 0.0, Workload(rate=1.0)) == 1.0


def test_generated_calls_come_at_the_rate_that_was_asked_for_in_order() -> None:
    calls = list(generated(demand(20.0, day_s=500.0), 500.0, Random(2)))
    assert len(calls) == pytest.approx(10_000, rel=0.05)
    assert all(one.at <= other.at for one, other in pairwise(calls))
    assert [call.number for call in calls] == list(range(len(calls)))


def test_regions_have_their_weights() -> None:
    calls = list(generated(demand(50.0, regions={A: 3.0, B: 1.0}), 100.0, Random(3)))
    assert sum(call.origin == A for call in calls) / len(calls) == pytest.approx(0.75, abs=0.03)


def test_surge_multiplies_one_regions_calls_for_a_while() -> None:
    surging = demand(20.0, surges=[{"region": A, "at_s": 40, "for_s": 20, "times": 5}])
    calls = list(generated(surging, 100.0, Random(4)))
    per_s = {region: sum(call.origin == region and 40 <= call.at < 60 for call in calls) / 20 for region in (A, B)}
    assert per_s[A] == pytest.approx(50, rel=0.15)
    assert per_s[B] == pytest.approx(10, rel=0.3)
    assert surge_factor(A, 60.0, surging.workload) == 1.0


def test_turns_of_a_conversation_begin_with_all_that_was_said() -> None:
    talk = demand(20.0, turns=4.0, system_prompts=2, system_tokens=1024)
    calls = list(generated(talk, 200.0, Random(5)))
    sessions: dict[str | None, list] = {}
    for call in calls:
        sessions.setdefault(call.session, []).append(call)
    lengths = [len(turns) for turns in sessions.values()]
    assert 2.5 < sum(lengths) / len(lengths) < 4.0  # Those at either end are cut off.
    assert len(calls) == pytest.approx(4000, rel=0.1)
    assert sum(call.at < 20 for call in calls) == pytest.approx(400, rel=0.2), "conversations go on from before"
    for turns in sessions.values():
        for one, other in pairwise(turns):
            assert other.prompt_tokens > one.prompt_tokens or other.prompt_tokens == 32_000
            assert other.blocks[: len(one.blocks)] == one.blocks
    assert len({call.blocks[:2] for call in calls}) == 2, "two system prompts begin everything"


def test_same_seed_brings_the_same_calls() -> None:
    rows = [[(one.at, one.prompt_tokens) for one in generated(demand(), 50.0, Random(6))] for _ in range(2)]
    assert rows[0] == rows[1]


def trace(count: int = 200) -> list[Arrival]:
    """Ten conversations, each call with a block more than the one before."""
    return [
        Arrival(
            float(number),
            600 * (3 + number // 10),
            100,
            tuple(1000 * (number % 10) + k for k in range(3 + number // 10)),
        )
        for number in range(count)
    ]


def test_trace_comes_at_the_rate_that_was_asked_for_round_and_round() -> None:
    calls = list(traced(demand(10.0), trace(), 60.0, Random(7)))
    assert len(calls) == pytest.approx(600, rel=0.02)
    assert calls[0].blocks != calls[200].blocks, "a second round shares nothing with the first"
    assert median(call.output_tokens for call in calls) == 100


def test_conversation_of_a_trace_stays_in_its_region() -> None:
    calls = list(traced(demand(10.0), trace(), 20.0, Random(8)))
    by_conversation: dict[int, set] = {}
    for call in calls:
        by_conversation.setdefault(call.blocks[0], set()).add((call.origin, call.session))
    assert len(by_conversation) == 10
    assert all(len(homes) == 1 for homes in by_conversation.values())
    assert {origin for homes in by_conversation.values() for origin, _ in homes} == {A, B}


def test_surge_of_a_trace_adds_calls_under_blocks_of_their_own() -> None:
    surging = demand(10.0, surges=[{"region": A, "at_s": 0, "for_s": 20, "times": 3}])
    calls = list(traced(surging, trace(), 20.0, Random(8)))
    plain = list(traced(demand(10.0), trace(), 20.0, Random(8)))
    extra = len(calls) - len(plain)
    assert extra == 2 * sum(call.origin == A for call in plain)
    assert math.isclose(len({call.blocks for call in calls}), len(calls), rel_tol=0.01)


def test_tenants_have_their_shares_and_priorities() -> None:
    tenants = [{"name": "a", "share": 3}, {"name": "b", "share": 1, "priority": "sheddable"}]
    calls = list(generated(demand(50.0, tenants=tenants), 100.0, Random(9)))
    assert sum(call.tenant == "b" for call in calls) / len(calls) == pytest.approx(0.25, abs=0.03)
    assert {call.priority for call in calls if call.tenant == "b"} == {"sheddable"}
