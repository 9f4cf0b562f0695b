"""What each event does to a snapshot."""

from collections.abc import Mapping
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.ejection import DEFAULT_RULES, Cause, ProbeResult, Standing, State
from federation.fold import (
    HOLD_S_DEFAULT,
    HOLD_S_MAX,
    MODEL_MISSING_S,
    BytesSeen,
    DrainSeen,
    Event,
    HeartbeatSeen,
    InventorySeen,
    OutcomeSeen,
    ProbeSeen,
    ServedSeen,
    StoresSeen,
    fold,
    is_newer,
)
from federation.model import Belief, Epoch, HoldKind, Mode, Snapshot
from federation.outcome import Outcome, OutcomeKind
from tests.build import MODEL, NOW, belief, drain, ejected, heartbeat, probation, snapshot, spec


def folded(before: Snapshot, *events: Event, now: float = NOW) -> Snapshot:
    return fold(before, events, now, Random(1), DEFAULT_RULES)


def outcome(kind: OutcomeKind, cluster: str = "a", **fields: object) -> OutcomeSeen:
    return OutcomeSeen(Outcome(**{"cluster": cluster, "model": MODEL, "kind": kind} | fields))  # type: ignore[arg-type]


def seen(cluster: str = "a", own: Mapping[str, int] | None = None, **fields: object) -> HeartbeatSeen:
    return HeartbeatSeen(heartbeat(cluster, **fields), own or {})  # type: ignore[arg-type]


def unheard(name: str = "a") -> Belief:
    return belief(name, heartbeat=None)


def test_generation_grows_with_every_fold() -> None:
    once = folded(snapshot(unheard()))
    assert folded(once).generation == once.generation + 1 == 3


def test_snapshot_before_is_left_as_it_was() -> None:
    before = snapshot(unheard())
    folded(before, seen(), DrainSeen(drain()), StoresSeen(0, 1), *[outcome(OutcomeKind.REFUSED)] * 5)
    assert before == snapshot(unheard())


def test_time_that_goes_back_is_our_own_mistake() -> None:
    with pytest.raises(AssertionError, match="went back"):
        folded(snapshot(unheard()), now=NOW - 1)


def test_first_heartbeat_is_kept_but_has_not_advanced() -> None:
    after = folded(snapshot(unheard()), seen(own={MODEL: 3})).beliefs["a"]
    assert after.heartbeat == heartbeat()
    assert after.arrived_at == NOW
    assert not after.advanced
    assert after.own_at_arrival == {MODEL: 3}


def test_next_heartbeat_advances() -> None:
    after = folded(snapshot(unheard()), seen(seq=1), seen(seq=2)).beliefs["a"]
    assert after.heartbeat == heartbeat(seq=2)
    assert after.advanced


@pytest.mark.parametrize(
    ("held", "other"),
    [
        pytest.param({"seq": 5}, {"seq": 5}, id="equal"),
        pytest.param({"seq": 5}, {"seq": 4}, id="older seq"),
        pytest.param({"seq": 1, "boot_ms": 9}, {"seq": 99, "boot_ms": 8}, id="older boot"),
        pytest.param(
            {"epoch": Epoch(lease_created_ms=1, lease_transitions=2, boot_ms=1)},
            {"epoch": Epoch(lease_created_ms=1, lease_transitions=1, boot_ms=9), "seq": 99},
            id="older lease, newer boot",
        ),
    ],
)
def test_older_or_equal_heartbeat_is_ignored(held: dict[str, object], other: dict[str, object]) -> None:
    before = snapshot(belief(heartbeat=heartbeat(**held)))  # type: ignore[arg-type]
    after = folded(before, seen(**other), now=NOW + 1)
    assert after.beliefs["a"] is before.beliefs["a"]


def test_newer_boot_is_taken_whatever_its_seq() -> None:
    before = snapshot(belief(heartbeat=heartbeat(seq=99, boot_ms=1)))
    after = folded(before, seen(seq=1, boot_ms=2)).beliefs["a"]
    assert after.heartbeat == heartbeat(seq=1, boot_ms=2)


LEASED = Epoch(lease_created_ms=50, lease_transitions=7, boot_ms=10)


@pytest.mark.parametrize(
    ("age_s", "boot_ms", "taken"),
    [
        pytest.param(10.5, 11, True, id="lost, newer boot"),
        pytest.param(10.5, 10, False, id="lost, same boot"),
        pytest.param(10.5, 9, False, id="lost, older boot"),
        pytest.param(9.5, 11, False, id="only stale"),
    ],
)
def test_after_a_loss_a_newer_boot_is_believed_whatever_the_lease(age_s: float, boot_ms: int, taken: bool) -> None:
    held = belief(heartbeat=heartbeat(epoch=LEASED, seq=3), age_s=age_s)
    assert is_newer(held, heartbeat(boot_ms=boot_ms), NOW) is taken


def test_cluster_never_heard_takes_any_heartbeat() -> None:
    assert is_newer(unheard(), heartbeat(), NOW)


def test_events_of_undeclared_clusters_are_ignored() -> None:
    before = snapshot(unheard())
    after = folded(
        before,
        seen("z"),
        DrainSeen(drain("z")),
        ProbeSeen("z", ProbeResult.SILENT),
        outcome(OutcomeKind.REFUSED, "z"),
        BytesSeen("z"),
    )
    assert after.beliefs == before.beliefs


# Drains.


def test_newer_drain_replaces_the_older_and_never_the_other_way_round() -> None:
    first, second = drain(version_ms=1), drain(version_ms=2, reason="longer")
    for events in ([first, second], [second, first], [second, second, first]):
        after = folded(snapshot(unheard()), *map(DrainSeen, events))
        assert after.beliefs["a"].drain == second


def test_undrain_is_a_newer_record_that_an_old_drain_cannot_undo() -> None:
    over = drain(active=False, version_ms=2)
    after = folded(snapshot(unheard()), DrainSeen(drain(version_ms=1)), DrainSeen(over), DrainSeen(drain(version_ms=1)))
    assert after.beliefs["a"].drain == over


@pytest.mark.parametrize("endpoint", ["http://a:80", "http://elsewhere:80"])
def test_drain_outlives_an_inventory_change(endpoint: str) -> None:
    before = snapshot(belief(drain=drain()))
    after = folded(before, InventorySeen({"a": spec("a", endpoint=endpoint)}))
    assert after.beliefs["a"].drain == drain()


# Inventory.


def test_only_the_inventory_adds_and_removes_clusters() -> None:
    before = snapshot(belief("a"), belief("c"))
    after = folded(before, InventorySeen({"c": spec("c"), "b": spec("b")}))
    assert list(after.beliefs) == ["b", "c"]
    assert after.beliefs["b"] == Belief(spec("b"))
    assert after.beliefs["c"] is not None


def test_unchanged_cluster_keeps_what_is_known_of_it() -> None:
    known = belief(standing=ejected(), rtt_s=0.02)
    after = folded(snapshot(known), InventorySeen({"a": spec("a", slots=4)})).beliefs["a"]
    assert after == replace(known, spec=spec("a", slots=4))


def test_cluster_with_a_new_endpoint_starts_with_a_clean_sheet() -> None:
    moved = spec("a", endpoint="http://elsewhere:80")
    after = folded(snapshot(belief(standing=ejected(), rtt_s=0.02)), InventorySeen({"a": moved}))
    assert after.beliefs["a"] == Belief(moved)


def test_inventory_without_clusters_leaves_none() -> None:
    assert not folded(snapshot(belief()), InventorySeen({})).beliefs


# The stores.


@pytest.mark.parametrize(
    ("reachable", "configured", "mode"),
    [(0, 1, Mode.FROZEN), (0, 3, Mode.FROZEN), (1, 3, Mode.LIVE), (2, 2, Mode.LIVE), (0, 0, Mode.LIVE)],
)
def test_mode_is_frozen_while_no_store_can_be_heard(reachable: int, configured: int, mode: Mode) -> None:
    for before in Mode:
        assert folded(snapshot(unheard(), mode=before), StoresSeen(reachable, configured)).mode is mode


def test_frozen_federation_forgets_nothing_and_goes_on_judging() -> None:
    after = folded(
        snapshot(belief("a"), belief("b")),
        StoresSeen(0, 1),
        *[outcome(OutcomeKind.REFUSED)] * 3,
    )
    assert list(after.beliefs) == ["a", "b"]
    assert after.beliefs["a"].heartbeat is not None
    assert after.beliefs["a"].standing.state is State.EJECTED


# Probes and outcomes.


def test_probes_measure_the_distance_by_the_fastest_answers() -> None:
    """A cluster that is busy answers late; that makes it no farther away."""
    once = folded(snapshot(unheard()), ProbeSeen("a", ProbeResult.ANSWERED, 0.100))
    assert once.beliefs["a"].rtt_s == 0.100
    late = folded(once, ProbeSeen("a", ProbeResult.ANSWERED, 0.500), ProbeSeen("a", ProbeResult.SILENT))
    assert late.beliefs["a"].rtt_s == pytest.approx(0.104)
    fast = folded(late, ProbeSeen("a", ProbeResult.ANSWERED, 0.090))
    assert fast.beliefs["a"].rtt_s == 0.090


def test_bytes_are_a_sign_of_life() -> None:
    silent = ProbeSeen("a", ProbeResult.SILENT)
    after = folded(snapshot(unheard()), silent, silent, BytesSeen("a"), silent, silent)
    assert after.beliefs["a"].standing.state is State.ADMITTED


def test_time_alone_moves_standings_on() -> None:
    before = snapshot(belief("a", standing=ejected(heard_at=NOW + 0.1)), belief("b", standing=probation()))
    after = folded(before, now=NOW + 20)
    assert after.beliefs["a"].standing.state is State.PROBATION
    assert after.beliefs["b"].standing.state is State.ADMITTED


def test_calls_served_since_the_last_tick_count_together() -> None:
    troubled = belief(standing=Standing(failures=2.0, failure_share=0.4, calls=5))
    after = folded(snapshot(troubled), ServedSeen("a", 7)).beliefs["a"].standing
    assert (after.failures, after.calls, after.heard_at) == (0.0, 12, NOW)


FAILING = [OutcomeKind.RESET] * 5


@pytest.mark.parametrize(("clusters", "out"), [(1, 0), (2, 1), (3, 1), (4, 2), (5, 2)])
def test_failing_answers_eject_at_most_half_the_fleet(clusters: int, out: int) -> None:
    names = [f"c{number}" for number in range(clusters)]
    events = [outcome(kind, name) for kind in FAILING * 3 for name in names]
    after = folded(snapshot(*map(belief, names)), *events)
    states = [one.standing.state for one in after.beliefs.values()]
    assert states.count(State.EJECTED) == out


def test_unwell_probes_are_under_the_same_cap() -> None:
    events = [ProbeSeen(name, ProbeResult.UNWELL) for name in "abcd"] * 20
    after = folded(snapshot(*map(belief, "abcd")), *events)
    assert sum(one.standing.state is State.EJECTED for one in after.beliefs.values()) == 2


def test_cap_is_free_again_once_a_cluster_is_back() -> None:
    before = snapshot(belief("a", standing=probation()), belief("b"))
    after = folded(before, *[outcome(kind, "b") for kind in FAILING])
    assert after.beliefs["b"].standing.state is State.EJECTED


def test_silence_ejects_the_whole_fleet_if_need_be() -> None:
    silent = [ProbeSeen(name, ProbeResult.SILENT) for name in "abc"] * 3
    after = folded(snapshot(*map(belief, "abc")), *silent)
    assert all(one.standing.cause is Cause.UNREACHABLE for one in after.beliefs.values())


def test_sign_of_life_counts_though_the_cap_refuses_the_ejection() -> None:
    silent, unwell = ProbeSeen("a", ProbeResult.SILENT), ProbeSeen("a", ProbeResult.UNWELL)
    after = folded(snapshot(belief("a")), *[unwell] * 3, silent, silent, unwell, silent)
    standing = after.beliefs["a"].standing
    assert standing.state is State.ADMITTED
    assert standing.silent_probes == 1
    assert standing.heard_at == NOW


def test_what_fails_and_may_not_be_ejected_takes_a_trickle_until_it_has_done_well_for_a_while() -> None:
    out = belief("a", standing=ejected(cause=Cause.FAILING))
    after = folded(snapshot(out, belief("b")), *[outcome(kind, "b") for kind in FAILING])
    doubted = after.beliefs["b"].standing
    assert (doubted.state, doubted.share(NOW), doubted.share(NOW + 4.9)) == (State.ADMITTED, 0.1, 0.1)
    assert doubted.share(NOW + 5.0) == 1.0
    again = folded(after, outcome(OutcomeKind.RESET, "b"), now=NOW + 4).beliefs["b"].standing
    assert again.share(NOW + 8.9) == 0.1
    well = folded(after, ServedSeen("b", 1), outcome(OutcomeKind.RESET, "b"), now=NOW + 4).beliefs["b"].standing
    assert well.share(NOW + 5.0) == 1.0


# Holds.


@pytest.mark.parametrize(
    ("kind", "retry_after_s", "held_s", "hold"),
    [
        pytest.param(OutcomeKind.NO_ROOM, None, HOLD_S_DEFAULT, HoldKind.NO_ROOM, id="429"),
        pytest.param(OutcomeKind.NO_ROOM, 7.0, 7.0, HoldKind.NO_ROOM, id="429 with Retry-After"),
        pytest.param(OutcomeKind.NO_ROOM, 0.0, HOLD_S_DEFAULT, HoldKind.NO_ROOM, id="429 that says zero"),
        pytest.param(OutcomeKind.NO_ROOM, 3600.0, HOLD_S_MAX, HoldKind.NO_ROOM, id="429 for an hour"),
        pytest.param(OutcomeKind.MODEL_MISSING, None, MODEL_MISSING_S, HoldKind.MODEL_MISSING, id="404"),
        pytest.param(OutcomeKind.MODEL_UNAVAILABLE, 5.0, 5.0, HoldKind.MODEL_MISSING, id="503 that names the model"),
    ],
)
def test_model_is_held_back_for_a_while(
    kind: OutcomeKind, retry_after_s: float | None, held_s: float, hold: HoldKind
) -> None:
    after = folded(snapshot(belief()), outcome(kind, retry_after_s=retry_after_s)).beliefs["a"]
    assert after.holds[MODEL].kind is hold
    assert after.holds[MODEL].until == NOW + held_s
    assert after.standing.state is State.ADMITTED


def test_holds_of_other_models_stay_until_they_are_over() -> None:
    once = folded(snapshot(belief()), outcome(OutcomeKind.NO_ROOM, model="m1", retry_after_s=5.0))
    soon = folded(once, outcome(OutcomeKind.NO_ROOM, model="m2"), now=NOW + 4)
    late = folded(once, outcome(OutcomeKind.NO_ROOM, model="m2"), now=NOW + 6)
    assert set(soon.beliefs["a"].holds) == {"m1", "m2"}
    assert set(late.beliefs["a"].holds) == {"m2"}


@pytest.mark.parametrize("kind", [OutcomeKind.SERVED, OutcomeKind.RESET, OutcomeKind.SERVER_ERROR])
def test_other_outcomes_hold_nothing(kind: OutcomeKind) -> None:
    assert not folded(snapshot(belief()), outcome(kind)).beliefs["a"].holds


# Properties.


def events_of(cluster: str) -> st.SearchStrategy[Event]:
    """What may be heard of one cluster. No failing answers: the cap on those ties clusters together on purpose."""
    harmless = sorted(set(OutcomeKind) & {OutcomeKind.SERVED, OutcomeKind.NO_ROOM, OutcomeKind.REFUSED})
    return st.one_of(
        st.builds(seen, st.just(cluster), seq=st.integers(0, 5), boot_ms=st.integers(0, 3)),
        st.builds(DrainSeen, st.builds(drain, st.just(cluster), active=st.booleans(), version_ms=st.integers(0, 4))),
        st.builds(
            ProbeSeen, st.just(cluster), st.sampled_from([ProbeResult.ANSWERED, ProbeResult.SILENT]), st.just(0.01)
        ),
        st.builds(outcome, st.sampled_from(harmless), st.just(cluster)),
        st.just(BytesSeen(cluster)),
    )


@given(st.lists(events_of("a"), max_size=12), st.lists(events_of("b"), max_size=12), st.randoms(use_true_random=False))
def test_order_of_events_of_different_clusters_does_not_matter(
    of_a: list[Event], of_b: list[Event], shuffled: Random
) -> None:
    rules = replace(DEFAULT_RULES, jitter=0.0)  # Each ejection draws its jitter; the draws would differ.
    before = snapshot(belief("a"), unheard("b"), belief("c"))
    turns = ["a"] * len(of_a) + ["b"] * len(of_b)
    shuffled.shuffle(turns)
    left = {"a": list(of_a), "b": list(of_b)}
    mixed = [left[turn].pop(0) for turn in turns]
    expected = fold(before, [*of_a, *of_b], NOW, Random(1), rules)
    assert fold(before, mixed, NOW, Random(1), rules) == expected


@given(st.lists(st.tuples(st.sampled_from("ab").flatmap(events_of), st.floats(0, 8)), max_size=40))
def test_epoch_and_seq_only_grow_while_a_cluster_is_not_lost(heard: list[tuple[Event, float]]) -> None:
    before, now = snapshot(unheard("a"), unheard("b")), NOW
    for event, pause_s in heard:
        now += pause_s
        after = fold(before, [event], now, Random(1), DEFAULT_RULES)
        assert after.generation == before.generation + 1
        assert list(after.beliefs) == ["a", "b"]
        for name, one in after.beliefs.items():
            earlier = before.beliefs[name]
            if earlier.heartbeat is not None:
                assert one.heartbeat is not None, "nothing that was said is forgotten"
                assert one.heartbeat.order >= earlier.heartbeat.order  # No leases here: a newer boot is newer.
        before = after


@given(st.lists(st.sampled_from(["a", "b", "c", "d", "e"]).flatmap(events_of), max_size=30), st.integers(0, 99))
def test_same_seed_folds_the_same(heard: list[Event], seed: int) -> None:
    before = snapshot(*map(unheard, "abcde"))
    first = fold(before, heard, NOW, Random(seed), DEFAULT_RULES)
    assert fold(before, heard, NOW, Random(seed), DEFAULT_RULES) == first
