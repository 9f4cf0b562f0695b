import pytest

from federation.view import PoolView
from router.policy.ledger import ANSWER_TOKENS, LEARNT_PER_TICK, OTHERS_MEMORY_S, Ledger
from tests.build import MODEL, NOW, candidate, pool

KEY = ("a", MODEL)


def view(load: float = 0.0, slots: float = 100.0) -> PoolView:
    return candidate("a", slots=slots, load=load)


def test_load_is_what_others_have_there_and_what_we_have_there_now() -> None:
    ledger = Ledger()
    ledger.in_flight[KEY] = 10
    assert ledger.load(view(load=40)).busy_ratio == 0.5
    over = ledger.load(view(load=140))
    assert (over.busy_ratio, over.queue_ratio) == (1.0, 0.5)


def test_what_others_have_there_is_smoothed_over_reports() -> None:
    ledger = Ledger()
    ledger.reported("a", (pool(slots=100, running=20),), NOW)
    ledger.reported("a", (pool(slots=100, running=70),), NOW + OTHERS_MEMORY_S)
    assert ledger.load(view()).busy_ratio == pytest.approx(0.2 + 0.5 * (1 - 0.3679), abs=0.001)


def test_own_calls_are_not_counted_among_those_of_others() -> None:
    ledger = Ledger()
    ledger.in_flight[KEY] = 15
    ledger.reported("a", (pool(slots=100, running=20),), NOW)
    assert ledger.load(view()).busy_ratio == pytest.approx(0.2)


def test_prompts_sent_stand_ahead_until_their_first_token() -> None:
    ledger = Ledger()
    ledger.reported("a", (pool(replicas_ready=2),), NOW)
    sent = ledger.sent(view(), 0.01, 6.0, NOW)
    assert ledger.load(view()).ahead_ktokens == 3.0
    assert sent.load.ahead_ktokens == 0.0, "itself is not in its own way"
    ledger.first_token(sent, NOW + 1)
    assert ledger.load(view()).ahead_ktokens == 0.0
    ledger.ended(sent, 100)
    assert ledger.load(view()).ahead_ktokens == 0.0


def test_call_that_ends_without_a_token_stands_ahead_no_more() -> None:
    ledger = Ledger()
    sent = ledger.sent(view(), 0.01, 6.0, NOW)
    ledger.ended(sent, None)
    assert ledger.load(view()).ahead_ktokens == 0.0
    assert ledger.answer_tokens(MODEL) == ANSWER_TOKENS


def test_first_tokens_are_learnt_from_but_only_so_many_a_tick() -> None:
    ledger = Ledger()
    for _ in range(LEARNT_PER_TICK + 5):
        ledger.first_token(ledger.sent(view(), 0.01, 1.0, NOW), NOW + 2.01)
    assert ledger.pace(KEY, NOW).latency.seen == LEARNT_PER_TICK
    ledger.ticked(NOW + 2.05)
    ledger.first_token(ledger.sent(view(), 0.01, 1.0, NOW + 3), NOW + 5.01)
    assert ledger.pace(KEY, NOW).latency.seen == LEARNT_PER_TICK + 1


def test_heartbeats_teach_how_fast_tokens_come() -> None:
    ledger = Ledger()
    for number in range(60):
        busy = number % 2
        report = pool(slots=100, running=60 * busy, time_per_output_token_s=0.04 if busy else 0.01)
        ledger.reported("a", (report,), NOW + number)
    pace = ledger.pace(KEY, NOW + 60)
    ledger = Ledger()
    ledger.in_flight[KEY] = 60
    assert pace.tpot_s(ledger.load(view())) == pytest.approx(0.04, rel=0.1)


def test_streams_teach_it_where_heartbeats_do_not() -> None:
    ledger = Ledger()
    ledger.reported("a", (pool(slots=100, running=0),), NOW)
    sent = ledger.sent(view(), 0.01, 1.0, NOW)
    ledger.first_token(sent, NOW + 1)
    for second in range(1, 30):
        ledger.flows(sent, 10 * second, view(), NOW + second)
    assert ledger.pace(KEY, NOW).tpot_s(ledger.load(view())) == pytest.approx(0.1, rel=0.15)


def test_what_waits_too_long_teaches_at_once() -> None:
    ledger = Ledger()
    sent = ledger.sent(view(), 0.01, 1.0, NOW)
    before = ledger.pace(KEY, NOW).ttft_s(1.0, sent.load)
    for second in range(2, 9):
        ledger.waits(sent, NOW + second)
    assert ledger.pace(KEY, NOW).ttft_s(1.0, sent.load) > 3 * before


def test_length_of_answers_follows_what_there_was() -> None:
    ledger = Ledger()
    for _ in range(300):
        ledger.ended(ledger.sent(view(), 0.0, 1.0, NOW), 1000)
    assert ledger.answer_tokens(MODEL) == pytest.approx(1000, rel=0.02)


def test_replicas_are_those_last_reported() -> None:
    ledger = Ledger()
    assert ledger.replicas(KEY) == 1
    ledger.reported("a", (pool(replicas_ready=5),), NOW)
    assert ledger.replicas(KEY) == 5
