"""The latency model: what it learns, and what cannot harm it."""

import math
from collections.abc import Iterator
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from federation.lab.batching import Kind, Replica, Sequence
from federation.lab.presets import PRESETS
from router.policy.latency import (
    COEFFICIENT_S_MAX,
    MAGNITUDE_S,
    REST_HALF_LIFE_S,
    LatencyModel,
    has_changed,
    learnt,
    prior,
    rested,
    work_ktokens,
)

Features = tuple[float, float, float, float]

TRUE = (0.03, 0.06, 0.04, 0.2, 3.0)
SHORT: Features = (0.2, 0.0, 0.3, 0.0)
LONG: Features = (12.0, 0.0, 0.3, 0.0)


def coefficients(model: LatencyModel) -> tuple[float, ...]:
    return (model.base_s, model.prefill_s, model.ahead_s, model.busy_s, model.queue_s)


def truth(features: Features, slower: float = 1.0) -> float:
    return slower * sum(c * f for c, f in zip(TRUE, (1.0, *features), strict=True))


def some(rng: Random) -> Features:
    """A prompt of a few hundred to some ten thousand tokens, at a cluster that is rarely full."""
    queued = rng.random() if rng.random() < 0.2 else 0.0
    return (rng.lognormvariate(-0.5, 1.0), rng.expovariate(0.5), 1.0 if queued else rng.random(), queued)


def after(model: LatencyModel, outcomes: Iterator[tuple[float, Features]]) -> LatencyModel:
    for waited_s, features in outcomes:
        model = learnt(model, waited_s, *features)
    return model


def relative_error(model: LatencyModel, features: Features, slower: float = 1.0) -> float:
    expected = truth(features, slower)
    return abs(model.predict(*features) - expected) / max(expected, MAGNITUDE_S)


def test_learns_what_each_feature_costs() -> None:
    rng = Random(1)
    rows = [some(rng) for _ in range(400)]
    model = after(prior(), ((truth(row), row) for row in rows))
    assert coefficients(model) == pytest.approx(TRUE, rel=0.05, abs=0.015)
    assert model.error_ratio < 0.02


def test_noise_of_a_third_leaves_predictions_within_a_tenth() -> None:
    rng = Random(2)
    rows = [some(rng) for _ in range(2000)]
    model = after(prior(), ((truth(row) * rng.lognormvariate(0.0, 0.3), row) for row in rows))
    fresh = [some(rng) for _ in range(500)]
    assert sum(relative_error(model, row) for row in fresh) / len(fresh) < 0.1
    assert 0.2 < model.scale < 0.45
    assert abs(model.bias_ratio) < 0.1


@pytest.mark.parametrize("slower", [5.0, 100.0, 0.2, 0.01])
def test_100_000_equal_outcomes_and_then_a_change(slower: float) -> None:
    """The wind-up that ordinary forgetting dies of."""
    model = prior()
    usual = truth(SHORT)
    for _ in range(100_000):
        model = learnt(model, usual, *SHORT)
    assert all(map(math.isfinite, (*model.covariance, *coefficients(model), model.scale)))
    assert max(map(abs, model.covariance)) < 2.0 * max(prior().covariance), "what is not seen is not forgotten"
    assert relative_error(model, SHORT) < 0.01
    for _ in range(50):
        model = learnt(model, truth(SHORT, slower), *SHORT)
    assert relative_error(model, SHORT, slower) < 0.1
    rng = Random(3)
    for _ in range(50):
        row = some(rng)
        model = learnt(model, truth(row, slower), *row)
    assert sum(relative_error(model, some(rng), slower) for _ in range(100)) / 100 < 0.15


def test_a_thousand_short_prompts_do_not_make_it_forget_what_long_ones_cost() -> None:
    rng = Random(4)
    rows = [some(rng) for _ in range(400)]
    model = after(prior(), ((truth(row), row) for row in rows))
    model = after(model, ((truth(SHORT), SHORT) for _ in range(1000)))
    assert relative_error(model, LONG) < 0.1


def test_one_answer_of_a_minute_moves_nothing_that_anyone_would_notice() -> None:
    rng = Random(5)
    rows = [some(rng) for _ in range(400)]
    model = after(prior(), ((truth(row) * rng.lognormvariate(0.0, 0.1), row) for row in rows))
    before = model.predict(*SHORT)
    model = learnt(model, 60.0, *SHORT)
    assert model.predict(*SHORT) == pytest.approx(before, rel=0.05)
    assert not has_changed(model)


def test_one_outlier_in_twenty_does_no_harm() -> None:
    rng = Random(6)
    rows = [some(rng) for _ in range(2000)]
    model = after(prior(), ((60.0 if rng.random() < 0.05 else truth(row), row) for row in rows))
    assert sum(relative_error(model, some(rng)) for _ in range(100)) / 100 < 0.3


def test_waiting_in_vain_counts_only_beyond_what_was_predicted() -> None:
    model = prior()
    predicted = model.predict(*SHORT)
    assert learnt(model, 0.5 * predicted, *SHORT, at_least=True) is model
    slower = learnt(model, 2.0 * predicted, *SHORT, at_least=True)
    assert slower.predict(*SHORT) > predicted
    assert slower.error_ratio == 0.0, "how wrong it was is not known"
    for _ in range(50):
        slower = learnt(slower, 30.0, *SHORT, at_least=True)
    assert slower.predict(*SHORT) >= 30.0 * 0.85


def test_prior_follows_the_rates_of_a_heartbeat_and_is_optimistic_without() -> None:
    assert prior(56_000.0, replicas=2).prefill_s == pytest.approx(1.0 / 28.0)
    idle = prior(12.0)
    assert idle.prefill_s == prior().prefill_s, "that it did little says nothing of what it can do"
    assert prior(0.0, 1000.0, running=40).queue_s == pytest.approx(256 * 0.04)
    assert prior(0.0, 1000.0, running=0).queue_s == prior().queue_s


def test_what_is_not_seen_any_more_is_forgotten_in_favour_of_the_prior() -> None:
    model = after(prior(), ((truth(SHORT, 20.0), SHORT) for _ in range(200)))
    slow, begin = model.predict(*SHORT), prior().predict(*SHORT)
    assert rested(model, 0.0).predict(*SHORT) == pytest.approx(slow)
    assert rested(model, REST_HALF_LIFE_S).predict(*SHORT) == pytest.approx((slow + begin) / 2)
    assert rested(model, 1e6).predict(*SHORT) == pytest.approx(begin)
    assert rested(model, 1e6).doubt_s(*LONG) > 0.5 * begin


def test_long_prompts_cost_more_than_in_proportion_and_cached_ones_less() -> None:
    assert work_ktokens(1000, 0) == pytest.approx(1.0, rel=0.02)
    assert work_ktokens(50_000, 0) > 1.5 * 50 * work_ktokens(1000, 0)
    assert work_ktokens(1000, 1000) == work_ktokens(1000, 2000) == 0.0
    whole = work_ktokens(40_000, 0)
    assert work_ktokens(40_000, 30_000) == pytest.approx(whole - work_ktokens(30_000, 0))


def test_doubt_shrinks_with_what_was_seen_and_is_largest_where_nothing_was() -> None:
    model = after(prior(), ((truth(SHORT), SHORT) for _ in range(200)))
    assert model.doubt_s(*SHORT) < 0.2 * prior().doubt_s(*SHORT)
    assert model.doubt_s(*LONG) / model.predict(*LONG) > model.doubt_s(*SHORT) / model.predict(*SHORT)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e300])
def test_what_is_no_number_is_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="not an outcome"):
        learnt(prior(), bad, *SHORT)
    with pytest.raises(ValueError, match="not an outcome"):
        learnt(prior(), 0.1, bad, 0.0, 0.0, 0.0)


def test_a_spoilt_covariance_is_made_anew() -> None:
    spoilt = replace(prior(), covariance=(0.0,) * 15)
    assert learnt(spoilt, 5.0, *SHORT).predict(*SHORT) > spoilt.predict(*SHORT)


outcomes = st.lists(
    st.tuples(
        st.floats(-1.0, 1e6),
        st.tuples(st.floats(0, 200), st.floats(0, 500), st.floats(0, 1), st.floats(0, 50)),
        st.booleans(),
    ),
    max_size=150,
)


@given(outcomes)
@settings(max_examples=200)
def test_nothing_makes_it_negative_unbounded_or_sure_of_nonsense(seen: list[tuple[float, Features, bool]]) -> None:
    model = prior()
    for waited_s, features, at_least in seen:
        model = learnt(model, waited_s, *features, at_least=at_least)
        assert all(0.0 <= one <= COEFFICIENT_S_MAX for one in coefficients(model))
        assert all(map(math.isfinite, model.covariance))
        assert 0.0 <= model.error_ratio <= 1.0
        assert abs(model.bias_ratio) <= model.error_ratio + 1e-9
    for features in (SHORT, LONG, (0.0, 0.0, 0.0, 0.0), (0.0, 100.0, 1.0, 5.0)):
        assert 0.0 <= model.predict(*features) < math.inf
        assert isinstance(model.doubt_s(*features), float), "the root of a negative variance is complex"


# Against the emulated replica, whose steps no linear model knows of.


def emulated(
    calls: int, calls_per_s: float, slower_after: int | None = None
) -> Iterator[tuple[float, float, Features]]:
    """(placed at, waited, features) of calls to one H100 with an 8B model, as first tokens come."""
    rng = Random(7)
    replica = Replica(PRESETS["h100"])
    placed: dict[Sequence, tuple[float, Features]] = {}
    at = ahead = 0.0
    for number in range(calls):
        at += rng.expovariate(calls_per_s)
        while (event := replica.next_event_at()) is not None and event < at:
            for progress in replica.advance(event):
                if progress.kind is Kind.FIRST_TOKEN:
                    began, features = placed.pop(progress.sequence)
                    ahead -= features[0]
                    yield began, progress.at - began, features
        for progress in replica.advance(at):
            assert progress.kind is not Kind.FIRST_TOKEN, "steps end at events"
        if number == slower_after:
            replica.slow_down(5.0, at)
        prompt = min(30_000, max(16, int(rng.lognormvariate(math.log(700), 1.0))))
        features = (work_ktokens(prompt, 0), ahead, min(1.0, replica.outstanding / 256), 0.0)
        sequence = Sequence(number, prompt, 1 + int(rng.expovariate(1 / 200)))
        placed[sequence] = (at, features)
        ahead += features[0]
        replica.submit(sequence, at)


@pytest.mark.parametrize(("calls_per_s", "error_max"), [(2.0, 0.10), (8.0, 0.18), (14.0, 0.22)])
def test_predicts_an_emulated_replica_far_better_than_a_mean_does(calls_per_s: float, error_max: float) -> None:
    model, mean = prior(), 0.1
    ours: list[float] = []
    means: list[float] = []
    for _, waited_s, features in emulated(4000, calls_per_s):
        for errors, predicted in ((ours, model.predict(*features)), (means, mean)):
            errors.append(abs(waited_s - predicted) / max(waited_s, predicted))
        model = learnt(model, waited_s, *features)
        mean += 0.05 * (waited_s - mean)
    error = sum(ours[500:]) / len(ours[500:])
    assert error < error_max
    assert error < 0.5 * sum(means[500:]) / len(means[500:])
    assert model.error_ratio == pytest.approx(sum(ours[-200:]) / 200, abs=0.08)


def test_notices_that_a_replica_has_become_five_times_slower() -> None:
    model, errors = prior(), []
    for _, waited_s, features in emulated(1200, 2.0, slower_after=1000):
        predicted = model.predict(*features)
        errors.append((waited_s - predicted) / max(waited_s, predicted))
        model = learnt(model, waited_s, *features)
    first_bad = next(n for n, (one, two) in enumerate(pairwise(errors)) if n > 900 and min(one, two) > 0.5)
    late = errors[first_bad + 50 :]
    assert sum(map(abs, late)) / len(late) < 0.35
