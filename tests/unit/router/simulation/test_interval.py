import pytest

from router.simulation.interval import Interval, interval


def test_one_value_has_no_spread() -> None:
    assert interval([2.0]) == Interval(2.0, 0.0, 1)
    assert interval([2.0]).text(1) == "2.0"


def test_interval_is_students() -> None:
    found = interval([1.0, 2.0, 3.0])
    assert found.mean == 2.0
    assert found.half == pytest.approx(4.303 / 3**0.5)  # Standard deviation 1, two degrees of freedom.
    assert found.text(2) == "2.00 ± 2.48"
    assert found.text(0, 100.0) == "200 ± 248"


def test_many_values_are_nearly_normal() -> None:
    found = interval([0.0, 1.0] * 50)
    assert found.half == pytest.approx(1.96 * 0.5025 / 10, rel=0.001)
