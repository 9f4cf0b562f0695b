"""Flat is flat, and growth is found."""

import pytest

from tests.soak.series import REST_S, grown, left_over, slope, trend
from tests.unit.soak.runs import sample


def test_slope_is_that_of_the_line() -> None:
    assert slope([(0.0, 1.0), (10.0, 3.0), (20.0, 5.0)]) == pytest.approx(0.2)
    assert slope([(0.0, 1.0), (10.0, 9.0), (20.0, 1.0)]) == pytest.approx(0.0)
    assert slope([(5.0, 1.0)]) == slope([(5.0, 1.0), (5.0, 3.0)]) == 0.0


def test_growth_after_the_warm_up_is_told_by_the_hour() -> None:
    samples = [sample(10.0 * i, rss_mb=80 + i) for i in range(181)]
    memory = trend(samples, "rss_mb", 1800.0)
    assert memory.per_hour == pytest.approx(360.0)
    assert memory.growth == pytest.approx(150.0)
    assert grown(samples, 1800.0) == ["memory grows by 360.0 MB/hour"]


def test_growth_of_descriptors_is_found() -> None:
    samples = [sample(10.0 * i, descriptors=100 + i) for i in range(181)]
    assert grown(samples, 1800.0) == ["descriptors grow by 360 an hour"]


def test_growth_before_the_warm_up_and_noise_are_not_told() -> None:
    samples = [sample(10.0 * i, 40.0 + i if i < 31 else 80.0 + i % 2, 100 + 30 * (i % 3)) for i in range(181)]
    assert grown(samples, 1800.0) == []


def test_short_run_tells_nothing_of_slopes() -> None:
    assert grown([sample(10.0 * i, rss_mb=80 + 10 * i) for i in range(13)], 120.0) == []


def test_what_is_left_at_rest_is_told() -> None:
    before = sample(0.0, 60.0, 20, 6, 0)
    assert left_over([before, sample(700.0, 90.0, 22, 8, 0)], REST_S) == []
    assert left_over([before, sample(700.0, 90.0, 60, 40, 1)], REST_S) == [
        "1 calls are in flight though nobody calls",
        "60 descriptors at rest, 20 before the load",
        "40 connections to clusters at rest, 6 before the load",
    ]
    assert left_over([before, sample(700.0, 90.0, 60, 40, 0)], 5.0) == []
