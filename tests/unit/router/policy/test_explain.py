"""What a person is told of a decision."""

from collections.abc import Mapping
from random import Random

import msgspec
import pytest
from hypothesis import given

from federation.view import Drop, PoolView
from router.call import Call
from router.decision import Place
from router.policy import Explanation, decide, explain
from tests.build import MODEL, A, B, C, call, candidate, fleet_of, regions_of
from tests.unit.router.policy.test_decide import calls, fleets, owns


def explained(*pools: PoolView, own: Mapping[tuple[str, str], int] | None = None, **fields: object) -> Explanation:
    view = fleet_of(*pools)
    return explain(call(**fields), view, own or {}, dict(regions_of(view)), Random(1))


def verdicts(*pools: PoolView, **fields: object) -> dict[str, tuple[int | None, str]]:
    return {row.cluster: (row.rank, row.verdict) for row in explained(*pools, **fields).rows}


def test_each_candidate_stands_with_its_rank_and_verdict() -> None:
    pools = [candidate("far", C), candidate("mid", B, load=8), candidate("near", A, drop=Drop.DRAINED)]
    assert verdicts(*pools) == {"near": (None, "drained"), "mid": (2, "full"), "far": (1, "has room")}


def test_small_share_has_its_reason() -> None:
    pools = (candidate("a", share=0.1), candidate("b", share=0.1, doubted=True))
    assert {name: verdict for name, (_, verdict) in verdicts(*pools).items()} == {"a": "slow_start", "b": "doubted"}


def test_rows_come_nearest_first_with_the_numbers() -> None:
    told = explained(candidate("far", C), candidate("near", A, slots=8, load=2), own={("near", MODEL): 1})
    assert [row.cluster for row in told.rows] == ["near", "far"]
    near = told.rows[0]
    assert (near.slots, near.load_of_others, near.own_in_flight, near.headroom_slots) == (8.0, 2.0, 1, 5.0)
    assert near.saturation == 0.375
    assert (near.rtt_ms, near.rtt_measured) == (1.0, True)
    assert (told.outcome, told.generation, told.mode, told.model, told.origin) == ("nearest", 7, "live", MODEL, A)


def test_cluster_without_the_model_is_told_too() -> None:
    told = explain(call(), fleet_of(candidate("near", A)), {}, {"near": A, "other": B}, Random(1))
    assert [(row.cluster, row.verdict, row.rank) for row in told.rows] == [
        ("near", "has room", 1),
        ("other", "model_not_served", None),
    ]


def test_unknown_model_is_said_to_be_unknown() -> None:
    told = explain(call(model="other"), fleet_of(candidate("near", A)), {}, {"near": A}, Random(1))
    assert told.outcome == "model not known"
    assert [row.verdict for row in told.rows] == ["model_not_served"]


def test_refusal_is_said_to_be_one() -> None:
    told = explained(candidate("near", A, drop=Drop.DRAINED))
    assert told.outcome == "no candidate"


def test_region_that_is_not_allowed_is_told_before_anything_else() -> None:
    found = verdicts(candidate("near", A, drop=Drop.DRAINED), candidate("far", C), regions=frozenset({C}))
    assert found == {"near": (None, "region_not_allowed"), "far": (1, "has room")}


def test_panic_is_told_with_what_it_overlooks() -> None:
    assert verdicts(candidate("near", A, drop=Drop.EJECTED)) == {"near": (1, "panic (ejected)")}


def test_pool_without_slots_can_be_told_as_json() -> None:
    told = explained(candidate("near", A, slots=0, drop=Drop.NOT_READY))
    assert told.rows[0].saturation is None
    assert msgspec.json.decode(msgspec.json.encode(told))["outcome"] == "panic"


@pytest.mark.parametrize("seed", range(5))
def test_slow_starter_is_told_as_one_whatever_was_drawn(seed: int) -> None:
    view = fleet_of(candidate("near", A, share=0.5))
    told = explain(call(), view, {}, {"near": A}, Random(seed))
    assert (told.rows[0].verdict, told.rows[0].slow_start_share) == ("slow_start", 0.5)


@given(calls, fleets, owns)
def test_explanation_agrees_with_the_decision(
    asked: Call, held: list[PoolView], own: Mapping[tuple[str, str], int]
) -> None:
    view = fleet_of(*held)
    decision = decide(asked, view, own, Random(3))
    told = explain(asked, view, own, dict(regions_of(view)), Random(3))
    ranked = sorted((row for row in told.rows if row.rank is not None), key=lambda row: row.rank or 0)
    rows = {row.cluster: row for row in told.rows}
    assert rows.keys() == {one.cluster for one in held}
    if not isinstance(decision, Place):
        assert not ranked
        assert told.outcome in ("no candidate", "model not known")
        return
    assert [row.cluster for row in ranked] == [one.pool.cluster for one in decision.order]
    assert told.outcome == decision.reason
    assert [row.rtt_ms for row in ranked] == [one.rtt_ms for one in decision.order]
    for one in held:
        row = rows[one.cluster]
        if row.verdict == "has room" and row.rank is None:
            assert all(other.verdict in ("has room", "slow_start") for other in ranked), "three better ones were found"
        if row.verdict in set(Drop) - {Drop.SLOW_START}:
            assert row.rank is None
        if row.rank is not None and one.drop is not None:
            assert row.verdict == f"panic ({one.drop})"
