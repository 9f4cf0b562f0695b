"""Where a call goes."""

from collections.abc import Mapping
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from federation.view import Drop, FleetView, PoolView
from router.call import Call
from router.decision import Decision, Place, Reason, Refuse
from router.policy import decide
from router.policy.decide import last_resort
from tests.build import MODEL, A, B, C, call, candidate, fleet_of

Own = Mapping[tuple[str, str], int]


def decided(*pools: PoolView, own: Own | None = None, seed: int = 1, **fields: object) -> Decision:
    return decide(call(**fields), fleet_of(*pools), own or {}, Random(seed))


def placed(*pools: PoolView, own: Own | None = None, seed: int = 1, **fields: object) -> tuple[list[str], Reason]:
    """The order of clusters, and why the first is first."""
    decision = decided(*pools, own=own, seed=seed, **fields)
    assert isinstance(decision, Place), decision
    return [one.pool.cluster for one in decision.order], decision.reason


NEAR, MID, FAR = candidate("near", A), candidate("mid", B), candidate("far", C)


def test_nearest_with_room_wins() -> None:
    assert placed(FAR, MID, NEAR) == (["near", "mid", "far"], Reason.NEAREST)
    assert placed(FAR, MID, NEAR, origin=C) == (["far", "mid", "near"], Reason.NEAREST)


def test_call_overflows_in_order_of_distance() -> None:
    full = candidate("near", A, load=8)
    assert placed(full, MID, FAR) == (["mid", "far", "near"], Reason.OVERFLOW)


def test_own_calls_in_flight_count() -> None:
    """Eight slots, four taken by others: room for four of ours."""
    half = candidate("near", A, load=4)
    assert placed(half, FAR, own={("near", MODEL): 3})[0][0] == "near"
    assert placed(half, FAR, own={("near", MODEL): 4}) == (["far", "near"], Reason.OVERFLOW)
    assert placed(half, FAR, own={("near", "other"): 9})[0][0] == "near"


def test_no_more_candidates_than_attempts() -> None:
    pools = [candidate(name, A) for name in "abcdef"]
    assert placed(*pools)[0] == ["a", "b", "c"]


def test_full_clusters_are_the_last_resort_of_failover() -> None:
    pools = [candidate("a", A, load=9), candidate("b", A, load=10), candidate("c", C)]
    assert placed(*pools) == (["c", "a", "b"], Reason.OVERFLOW)


def test_least_saturated_takes_it_when_nobody_has_room() -> None:
    pools = [candidate("near", A, load=16), candidate("mid", B, load=9), candidate("far", C, load=12)]
    assert placed(*pools) == (["mid", "far", "near"], Reason.OVERFLOW)


def test_nearest_of_equally_full_ones_takes_it() -> None:
    pools = [candidate("far", C, load=8), candidate("near", A, load=8)]
    assert placed(*pools) == (["near", "far"], Reason.NEAREST)


@pytest.mark.parametrize("drop", sorted(set(Drop)))
def test_dropped_cluster_is_not_chosen_while_another_stands(drop: Drop) -> None:
    assert placed(candidate("near", A, drop=drop), FAR) == (["far"], Reason.NEAREST)
    assert placed(candidate("near", A, drop=drop), candidate("far", C, load=99)) == (["far"], Reason.NEAREST)


def test_region_that_is_not_allowed_is_never_chosen() -> None:
    assert placed(NEAR, MID, FAR, regions=frozenset({C, B}))[0] == ["mid", "far"]
    decision = decided(NEAR, regions=frozenset({C}))
    assert decision == Refuse(known=True, generation=7, drops={"near": Drop.REGION_NOT_ALLOWED})


def test_no_allowed_region_at_all_is_refused() -> None:
    assert isinstance(decided(NEAR, regions=frozenset()), Refuse)


def test_unknown_model_is_refused_as_unknown() -> None:
    assert decided(NEAR, model="other") == Refuse(known=False, generation=7)
    assert decided() == Refuse(known=False, generation=7)


def test_refusal_says_why_each_cluster_was_passed_over() -> None:
    pools = [
        candidate("a", A, drop=Drop.DRAINED),
        candidate("b", A, drop=Drop.UNREACHABLE),
        candidate("c", A, drop=Drop.NO_ROOM),
    ]
    drops = {"a": Drop.DRAINED, "b": Drop.UNREACHABLE, "c": Drop.NO_ROOM}
    assert decided(*pools) == Refuse(known=True, generation=7, drops=drops)


# Panic.


def test_panic_takes_a_failing_cluster_when_nobody_else_is_left() -> None:
    assert placed(candidate("near", A, drop=Drop.EJECTED)) == (["near"], Reason.PANIC)


@pytest.mark.parametrize("drop", [Drop.DRAINED, Drop.UNREACHABLE, Drop.NO_ROOM])
def test_panic_takes_nobody_who_does_not_answer_or_was_taken_out_on_purpose(drop: Drop) -> None:
    assert isinstance(decided(candidate("near", A, drop=drop)), Refuse)


def test_panic_keeps_to_the_allowed_regions() -> None:
    assert isinstance(decided(candidate("near", A, drop=Drop.EJECTED), regions=frozenset({B})), Refuse)


@pytest.mark.parametrize(
    ("full", "failing", "in_panic"),
    [
        pytest.param(1, 1, False, id="half stand"),
        pytest.param(2, 2, False, id="half of four stand"),
        pytest.param(1, 2, True, id="a third stands"),
        pytest.param(2, 3, True, id="two of five stand"),
    ],
)
def test_panic_needs_too_few_others(full: int, failing: int, in_panic: bool) -> None:
    """The standing ones are fuller than the failing ones, so panic shows in the order."""
    pools = [candidate(f"full{n}", C, load=20) for n in range(full)]
    pools += [candidate(f"out{n}", A, load=9, drop=Drop.EJECTED) for n in range(failing)]
    order, reason = placed(*pools)
    assert (reason is Reason.PANIC) is in_panic
    assert order[0].startswith("out") is in_panic


def test_no_panic_while_anybody_has_room() -> None:
    pools = [candidate(f"out{n}", A, drop=Drop.EJECTED) for n in range(9)]
    assert placed(*pools, FAR) == (["far"], Reason.NEAREST)


def test_standing_cluster_goes_before_a_slow_starter_in_panic() -> None:
    standing, out = candidate("near", A, load=9), candidate("out", B, load=9, drop=Drop.EJECTED, share=0.0)
    order, reason = placed(standing, out, candidate("out2", C, load=9, drop=Drop.EJECTED, share=0.0))
    assert order == ["near", "out", "out2"]
    assert reason is Reason.NEAREST


# Slow start.


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_slow_starter_takes_about_its_share(share: float) -> None:
    """2000 draws: three standard deviations are less than 0.04."""
    rng, view = Random(7), fleet_of(candidate("near", A, share=share), FAR)
    first = [decide(call(), view, {}, rng) for _ in range(2000)]
    taken = sum(isinstance(one, Place) and one.order[0].pool.cluster == "near" for one in first)
    assert taken / 2000 == pytest.approx(share, abs=0.04)


def test_slow_starter_takes_all_when_nobody_else_is_left() -> None:
    for seed in range(20):
        assert placed(candidate("near", A, share=0.1), seed=seed) == (["near"], Reason.NEAREST)


def test_full_slow_starter_goes_behind_fuller_ones_that_have_proven_themselves() -> None:
    pools = [candidate("slow", A, share=0.5, load=8), candidate("proven", B, load=12)]
    assert placed(*pools) == (["proven", "slow"], Reason.OVERFLOW)


def test_call_that_a_slow_starter_left_to_others_may_come_back_in_failover() -> None:
    orders = {tuple(placed(candidate("near", A, share=0.5), FAR, seed=seed)[0]) for seed in range(20)}
    assert orders == {("near", "far"), ("far", "near")}


# Properties.

pools = st.builds(
    candidate,
    st.text("abcdefgh", min_size=1, max_size=2),
    st.sampled_from([A, B, C]),
    slots=st.integers(1, 6).map(float),
    load=st.integers(0, 8).map(float),
    share=st.sampled_from([1.0, 1.0, 1.0, 0.5]),
    drop=st.sampled_from([None, None, None, *Drop]),
)
fleets = st.lists(pools, max_size=9, unique_by=lambda one: one.cluster)
owns = st.dictionaries(st.tuples(st.text("abcdefgh", min_size=1, max_size=2), st.just(MODEL)), st.integers(0, 4))
calls = st.builds(
    call,
    origin=st.sampled_from([A, B, C]),
    regions=st.none() | st.frozensets(st.sampled_from([A, B, C])),
)


def eligible(asked: Call, view: FleetView) -> list[PoolView]:
    """Brute force: every pool that may take the call, nearest first, ties by name."""
    pools = view.models[MODEL].pools if MODEL in view.models else ()
    allowed = [one for one in pools if asked.regions is None or one.region in asked.regions]
    standing = [one for one in allowed if one.drop is None]
    return sorted(standing, key=lambda one: (view.distances.rtt_ms(asked.origin, one.region), one.cluster))


@given(calls, fleets, owns, st.integers(0, 99))
def test_nearest_eligible_cluster_with_headroom_wins(asked: Call, held: list[PoolView], own: Own, seed: int) -> None:
    held = [one for one in held if one.share == 1.0]
    view = fleet_of(*held)
    decision = decide(asked, view, own, Random(seed))
    standing = eligible(asked, view)
    roomy = [one for one in standing if one.slots - one.load_of_others - own.get((one.cluster, MODEL), 0) >= 1]
    if not roomy:
        return
    assert isinstance(decision, Place)
    assert [one.pool for one in decision.order][: len(roomy)] == roomy[:3]
    assert decision.reason is (Reason.NEAREST if roomy[0] is standing[0] else Reason.OVERFLOW)


@given(calls, fleets, owns, st.integers(0, 99))
def test_nobody_is_chosen_who_may_not_be(asked: Call, held: list[PoolView], own: Own, seed: int) -> None:
    view = fleet_of(*held)
    decision = decide(asked, view, own, Random(seed))
    standing = eligible(asked, view)
    if isinstance(decision, Refuse):
        assert not standing
        assert decision.known is (MODEL in view.models)
        assert decision.drops.keys() == {one.cluster for one in held}
        return
    names = [one.pool.cluster for one in decision.order]
    assert 1 <= len(names) <= 3
    assert len(set(names)) == len(names)
    for one in decision.order:
        assert asked.regions is None or one.pool.region in asked.regions
        if one.pool.drop is not None:
            assert one.pool.in_panic
            assert len(standing) * 2 < len(standing) + sum(other.in_panic for other in held)
    assert (decision.reason is Reason.PANIC) is (decision.order[0].pool.drop is not None)
    if decision.reason is Reason.NEAREST:
        assert decision.order[0].pool is standing[0]


@given(calls, fleets, owns, st.integers(0, 99), st.randoms(use_true_random=False))
def test_same_seed_decides_the_same_whatever_the_order_of_the_fleet(
    asked: Call, held: list[PoolView], own: Own, seed: int, shuffled: Random
) -> None:
    first = decide(asked, fleet_of(*held), own, Random(seed))
    shuffled.shuffle(held)
    assert decide(asked, fleet_of(*held), own, Random(seed)) == first


@given(calls, fleets, owns)
def test_nothing_is_drawn_unless_somebody_starts_slowly(asked: Call, held: list[PoolView], own: Own) -> None:
    held = [one for one in held if one.share == 1.0]
    rng = Random(5)
    decide(asked, fleet_of(*held), own, rng)
    assert rng.getstate() == Random(5).getstate()


def test_call_goes_only_to_clusters_that_can_serve_it() -> None:
    only = frozenset({"mid", "far"})
    assert placed(NEAR, MID, FAR, clusters=only) == (["mid", "far"], Reason.NEAREST)
    full = candidate("mid", B, load=8)
    assert placed(NEAR, full, FAR, clusters=only) == (["far", "mid"], Reason.OVERFLOW)
    assert placed(NEAR, full, clusters=only)[0] == ["mid"]


def test_call_that_nobody_can_serve_is_refused_with_the_reason() -> None:
    decision = decided(NEAR, MID, clusters=frozenset({"far"}))
    assert isinstance(decision, Refuse)
    assert decision.drops == {"near": Drop.ELSEWHERE, "mid": Drop.ELSEWHERE}


def test_panic_does_not_reach_beyond_the_clusters_that_can_serve_it() -> None:
    near, mid = (candidate(name, region, drop=Drop.EJECTED) for name, region in (("near", A), ("mid", B)))
    assert placed(near, mid, clusters=frozenset({"mid"})) == (["mid"], Reason.PANIC)


def test_a_call_that_needs_a_feature_goes_only_where_it_is() -> None:
    able = replace(FAR, features=frozenset({"x", "y"}))
    assert placed(NEAR, able, needs=frozenset({"x"})) == (["far"], Reason.NEAREST)
    assert placed(NEAR, able)[0] == ["near", "far"]


def test_a_feature_is_needed_also_where_standing_is_ignored() -> None:
    out = candidate("near", A, drop=Drop.EJECTED)
    decision = decided(out, needs=frozenset({"x"}))
    assert isinstance(decision, Refuse)
    assert decision.drops == {"near": Drop.FEATURE_MISSING}


@pytest.mark.parametrize(
    ("drop", "chosen"),
    [
        (Drop.EJECTED, True),
        (Drop.NOT_READY, True),
        (Drop.NO_ROOM, True),
        (Drop.UNREACHABLE, False),
        (Drop.DRAINED, False),
    ],
)
def test_last_resort_is_whoever_answers(drop: Drop, chosen: bool) -> None:
    view = fleet_of(candidate("a", A), candidate("b", B, drop=drop))
    found = last_resort(call(), view, {}, ("a",))
    assert (found is not None and found.pool.cluster == "b") is chosen


def test_last_resort_is_the_least_loaded_not_tried_yet_and_within_the_allowed_regions() -> None:
    view = fleet_of(
        candidate("a", A, drop=Drop.EJECTED, load=1),
        candidate("b", B, drop=Drop.EJECTED, load=2),
        candidate("c", C, drop=Drop.EJECTED, load=0),
    )
    found = last_resort(call(regions=frozenset({A, B})), view, {}, ("a",))
    assert found is not None
    assert found.pool.cluster == "b"
    assert last_resort(call(model="other"), view, {}, ()) is None
