"""How a cluster is taken out, and how it comes back."""

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.ejection import (
    DEFAULT_RULES,
    Cause,
    EjectionRules,
    ProbeResult,
    Standing,
    State,
    after_answers,
    after_outcome,
    after_probe,
    after_time,
    eject,
    heard,
)
from federation.outcome import AGAINST_CLUSTER, ANSWERED, ANSWERED_BADLY, NEVER_CONNECTED, OutcomeKind
from tests.build import NOW, ejected, probation

ANSWER, UNWELL, SILENT = ProbeResult.ANSWERED, ProbeResult.UNWELL, ProbeResult.SILENT
RULES = DEFAULT_RULES
STEADY = replace(RULES, jitter=0.0)


def probed(standing: Standing, *results: ProbeResult, now: float = NOW) -> Standing:
    for result in results:
        standing = after_probe(standing, result, now, Random(1), RULES)
    return standing


def called(standing: Standing, *kinds: OutcomeKind, now: float = NOW) -> Standing:
    for kind in kinds:
        standing = after_outcome(standing, kind, now, Random(1), RULES)
    return standing


def is_out(standing: Standing, cause: Cause) -> bool:
    return standing.state is State.EJECTED and standing.cause is cause


def test_three_silent_probes_in_a_row_make_a_cluster_unreachable() -> None:
    assert probed(Standing(), SILENT, SILENT).state is State.ADMITTED
    assert is_out(probed(Standing(), SILENT, SILENT, SILENT), Cause.UNREACHABLE)


@pytest.mark.parametrize("sign_of_life", [ANSWER, UNWELL])
def test_answered_probe_ends_the_silence(sign_of_life: ProbeResult) -> None:
    assert probed(Standing(), SILENT, SILENT, sign_of_life, SILENT, SILENT).state is State.ADMITTED


def test_bytes_received_by_a_call_end_the_silence() -> None:
    standing = heard(probed(Standing(), SILENT, SILENT), NOW)
    assert standing.silent_probes == 0
    assert standing.heard_at == NOW
    assert probed(standing, SILENT, SILENT).state is State.ADMITTED


@pytest.mark.parametrize("kind", sorted(ANSWERED | ANSWERED_BADLY))
def test_any_answer_to_a_call_ends_the_silence(kind: OutcomeKind) -> None:
    standing = called(probed(Standing(), SILENT, SILENT), kind)
    assert standing.silent_probes == 0
    assert probed(standing, SILENT, SILENT).state is State.ADMITTED


@pytest.mark.parametrize("kind", sorted(set(OutcomeKind) - ANSWERED - ANSWERED_BADLY))
def test_what_is_no_answer_leaves_the_silence(kind: OutcomeKind) -> None:
    assert called(probed(Standing(), SILENT, SILENT), kind).silent_probes == 2


def test_four_unwell_probes_in_a_row_are_failing() -> None:
    assert probed(Standing(), UNWELL, UNWELL, UNWELL).state is State.ADMITTED
    assert is_out(probed(Standing(), UNWELL, UNWELL, UNWELL, UNWELL), Cause.FAILING)
    assert probed(Standing(), UNWELL, UNWELL, UNWELL, ANSWER, UNWELL).state is State.ADMITTED


@pytest.mark.parametrize("kind", sorted(NEVER_CONNECTED))
def test_three_refused_calls_in_a_row_need_no_probe(kind: OutcomeKind) -> None:
    assert called(Standing(), kind, kind).state is State.ADMITTED
    assert is_out(called(Standing(), kind, kind, kind), Cause.UNREACHABLE)


def test_answered_probe_between_refused_calls_keeps_a_cluster_in() -> None:
    standing = called(Standing(), OutcomeKind.REFUSED, OutcomeKind.REFUSED)
    assert called(probed(standing, ANSWER), OutcomeKind.REFUSED, OutcomeKind.REFUSED).state is State.ADMITTED


@pytest.mark.parametrize(
    "kind", sorted(kind for kind, weight in AGAINST_CLUSTER.items() if weight == 1.0 and kind not in NEVER_CONNECTED)
)
def test_five_failures_in_a_row_are_failing(kind: OutcomeKind) -> None:
    assert called(Standing(), *[kind] * 4).state is State.ADMITTED
    assert is_out(called(Standing(), *[kind] * 5), Cause.FAILING)


def test_one_answer_starts_the_row_anew() -> None:
    four = [OutcomeKind.RESET] * 4
    assert called(Standing(), *four, OutcomeKind.SERVED, *four).state is State.ADMITTED


def test_500s_weigh_lightly() -> None:
    """A third each: 14 make 4.76, 15 make 5.1."""
    assert called(Standing(), *[OutcomeKind.SERVER_ERROR] * 14).state is State.ADMITTED
    assert is_out(called(Standing(), *[OutcomeKind.SERVER_ERROR] * 15), Cause.FAILING)


def test_500s_mixed_with_answers_never_eject() -> None:
    standing = called(Standing(), *[OutcomeKind.SERVER_ERROR, OutcomeKind.SERVER_ERROR, OutcomeKind.SERVED] * 200)
    assert standing.state is State.ADMITTED


def test_failing_most_of_the_time_is_failing_without_a_row() -> None:
    """Four of five calls reset, never five in a row: the moving average passes 0.6 after some twenty calls."""
    round_of_five = [OutcomeKind.RESET] * 4 + [OutcomeKind.SERVED]
    assert called(Standing(), *round_of_five * 3).state is State.ADMITTED
    assert is_out(called(Standing(), *round_of_five * 8), Cause.FAILING)


def test_failing_now_and_then_is_not() -> None:
    """One in three fails: a share of about a third."""
    standing = called(Standing(), *[OutcomeKind.RESET, OutcomeKind.SERVED, OutcomeKind.SERVED] * 100)
    assert standing.state is State.ADMITTED
    assert standing.failure_share < 0.5


@pytest.mark.parametrize("kind", [OutcomeKind.ABANDONED, OutcomeKind.CANCELLED, OutcomeKind.LOCAL_SHORTAGE])
def test_what_we_or_the_client_ended_says_nothing(kind: OutcomeKind) -> None:
    standing = called(Standing(), OutcomeKind.RESET)
    assert called(standing, *[kind] * 50) is standing


@pytest.mark.parametrize(
    "kind", [OutcomeKind.NO_ROOM, OutcomeKind.CREDENTIALS, OutcomeKind.MODEL_MISSING, OutcomeKind.PASSED_THROUGH]
)
def test_refusals_that_are_nobodys_fault_never_eject(kind: OutcomeKind) -> None:
    assert called(Standing(), *[kind] * 100).state is State.ADMITTED


def test_every_outcome_is_evidence_for_against_or_neither() -> None:
    assert not ANSWERED & AGAINST_CLUSTER.keys()
    neither = set(OutcomeKind) - ANSWERED - AGAINST_CLUSTER.keys()
    assert neither == {
        OutcomeKind.ABANDONED,
        OutcomeKind.CANCELLED,
        OutcomeKind.LOCAL_SHORTAGE,
        OutcomeKind.POOL_FULL,
    }


def test_answers_counted_together_are_worth_as_much_as_one_by_one() -> None:
    troubled = Standing(failures=2.0, failure_share=0.4, refused=1, silent_probes=2, calls=5)
    one_by_one = troubled
    for _ in range(7):
        one_by_one = after_outcome(one_by_one, OutcomeKind.SERVED, NOW, Random(1))
    together = after_answers(troubled, 7, NOW)
    assert together.failure_share == pytest.approx(one_by_one.failure_share)
    assert replace(together, failure_share=0.0) == replace(one_by_one, failure_share=0.0)


def test_memory_of_failures_fades_to_nothing() -> None:
    standing = called(Standing(), *[OutcomeKind.RESET] * 4, *[OutcomeKind.SERVED] * 200)
    assert standing.failure_share == 0.0


def test_back_off_doubles_and_is_capped() -> None:
    lengths = []
    standing = Standing()
    for _ in range(8):
        standing = eject(standing, Cause.FAILING, NOW, Random(1), STEADY)
        lengths.append(standing.until - NOW)
    assert lengths == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]


@given(st.integers(0, 10_000), st.integers(0, 2**32))
def test_jitter_stays_within_its_bounds(times: int, seed: int) -> None:
    back_off_s = min(30.0, 2.0 ** min(times, 16))
    standing = eject(Standing(times=times), Cause.FAILING, 0.0, Random(seed), RULES)
    assert back_off_s * 0.8 <= standing.until <= back_off_s * 1.2


def test_jitter_spreads_front_doors_apart() -> None:
    ends = {eject(Standing(), Cause.FAILING, NOW, Random(seed), RULES).until for seed in range(20)}
    assert len(ends) == 20


def test_probation_begins_after_the_back_off_and_not_before() -> None:
    standing = probed(ejected(), ANSWER, now=NOW + 0.5)
    assert after_time(standing, NOW + 0.99) is standing
    assert after_time(standing, NOW + 1.0).state is State.PROBATION


def test_probation_needs_an_answered_probe() -> None:
    unheard = ejected(since=NOW)
    assert after_time(unheard, NOW + 1000).state is State.EJECTED
    assert after_time(probed(unheard, ANSWER, now=NOW + 1000), NOW + 1000).state is State.PROBATION


def test_sign_of_life_from_before_the_ejection_does_not_count() -> None:
    assert after_time(ejected(heard_at=NOW), NOW + 1000).state is State.EJECTED


@pytest.mark.parametrize("last", [SILENT, UNWELL])
def test_no_probation_while_the_last_probe_was_bad(last: ProbeResult) -> None:
    standing = probed(ejected(), ANSWER, last, now=NOW + 1)
    assert after_time(standing, NOW + 1000).state is State.EJECTED


def test_refused_clusters_probation_needs_an_answer_too() -> None:
    standing = called(Standing(), *[OutcomeKind.REFUSED] * 3)
    assert after_time(standing, NOW + 1000).state is State.EJECTED
    assert after_time(heard(standing, NOW + 1), NOW + 1000).state is State.PROBATION


def test_failures_of_calls_from_before_the_ejection_are_no_relapse() -> None:
    late = called(ejected(), *[OutcomeKind.RESET] * 30, now=NOW + 0.5)
    standing = after_time(probed(late, ANSWER, now=NOW + 0.9), NOW + 2)
    assert standing.state is State.PROBATION
    assert called(standing, OutcomeKind.SERVER_ERROR).state is State.PROBATION


def test_one_failure_on_probation_ejects_for_longer() -> None:
    again = after_outcome(probation(), OutcomeKind.RESET, NOW, Random(1), STEADY)
    assert again.state is State.EJECTED
    assert again.until - NOW == 2.0
    assert again.times == 2


@pytest.mark.parametrize(
    ("result", "cause"), [pytest.param(SILENT, Cause.UNREACHABLE, id="one silent"), (UNWELL, Cause.FAILING)]
)
def test_half_the_evidence_is_enough_on_probation(result: ProbeResult, cause: Cause) -> None:
    """One silent probe of three, two unwell ones of four."""
    assert is_out(probed(probation(), *[result] * (1 if result is SILENT else 2)), cause)


def test_one_500_on_probation_is_forgiven_and_three_are_not() -> None:
    assert called(probation(), OutcomeKind.SERVER_ERROR, OutcomeKind.SERVER_ERROR).state is State.PROBATION
    assert called(probation(), *[OutcomeKind.SERVER_ERROR] * 3).state is State.EJECTED


@pytest.mark.parametrize(
    ("after_s", "share"), [(0.0, 0.1), (0.5, 0.1), (1.0, 0.1), (5.0, 0.5), (9.0, 0.9), (10.0, 1.0), (99.0, 1.0)]
)
def test_slow_start_ramps_up(after_s: float, share: float) -> None:
    assert probation().share(NOW + after_s) == pytest.approx(share)


def test_without_slow_start_probation_takes_its_whole_share_at_once() -> None:
    assert probation().share(NOW, EjectionRules(slow_start_s=0.0)) == 1.0


def test_slow_start_ends_in_admission() -> None:
    assert after_time(probation(), NOW + 9.9).state is State.PROBATION
    admitted = after_time(probation(), NOW + 10.0)
    assert admitted.state is State.ADMITTED
    assert admitted.cause is None
    assert admitted.times == 1


def test_ejections_are_forgiven_after_a_minute_in_good_standing() -> None:
    admitted = Standing(since=NOW, times=5)
    assert after_time(admitted, NOW + 59.9).times == 5
    assert after_time(admitted, NOW + 60.0).times == 0


def test_failing_cluster_that_falls_silent_counts_as_unreachable() -> None:
    out = probed(ejected(), SILENT, SILENT)
    assert is_out(out, Cause.FAILING)
    gone = probed(out, SILENT)
    assert is_out(gone, Cause.UNREACHABLE)
    assert gone.until == out.until, "no second back-off on top"
    assert not gone.reachable


def test_nothing_ejects_a_cluster_twice_over() -> None:
    out = ejected()
    later = called(probed(out, *[UNWELL] * 9), *[OutcomeKind.RESET] * 9, *[OutcomeKind.REFUSED] * 9)
    assert (later.times, later.since, later.until) == (out.times, out.since, out.until)


EVENTS = st.one_of(
    st.sampled_from(ProbeResult),
    st.sampled_from(OutcomeKind),
    st.just("bytes"),
    st.just("time"),
)


@given(st.lists(st.tuples(EVENTS, st.floats(0, 20)), max_size=80), st.integers(0, 2**32))
def test_no_sequence_of_events_breaks_the_rules_of_standing(
    events: list[tuple[ProbeResult | OutcomeKind | str, float]], seed: int
) -> None:
    standing, now, rng = Standing(), 0.0, Random(seed)
    for event, pause_s in events:
        now += pause_s
        before = standing
        if isinstance(event, ProbeResult):
            standing = after_probe(standing, event, now, rng)
        elif isinstance(event, OutcomeKind):
            standing = after_outcome(standing, event, now, rng)
        elif event == "bytes":
            standing = heard(standing, now)
        else:
            standing = after_time(standing, now)

        assert 0.0 <= standing.share(now) <= 1.0
        assert (standing.share(now) == 0.0) == (standing.state is State.EJECTED)
        assert standing.since <= now
        assert standing.heard_at <= now
        assert 0.0 <= standing.failure_share <= 1.0
        assert 0 <= standing.calls <= DEFAULT_RULES.memory_calls
        assert min(standing.silent_probes, standing.unwell_probes, standing.refused, standing.times) >= 0
        if standing.state is State.EJECTED:
            assert standing.cause is not None
            assert standing.since <= standing.until <= standing.since + 36.0
            assert standing.times > 0
        if before.state is State.EJECTED and standing.state is not State.EJECTED:
            assert event == "time", "only time ends an ejection"
            assert standing.state is State.PROBATION
            assert now >= before.until
            assert before.heard_at > before.since
        if standing.state is State.ADMITTED and before.state is not State.ADMITTED:
            assert before.state is State.PROBATION
        if isinstance(event, ProbeResult) and event is ANSWER:
            assert standing.reachable


def test_signs_of_life_of_a_cluster_in_good_standing_are_noted_once_a_second() -> None:
    standing = after_answers(Standing(), DEFAULT_RULES.memory_calls, NOW)
    for sign in (
        lambda at: after_answers(standing, 3, at),
        lambda at: heard(standing, at),
        lambda at: after_probe(standing, ProbeResult.ANSWERED, at, Random(1)),
    ):
        assert sign(NOW + 0.9) is standing
        assert sign(NOW + 1.0).heard_at == NOW + 1.0
