"""Distances between regions."""

import math
from collections.abc import Iterable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.geography import (
    COORDINATES,
    EARTH_RADIUS_KM,
    SAME_REGION_RTT_MS,
    UNKNOWN_RTT_MS,
    BadMatrix,
    Distances,
    great_circle_km,
    nearest_region,
    rtt_prior_ms,
)

regions = st.sampled_from(sorted(COORDINATES))
points = st.tuples(st.floats(-90, 90), st.floats(-180, 180))
PRIOR = Distances.prior()


@given(points, points)
def test_great_circles_are_symmetric_and_at_most_half_round(a: tuple[float, float], b: tuple[float, float]) -> None:
    assert great_circle_km(a, b) == great_circle_km(b, a)
    assert 0 <= great_circle_km(a, b) <= math.pi * EARTH_RADIUS_KM + 1e-6


@given(points)
def test_no_point_is_away_from_itself(a: tuple[float, float]) -> None:
    assert great_circle_km(a, a) == 0.0


@given(points, points, points)
def test_no_detour_is_shorter_than_the_great_circle(
    a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]
) -> None:
    assert great_circle_km(a, c) <= great_circle_km(a, b) + great_circle_km(b, c) + 1e-3


def test_quarter_of_the_equator_is_ten_thousand_km() -> None:
    assert great_circle_km((0, 0), (0, 90)) == pytest.approx(math.pi * EARTH_RADIUS_KM / 2)
    assert great_circle_km((0, 0), (90, 0)) == pytest.approx(10_007, abs=1)


@given(st.floats(0, 20_000), st.floats(0, 20_000))
def test_prior_grows_with_distance(near: float, far: float) -> None:
    near, far = sorted((near, far))
    assert rtt_prior_ms(near) <= rtt_prior_ms(far)
    assert rtt_prior_ms(0) == SAME_REGION_RTT_MS


def test_thousand_km_take_fourteen_ms() -> None:
    """There and back at 200 km a ms is 10 ms; times 1.4."""
    assert rtt_prior_ms(1000) == pytest.approx(SAME_REGION_RTT_MS + 14.0)


@given(regions, regions)
def test_prior_between_regions_is_symmetric(a: str, b: str) -> None:
    assert PRIOR.rtt_ms(a, b) == PRIOR.rtt_ms(b, a)
    assert SAME_REGION_RTT_MS <= PRIOR.rtt_ms(a, b) < 300
    assert not PRIOR.is_measured(a, b)


@given(regions, regions, regions)
def test_prior_knows_no_short_cuts(a: str, b: str, c: str) -> None:
    assert PRIOR.rtt_ms(a, c) <= PRIOR.rtt_ms(a, b) + PRIOR.rtt_ms(b, c) + 1e-6


@pytest.mark.parametrize("region", sorted(COORDINATES))
def test_every_region_is_nearest_to_its_own_city(region: str) -> None:
    assert nearest_region(*COORDINATES[region]) == region
    assert PRIOR.rtt_ms(region, region) == SAME_REGION_RTT_MS


def test_every_region_stands_on_the_globe() -> None:
    assert all(-90 <= lat <= 90 and -180 <= lon <= 180 for lat, lon in COORDINATES.values())


def test_region_without_coordinates_is_neither_near_nor_ruled_out() -> None:
    assert PRIOR.rtt_ms("moon-base1", "us-central1") == UNKNOWN_RTT_MS
    assert PRIOR.rtt_ms("us-central1", "moon-base1") == UNKNOWN_RTT_MS
    assert PRIOR.rtt_ms("moon-base1", "moon-base1") == SAME_REGION_RTT_MS


MATRIX = "region,x,y\nx,1,20\ny,22,2\n"


def test_measured_matrix_is_read() -> None:
    matrix = Distances.parse(MATRIX, "rtt.csv")
    assert [matrix.rtt_ms(*pair) for pair in (("x", "x"), ("x", "y"), ("y", "x"), ("y", "y"))] == [1, 20, 22, 2]
    assert matrix.is_measured("x", "y")


def test_pair_measured_one_way_counts_both_ways() -> None:
    matrix = Distances.parse("region,x,y\nx,1,20\n", "rtt.csv")
    assert matrix.rtt_ms("y", "x") == 20
    assert matrix.is_measured("y", "x")


def test_prior_fills_what_the_matrix_lacks() -> None:
    matrix = Distances.parse("region,us-central1\nus-central1,0.9\n", "rtt.csv")
    assert matrix.rtt_ms("us-central1", "us-east1") == PRIOR.rtt_ms("us-central1", "us-east1")
    assert matrix.rtt_ms("us-central1", "us-central1") == 0.9


def test_space_and_blank_lines_do_not_matter() -> None:
    assert Distances.parse("\nregion, x , y\n\n x ,1, 20\n\ny,22,2\n\n", "rtt.csv") == Distances.parse(MATRIX, "m")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("", "m.csv:1: expected a header row", id="empty"),
        pytest.param("region\nx\n", "m.csv:1: expected a header row", id="no columns"),
        pytest.param(
            "region,x,y\nx,1,2\ny,1\n", "m.csv:3: expected 2 numbers after the region, found 1", id="short row"
        ),
        pytest.param("region,x\nx,1,2\n", "m.csv:2: expected 1 numbers after the region, found 2", id="long row"),
        pytest.param("region,x\nx,fast\n", "m.csv:2: expected a number of ms for x, found 'fast'", id="no number"),
        pytest.param("region,x\nx,\n", "m.csv:2: expected a number of ms for x, found ''", id="nothing"),
        pytest.param("region,x\nx,-1\n", "m.csv:2: expected 0 to 10,000 ms for x, found '-1'", id="negative"),
        pytest.param("region,x\nx,nan\n", "m.csv:2: expected 0 to 10,000 ms for x, found 'nan'", id="not a number"),
        pytest.param("region,x\nx,inf\n", "m.csv:2: expected 0 to 10,000 ms for x, found 'inf'", id="infinite"),
        pytest.param("region,x,y\n\n\nx,1,2\n\ny,1,far\n", "m.csv:6: expected a number of ms for y", id="blank lines"),
        pytest.param("region,x\nx," + "1" * 200_000, "m.csv:2: not CSV: field larger", id="absurdly long cell"),
    ],
)
def test_mistakes_are_told_with_their_line(text: str, message: str) -> None:
    with pytest.raises(BadMatrix) as caught:
        Distances.parse(text, "m.csv")
    assert str(caught.value).startswith(message)


@given(st.text(max_size=80))
def test_any_text_is_a_matrix_or_a_mistake(text: str) -> None:
    measured: Iterable[float] = ()
    with suppress(BadMatrix):
        measured = Distances.parse(text, "m.csv").measured.values()
    assert all(0 <= rtt_ms < 10_000 for rtt_ms in measured)
