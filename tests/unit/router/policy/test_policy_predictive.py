from random import Random
from typing import Any

import pytest

from federation.view import Drop, PoolView
from router.decision import Place, Reason, Refuse
from router.policy.ledger import Ledger
from router.policy.predictive import Ask, cost_s, place, ranked
from tests.build import MODEL, NOW, A, B, C, call, candidate, fleet_of, pool

ASK = Ask(1000.0, 200.0)
NEAR, MIDDLE, FAR = candidate("near", A, slots=100), candidate("middle", B, slots=100), candidate("far", C, slots=100)


def ledger_of(**tpots_s: float) -> Ledger:
    """Clusters have reported that their tokens take so long while half of their slots run; less, while few do."""
    ledger = Ledger()
    for cluster, tpot_s in tpots_s.items():
        for second in range(40):
            busy = second % 2
            report = pool(slots=100, running=50 * busy, time_per_output_token_s=tpot_s if busy else 0.01)
            ledger.reported(cluster, (report,), NOW - 40 + second)
        ledger.in_flight[cluster, MODEL] = 50
    return ledger


def decided(ledger: Ledger, *pools: PoolView, ask: Ask = ASK, **fields: Any) -> Place:
    decision = place(call(**fields), ask, fleet_of(*pools), ledger, Random(1))
    assert isinstance(decision, Place)
    return decision


def order(decision: Place) -> list[str]:
    return [placed.pool.cluster for placed in decision.order]


def test_equals_go_by_distance() -> None:
    decision = decided(Ledger(), NEAR, MIDDLE, FAR)
    assert order(decision) == ["near", "middle", "far"]
    assert decision.reason is Reason.NEAREST


def test_slow_tokens_send_a_call_on_though_slots_are_free() -> None:
    decision = decided(ledger_of(near=0.05), NEAR, MIDDLE, FAR)
    assert order(decision)[0] == "middle"
    assert decision.reason is Reason.OVERFLOW


def test_comfortable_tokens_do_not_count_at_all() -> None:
    assert order(decided(ledger_of(near=0.02, middle=0.011), NEAR, MIDDLE, FAR))[0] == "near"


def test_short_answers_mind_slow_tokens_less() -> None:
    ledger = ledger_of(near=0.035)
    assert order(decided(ledger, NEAR, FAR))[0] == "far"
    assert order(decided(ledger, NEAR, FAR, ask=Ask(1000.0, 5.0)))[0] == "near"


def test_prompts_in_the_way_count_in_seconds() -> None:
    ledger = Ledger()
    ledger.sent(NEAR, 0.0, 10.0, NOW)
    assert order(decided(ledger, NEAR, MIDDLE, FAR))[0] == "middle"


def test_what_is_cached_counts_in_seconds_and_is_told() -> None:
    ask = Ask(20_000.0, 200.0, {"far": 19_000.0})
    decision = decided(Ledger(), NEAR, MIDDLE, FAR, ask=ask)
    assert order(decision)[0] == "far"
    assert decision.reason is Reason.AFFINITY
    little = Ask(1000.0, 200.0, {"far": 512.0})
    assert order(decided(Ledger(), NEAR, MIDDLE, FAR, ask=little))[0] == "near"


def test_without_room_it_is_as_good_as_the_present_policy() -> None:
    full = [
        candidate(name, region, slots=8, load=load) for name, region, load in (("a", A, 20), ("b", B, 9), ("c", C, 30))
    ]
    assert order(decided(Ledger(), *full)) == ["b", "a", "c"]


def test_full_ones_come_after_those_with_room() -> None:
    assert order(decided(Ledger(), candidate("near", A, slots=8, load=8), MIDDLE)) == ["middle", "near"]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [({"regions": frozenset({C})}, ["far"]), ({"clusters": frozenset({"middle"})}, ["middle"])],
)
def test_bounds_of_a_call_hold(fields: dict[str, Any], expected: list[str]) -> None:
    assert order(decided(Ledger(), NEAR, MIDDLE, FAR, **fields)) == expected


def test_dropped_clusters_are_no_candidates() -> None:
    assert order(decided(Ledger(), candidate("near", A, drop=Drop.EJECTED), MIDDLE)) == ["middle"]


def test_unknown_model_is_refused() -> None:
    decision = place(call(model="other"), ASK, fleet_of(NEAR), Ledger(), Random(1))
    assert isinstance(decision, Refuse)
    assert not decision.known


def test_as_good_as_the_best_is_good_enough_when_nearer() -> None:
    view = fleet_of(NEAR, MIDDLE)
    near, middle = view.models[MODEL].nearest_first(A, view)
    assert ranked([(1.05, near.rtt_ms, "near", near), (1.0, middle.rtt_ms, "middle", middle)]) == [near, middle]
    assert ranked([(1.2, near.rtt_ms, "near", near), (1.0, middle.rtt_ms, "middle", middle)]) == [middle, near]


def test_cost_is_seconds() -> None:
    view = fleet_of(FAR)
    [far] = view.models[MODEL].nearest_first(A, view)
    ledger = Ledger()
    pace = ledger.pace(("far", MODEL), NOW)
    assert cost_s(far, Ask(0.0, 200.0), ledger, NOW) == pytest.approx(0.1 + pace.latency.base_s)
