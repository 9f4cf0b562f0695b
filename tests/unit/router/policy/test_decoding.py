"""Seconds per output token: what is learnt of them."""

import math
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from router.policy.decoding import TOKENS_MIN, TPOT_S_MAX, DecodingModel, learnt, prior


def truth(busy_ratio: float) -> float:
    return 0.008 + 0.03 * busy_ratio


def taught(outcomes: int, slower: float = 1.0, noise: float = 0.1) -> DecodingModel:
    rng, model = Random(1), prior()
    for _ in range(outcomes):
        busy = rng.random()
        model = learnt(model, 100, 100 * slower * truth(busy) * rng.lognormvariate(0, noise), busy)
    return model


@pytest.mark.parametrize("slower", [1.0, 10.0])
def test_learns_a_token_alone_and_in_a_crowd(slower: float) -> None:
    model = taught(300, slower)
    for busy in (0.0, 0.5, 1.0):
        assert model.predict(busy) == pytest.approx(slower * truth(busy), rel=0.1)
    assert model.error_ratio < 0.15


def test_100_000_equal_answers_and_then_a_change() -> None:
    model = prior()
    for _ in range(100_000):
        model = learnt(model, 100, 100 * truth(0.3), 0.3)
    assert all(map(math.isfinite, model.covariance))
    for _ in range(50):
        model = learnt(model, 100, 500 * truth(0.3), 0.3)
    assert model.predict(0.3) == pytest.approx(5 * truth(0.3), rel=0.1)


def test_one_frozen_stream_moves_nothing() -> None:
    model = taught(300)
    assert learnt(model, 100, 600.0, 0.5).predict(0.5) == pytest.approx(model.predict(0.5), rel=0.05)


def test_short_answers_tell_nothing() -> None:
    model = prior()
    assert learnt(model, TOKENS_MIN - 1, 5.0, 0.5) is model
    assert learnt(model, 100, 0.0, 0.5) is model


def test_prior_follows_the_rate_of_a_heartbeat() -> None:
    assert prior(1000.0, 40).alone_s == pytest.approx(0.04)
    assert prior(0.0, 40).alone_s == prior(1000.0, 0).alone_s == prior().alone_s


def test_what_is_no_number_is_refused_and_a_spoilt_covariance_made_anew() -> None:
    with pytest.raises(ValueError, match="not an outcome"):
        learnt(prior(), 100, math.nan, 0.0)
    spoilt = replace(prior(), covariance=(0.0, 0.0, 0.0))
    for _ in range(50):
        spoilt = learnt(spoilt, 100, 10.0, 0.5)
    assert spoilt.predict(0.5) == pytest.approx(0.1, rel=0.1)


@given(st.lists(st.tuples(st.integers(1, 10_000), st.floats(0, 1e6), st.floats(0, 1)), max_size=100))
def test_nothing_makes_it_negative_or_unbounded(answers: list[tuple[int, float, float]]) -> None:
    model = prior()
    for tokens, took_s, busy in answers:
        model = learnt(model, tokens, took_s, busy)
        assert 0.0 < model.predict(0.0) <= model.predict(1.0) <= 2 * TPOT_S_MAX
        assert all(map(math.isfinite, model.covariance))
        assert model.covariance[0] > 0.0
        assert model.covariance[2] > 0.0
