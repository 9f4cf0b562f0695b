"""How far one observation counts."""

from hypothesis import given
from hypothesis import strategies as st

from router.policy.residuals import CHANGE_AFTER, CLIP, SCALE_MAX, SCALE_MIN, SCALE_START, is_change, judged


def test_what_is_usual_counts_whole() -> None:
    assert judged(0.2, 0.1, 0)[0] == 0.2
    assert judged(-0.2, 0.1, 0)[0] == -0.2


def test_outlier_counts_as_much_as_the_bound_and_hardly_moves_it() -> None:
    counted, scale, run = judged(600.0, 0.1, 0)
    assert counted == CLIP * 0.1
    assert scale < 0.12
    assert run == 1
    assert not is_change(run)


def test_outliers_on_both_sides_are_no_change() -> None:
    scale, run = 0.1, 0
    for number in range(50):
        _, scale, run = judged(5.0 if number % 2 else -5.0, scale, run)
        assert not is_change(run)


def test_what_stays_is_a_change_and_counts_whole_after_a_few() -> None:
    scale, run, counted = SCALE_MIN, 0, []
    for _ in range(20):
        one, scale, run = judged(100.0, scale, run)
        counted.append(one)
    assert counted[CHANGE_AFTER - 2] < 1.0
    assert counted[11] == 100.0


def test_one_usual_residual_ends_a_run() -> None:
    assert judged(0.01, 0.1, 7)[2] == 0
    assert judged(-9.0, 0.1, 7)[2] == -1


@given(st.lists(st.floats(-1.0, 1e9), max_size=200))
def test_scale_stays_within_its_bounds_and_nothing_counts_more_than_it_is(residuals: list[float]) -> None:
    scale, run = SCALE_START, 0
    for residual in residuals:
        counted, scale, run = judged(residual, scale, run)
        assert SCALE_MIN <= scale <= SCALE_MAX
        assert abs(counted) <= abs(residual)
        assert counted * residual >= 0.0
