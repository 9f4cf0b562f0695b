"""Times of steps against adding them up one by one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.lab.stretch import Stretch

seconds = st.floats(0.0, 0.02)


def planned(steps: int, fixed_s: float, compute_s: float, read_s: float, slope_s: float, slow: float) -> Stretch:
    stretch = Stretch()
    stretch.plan(100.0, steps, fixed_s=fixed_s, compute_s=compute_s, read_s=read_s, slope_s=slope_s, slow=slow)
    return stretch


@given(st.integers(1, 300), st.floats(1e-4, 0.01), seconds, seconds, st.sampled_from([0.0, 1e-6, 1e-4]), st.just(1.5))
def test_the_closed_form_is_the_sum_of_its_steps(steps, fixed_s, compute_s, read_s, slope_s, slow) -> None:
    stretch = planned(steps, fixed_s, compute_s, read_s, slope_s, slow)
    at = 100.0
    for step in range(steps):
        at += slow * (fixed_s + max(compute_s, read_s + step * slope_s))
        assert stretch.time_of(step + 1) == pytest.approx(at, rel=1e-12)
    assert stretch.end == stretch.time_of(steps)


@given(st.floats(1e-4, 0.01), seconds, seconds, st.sampled_from([0.0, 1e-6, 1e-4]), st.floats(99.0, 130.0))
def test_the_steps_over_at_a_time_are_the_inverse(fixed_s, compute_s, read_s, slope_s, at) -> None:
    stretch = planned(10, fixed_s, compute_s, read_s, slope_s, 0.7)
    steps = stretch.steps_by(at)
    assert stretch.time_of(steps) <= at or steps == 0
    assert at < stretch.time_of(steps + 1)


def test_a_break_ends_the_stretch_with_the_step_that_runs_then() -> None:
    stretch = planned(10, 0.01, 0.0, 0.0, 0.0, 1.0)
    stretch.done = 3
    stretch.break_at(100.052)
    assert stretch.planned == 6
    stretch.break_at(100.08)  # no later than it ends anyway
    assert stretch.planned == 6
    stretch.break_at(100.0)  # what is over is over
    assert stretch.planned == 4
    stretch.break_at(100.0)
    assert stretch.planned == 4


def test_an_idle_stretch_has_no_steps() -> None:
    stretch = Stretch()
    stretch.idle(5.0)
    stretch.break_at(6.0)
    assert (stretch.planned, stretch.end) == (0, 5.0)
