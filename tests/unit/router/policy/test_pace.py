import pytest

from federation.model import ModelPool
from router.policy import decoding, latency
from router.policy.latency import work_ktokens
from router.policy.pace import (
    REST_AFTER_S,
    Load,
    after_first_token,
    after_tokens,
    after_waiting,
    expected,
    rested,
)
from tests.build import NOW, pool

IDLE = Load(0.0, 0.0, 0.0)
HALF = Load(0.0, 0.5, 0.0)
WORK = work_ktokens(1000, 0)


def busy_pool(**fields: float) -> ModelPool:
    return pool(running=64, slots=256, decode_tokens_per_s=3200.0, prefill_tokens_per_s=50_000.0, **fields)


def test_heartbeat_says_what_to_expect() -> None:
    pace = expected(busy_pool(), NOW)
    assert pace.decoding.alone_s == pytest.approx(0.02)  # 64 calls, 3,200 tokens a second.
    assert pace.latency.prefill_s == pytest.approx(0.02)  # A thousand tokens at 50,000 a second.
    assert pace.least_tpot_s == pace.decoding.alone_s


def test_nothing_known_is_the_prior() -> None:
    pace = expected(None, NOW)
    assert pace.latency == latency.prior()
    assert pace.decoding == decoding.prior()


def test_first_tokens_teach_what_first_tokens_take() -> None:
    pace = expected(None, NOW)
    for number in range(50):
        pace = after_first_token(pace, 0.8, WORK, HALF, NOW + number)
    assert pace.ttft_s(WORK, HALF) == pytest.approx(0.8, rel=0.05)
    assert pace.learnt_at == NOW + 49


def test_waiting_teaches_only_that_it_takes_longer() -> None:
    pace = expected(None, NOW)
    assert after_waiting(pace, 0.001, WORK, IDLE, NOW) is pace
    waited = pace
    for _ in range(6):
        waited = after_waiting(waited, 9.0, WORK, IDLE, NOW)
    assert waited.ttft_s(WORK, IDLE) > 4 * pace.ttft_s(WORK, IDLE)


def test_tokens_teach_by_load_and_the_least_is_remembered() -> None:
    pace = expected(None, NOW)
    for number in range(200):
        load = IDLE if number % 2 else HALF
        pace = after_tokens(pace, 100, 100 * (0.01 if load is IDLE else 0.05), load)
    assert pace.tpot_s(IDLE) == pytest.approx(0.01, rel=0.1)
    assert pace.tpot_s(HALF) == pytest.approx(0.05, rel=0.1)
    assert 0.01 <= pace.least_tpot_s < 0.012


def test_least_time_per_token_rises_when_a_pool_has_become_another() -> None:
    pace = expected(None, NOW)
    for _ in range(3000):
        pace = after_tokens(pace, 100, 10.0, IDLE)
    assert pace.least_tpot_s == pytest.approx(0.1, rel=0.05)


def test_pool_that_nobody_calls_drifts_back_to_what_was_expected_of_it() -> None:
    begun = expected(None, NOW)
    pace = begun
    for _ in range(50):
        pace = after_first_token(pace, 5.0, WORK, IDLE, NOW)
    assert rested(pace, NOW + REST_AFTER_S / 2) is pace
    slow, at = pace.ttft_s(WORK, IDLE), NOW
    for _ in range(120):
        at += REST_AFTER_S
        pace = rested(pace, at)
    assert slow > 4.0
    assert pace.ttft_s(WORK, IDLE) < 1.3 * begun.ttft_s(WORK, IDLE)
