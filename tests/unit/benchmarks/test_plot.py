import xml.etree.ElementTree as ElementTree

import pytest

from tests.benchmarks.plot import PANELS, SHORTEST, Scale, svg
from tests.unit.benchmarks.runs import made_up_run

SVG = "{http://www.w3.org/2000/svg}"


def test_wide_scale_spans_whole_decades() -> None:
    scale = Scale.around([30.0, 640.0], 200.0)
    assert (scale.low, scale.high) == (1, 3)
    assert scale.ticks() == [(0.0, "10"), (100.0, "100"), (200.0, "1,000")]


def test_bar_grows_with_the_logarithm_on_a_wide_scale() -> None:
    scale = Scale.around([30.0, 640.0], 200.0)
    assert scale.at(100.0) == pytest.approx(100.0)
    assert scale.at(1000.0) == pytest.approx(200.0)


def test_values_close_together_are_shown_from_zero() -> None:
    scale = Scale.around([20.0, 40.0], 200.0)
    assert (scale.at(20.0), scale.at(40.0)) == (100.0, 200.0)


@pytest.mark.parametrize(
    ("high", "labels"),
    [(40.0, ["0", "10", "20", "30", "40"]), (34.0, ["0", "10", "20", "30"]), (1.5, ["0", "0.5", "1", "1.5"])],
)
def test_ticks_from_zero_are_round(high: float, labels: list[str]) -> None:
    assert [label for _, label in Scale.around([high], 100.0).ticks()] == labels


@pytest.mark.parametrize("high", [one / 100 for one in range(1, 1_000, 7)])
def test_any_scale_from_zero_has_two_to_six_ticks(high: float) -> None:
    assert 2 <= len(Scale.around([high], 100.0).ticks()) - 1 <= 6


def test_nothing_to_show_has_a_scale() -> None:
    assert Scale.around([], 100.0).at(0.0) == SHORTEST


def test_what_is_not_above_zero_has_a_stub() -> None:
    assert Scale.around([1.0, -0.5, 0.0], 100.0).at(-0.5) == SHORTEST


def test_fractions_are_labelled_as_such() -> None:
    assert [label for _, label in Scale.around([0.02, 0.5], 100.0).ticks()] == ["0.01", "0.1", "1"]


def test_picture_is_well_formed_and_holds_every_panel_and_proxy() -> None:
    root = ElementTree.fromstring(svg(made_up_run()))
    texts = ["".join(text.itertext()) for text in root.iter(f"{SVG}text")]
    for _, _, title, _ in PANELS:
        assert any(text.startswith(title) for text in texts), title
    assert texts.count("HAProxy") == len(PANELS)
    assert texts.count("not there") == len(PANELS)
    assert "failed" in texts
    assert "135" in texts


def test_bars_stay_within_the_picture() -> None:
    root = ElementTree.fromstring(svg(made_up_run()))
    width = float(root.attrib["viewBox"].split()[2])
    bars = [bar for bar in root.iter(f"{SVG}rect") if bar.attrib.get("class") in ("bar", "ours")]
    assert bars
    assert all(float(bar.attrib["x"]) + float(bar.attrib["width"]) < width for bar in bars)
