"""The replica: worked steps by hand, then properties over random histories."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federation.lab.batching import Kind, Progress, Replica, ReplicaSpec, Sequence, Stage

PLAIN = ReplicaSpec(
    max_running=2,
    max_batched_tokens=100,
    kv_capacity_tokens=1_000,
    block_tokens=10,
    max_model_tokens=900,
    weights_s=0.008,
    kv_read_s=0.0,
    decode_s=0.0,
    prefill_s=0.001,
    attention_s=0.0,
    step_s=0.002,
    sequence_s=0.0,
    accept_s=0.0,
    finish_s=0.0,
)
"""Every step takes 10 ms, and 1 ms more for each prompt token in it."""


def run_out(replica: Replica, events: list[Progress]) -> None:
    """Advances from event to event until nothing is left."""
    while (at := replica.next_event_at()) is not None:
        events.extend(replica.advance(at))


def story(progress: list[Progress]) -> list[tuple[float, str, object]]:
    return [(round(at, 6), kind.value, sequence.key) for at, kind, sequence in progress]


def test_one_call_takes_its_prefill_and_a_step_for_each_further_token() -> None:
    replica, events = Replica(PLAIN), []
    replica.submit(Sequence("a", 50, 4), 1.0)
    run_out(replica, events)
    # The prefill step: 10 ms + 50 x 1 ms, with the first token. Then three more tokens at 10 ms.
    assert story(events) == [(1.06, "first_token", "a"), (1.09, "finished", "a")]
    assert replica.generation_tokens == 4
    assert replica.prompt_tokens == 50


def test_a_call_waits_for_its_acceptance_and_for_the_step_that_runs() -> None:
    replica, events = Replica(replace(PLAIN, accept_s=0.005)), []
    replica.submit(Sequence("a", 10, 100), 0.0)  # joins at 5 ms; steps end at 25, 35, 45 ms
    events.extend(replica.advance(0.031))
    replica.submit(Sequence("b", 20, 1), 0.031)  # ready at 36 ms; the step from 45 ms takes 10 + 20 ms
    events.extend(replica.advance(0.08))
    assert story(events) == [(0.025, "first_token", "a"), (0.075, "first_token", "b"), (0.075, "finished", "b")]


def test_a_long_prompt_is_computed_in_chunks_beside_those_that_decode() -> None:
    replica, events = Replica(PLAIN), []
    replica.submit(Sequence("a", 10, 1_00), 0.0)
    events.extend(replica.advance(0.02))
    replica.submit(Sequence("b", 150, 1), 0.02)
    # "a" has just begun the step to 30 ms. Then 99 tokens of "b" beside one of "a", then the other 51.
    events.extend(replica.advance(0.301))
    assert story(events)[1:] == [(0.2, "first_token", "b"), (0.2, "finished", "b")]
    assert replica.generated(events[0].sequence) == 1 + 1 + 2 + 10


def test_the_queue_is_first_in_first_out_and_a_finish_lets_the_next_one_in() -> None:
    replica, events = Replica(PLAIN), []
    for key in "abcd":
        replica.submit(Sequence(key, 10, 2), 0.0)
    assert replica.advance(0.0) == []
    assert (replica.running, replica.waiting) == (2, 2)
    run_out(replica, events)
    firsts = [progress.sequence.key for progress in events if progress.kind is Kind.FIRST_TOKEN]
    assert firsts == ["a", "b", "c", "d"]


def test_a_prefix_that_is_cached_costs_no_prefill() -> None:
    replica, events = Replica(PLAIN), []
    replica.submit(Sequence("a", 35, 1, ("x", "y", "z")), 0.0)
    run_out(replica, events)
    second = Sequence("b", 35, 1, ("x", "y", "other"))
    replica.submit(second, 1.0)
    run_out(replica, events)
    assert second.cached_tokens == 20
    assert round(second.finished_at, 6) == 1.025  # 10 ms and 15 tokens
    assert (replica.prefix_query_tokens, replica.prefix_hit_tokens) == (70, 20)


def test_the_last_token_of_a_prompt_is_always_computed() -> None:
    replica = Replica(PLAIN)
    for at in (1.0, 2.0):
        sequence = Sequence(at, 20, 1, ("x", "y"))
        replica.submit(sequence, at)
        run_out(replica, [])
    assert sequence.cached_tokens == 10


def test_cached_blocks_give_way_to_sequences_the_oldest_first() -> None:
    replica, cached = Replica(PLAIN), []
    # The last 400 of 1,000 tokens of room are those of "c"; "a" is the oldest, and gave way to "c" at its tail.
    for at, first in enumerate((0, 100, 200, 200, 0)):
        sequence = Sequence(at, 400, 1, tuple(range(first, first + 40)))
        replica.submit(sequence, float(at))
        run_out(replica, [])
        cached.append(sequence.cached_tokens)
    assert cached[:4] == [0, 0, 0, 390]
    assert 150 <= cached[4] <= 200


def test_a_full_cache_puts_the_youngest_back_and_loses_no_token() -> None:
    replica, events = Replica(replace(PLAIN, kv_capacity_tokens=200, max_model_tokens=190)), []
    old, young = Sequence("old", 90, 60), Sequence("young", 90, 60)
    replica.submit(old, 0.0)
    replica.submit(young, 0.0)
    run_out(replica, events)
    assert replica.preemptions > 0
    assert [event.sequence.key for event in events if event.kind is Kind.FINISHED] == ["old", "young"]
    assert replica.generation_tokens == 120
    assert sum(event.kind is Kind.FIRST_TOKEN for event in events) == 2


def test_a_cancelled_sequence_frees_its_slot_at_the_end_of_the_step() -> None:
    replica, events = Replica(replace(PLAIN, max_running=1)), []
    first, second = Sequence("first", 10, 800), Sequence("second", 10, 1)
    replica.submit(first, 0.0)
    replica.submit(second, 0.0)
    events.extend(replica.advance(0.034))
    replica.cancel(first, 0.034)
    assert (replica.running, replica.waiting) == (0, 1)
    run_out(replica, events)
    assert story(events) == [
        (0.02, "first_token", "first"),
        (0.06, "first_token", "second"),
        (0.06, "finished", "second"),
    ]
    assert replica.kv_used_ratio == 0.0
    replica.cancel(first, 1.0)  # over already


def test_a_cancelled_sequence_leaves_the_queue() -> None:
    replica, events = Replica(replace(PLAIN, max_running=1)), []
    sequences = [Sequence(key, 10, 5) for key in "abc"]
    for sequence in sequences:
        replica.submit(sequence, 0.0)
    replica.advance(0.0)
    replica.cancel(sequences[1], 0.0)
    run_out(replica, events)
    assert [event.sequence.key for event in events if event.kind is Kind.FINISHED] == ["a", "c"]


def test_a_slow_replica_takes_longer_from_the_next_step_on() -> None:
    replica, events = Replica(PLAIN), []
    replica.submit(Sequence("a", 10, 5), 0.0)
    events.extend(replica.advance(0.025))
    replica.slow_down(3.0, 0.025)  # the step to 30 ms runs already
    run_out(replica, events)
    assert story(events)[-1] == (0.12, "finished", "a")


def test_a_prompt_without_an_answer_finishes_with_its_prefill() -> None:
    replica, events = Replica(PLAIN), []
    replica.submit(Sequence("a", 30, 0), 0.0)
    run_out(replica, events)
    assert story(events) == [(0.04, "finished", "a")]
    assert replica.generation_tokens == 0


def test_what_could_never_finish_is_refused() -> None:
    with pytest.raises(ValueError, match="900 tokens"):
        Replica(PLAIN).submit(Sequence("a", 500, 401), 0.0)


def test_time_does_not_go_back() -> None:
    replica = Replica(PLAIN)
    replica.advance(1.0)
    with pytest.raises(ValueError, match="went back"):
        replica.advance(0.5)
    with pytest.raises(ValueError, match="went back"):
        replica.submit(Sequence("a", 1, 1), 0.5)
    with pytest.raises(ValueError, match="factor"):
        replica.slow_down(0.0, 1.0)


specs = st.builds(
    ReplicaSpec,
    max_running=st.integers(1, 6),
    max_batched_tokens=st.integers(7, 60),
    kv_capacity_tokens=st.integers(131, 300),
    block_tokens=st.sampled_from([1, 4, 16]),
    max_model_tokens=st.just(130),
    weights_s=st.sampled_from([0.0, 0.004]),
    kv_read_s=st.sampled_from([0.0, 1e-5]),
    decode_s=st.sampled_from([0.0, 0.0015]),
    prefill_s=st.sampled_from([0.0, 1e-4]),
    attention_s=st.sampled_from([0.0, 1e-6]),
    step_s=st.just(0.002),
    sequence_s=st.sampled_from([0.0, 1e-4]),
    accept_s=st.sampled_from([0.0, 0.0031]),
    finish_s=st.just(0.0),
)

visits = st.tuples(
    st.floats(0.0, 0.3, allow_nan=False),  # when it comes
    st.integers(1, 70),  # its prompt
    st.integers(0, 60),  # its answer
    st.integers(0, 3),  # which of a few prefixes its blocks share
    st.one_of(st.none(), st.floats(0.0, 0.2)),  # after how long it is cancelled
)


def play(spec: ReplicaSpec, history: list[tuple[float, int, int, int, float | None]], extra: int) -> list[object]:
    """All that happened, `extra` needless looks at the replica between any two visits included in the playing."""
    sequences, verbs = [], []
    for number, (at, prompt, output, prefix, patience) in enumerate(history):
        shared = prompt // 2 // spec.block_tokens
        blocks = [(prefix, i) if i < shared else (number, "own", i) for i in range(prompt // spec.block_tokens)]
        sequence = Sequence(number, prompt, output, tuple(blocks))
        sequences.append(sequence)
        verbs.append((at, number, "submit", sequence))
        if patience is not None:
            verbs.append((at + patience, number, "cancel", sequence))
    verbs.sort(key=lambda verb: verb[:3])
    replica, log, now, cancelled = Replica(spec), [], 0.0, set()
    for at, _, verb, sequence in verbs:
        for look in range(1, extra + 1):
            log.extend(replica.advance(now + (at - now) * look / (extra + 1)))
            assert replica.kv_held_tokens <= spec.kv_capacity_tokens
            assert replica.running <= spec.max_running
            assert 0.0 <= replica.kv_used_ratio <= 1.0
        log.extend(replica.advance(at))
        now = at
        if verb == "submit":
            replica.submit(sequence, at)
        else:
            replica.cancel(sequence, at)
            cancelled.add(sequence.key)
    while (due := replica.next_step_at() if extra else replica.next_event_at()) is not None:
        log.extend(replica.advance(due))
        assert replica.kv_held_tokens <= spec.kv_capacity_tokens
    times = [progress.at for progress in log]
    assert times == sorted(times)
    assert replica.running == replica.waiting == replica.decoding == 0
    assert replica.kv_used_ratio == 0.0
    for sequence in sequences:
        finished = [event for event in log if event.sequence is sequence and event.kind is Kind.FINISHED]
        assert len(finished) == (1 if sequence.finished_at >= 0.0 else 0)
        assert sequence.stage is Stage.DONE
        if sequence.key not in cancelled:
            assert len(finished) == 1
            assert replica.generated(sequence) == sequence.output_tokens
            assert (sequence.first_token_at >= 0.0) == (sequence.output_tokens > 0)
    return [story(log), replica.steps, replica.prefix_hit_tokens, replica.preemptions, times]


@settings(max_examples=300, deadline=None)
@given(specs, st.lists(visits, max_size=14), st.integers(1, 5))
def test_one_leap_is_the_same_as_many_small_steps(spec, history, extra) -> None:
    """No token is lost, the cache never overflows, and looking changes nothing, to the last bit of every time."""
    assert play(spec, history, 0) == play(spec, history, extra)


@settings(max_examples=100, deadline=None)
@given(specs, st.lists(visits, max_size=14))
def test_no_answer_starts_before_that_of_an_earlier_call(spec, history) -> None:
    """First in, first out as long as nobody is put back; prompts in one step share a first token's time."""
    spec = replace(spec, kv_capacity_tokens=5_000)
    history = sorted((at, prompt, output or 1, prefix, None) for at, prompt, output, prefix, _ in history)
    firsts = [row for row in play(spec, history, 0)[0] if row[1] == "first_token"]
    assert [row[2] for row in firsts] == sorted(row[2] for row in firsts)


def test_time_from_token_to_token_is_summed_over_all_that_decode() -> None:
    replica, events = Replica(PLAIN), []
    replica.submit(Sequence("a", 50, 4), 1.0)
    replica.submit(Sequence("b", 50, 4), 1.0)
    run_out(replica, events)
    # Both prompts fill one step of 110 ms; then three steps of 10 ms, in which both get a token.
    assert replica.inter_token_s == pytest.approx(2 * 3 * 0.01)
    assert replica.generation_tokens - replica.first_tokens == 6
    assert replica.busy_s == pytest.approx(0.14)


def test_what_is_pending_is_what_has_not_been_computed() -> None:
    replica = Replica(PLAIN)
    replica.submit(Sequence("a", 150, 4), 1.0)
    replica.submit(Sequence("b", 30, 4), 1.0)
    assert replica.pending == (180, pytest.approx(0.18))
    replica.advance(1.115)
    assert replica.pending == (80, pytest.approx(0.08))
    assert replica.context_tokens == 0
    replica.advance(1.3)
    assert replica.pending == (0, 0.0)


def test_cached_tokens_are_those_of_full_leading_blocks_but_the_last_token() -> None:
    replica, events = Replica(PLAIN), []
    replica.submit(Sequence("a", 50, 1, blocks=(1, 2, 3, 4, 5)), 1.0)
    run_out(replica, events)
    assert replica.cached_tokens((1, 2, 3, 4, 5), 50) == 40
    assert replica.cached_tokens((1, 2, 9), 50) == 20
    assert replica.cached_tokens((), 50) == 0
