import xml.etree.ElementTree as ElementTree

import pytest

from router.simulation.plots import Axis, distributions, flows, ttft_over_time
from router.simulation.runs import Inputs, simulate
from tests.build import DISTANCES
from tests.simulated import NEAR, scenario

SVG = "{http://www.w3.org/2000/svg}"
PLAN = scenario(faults=[{"kind": "slow", "target": NEAR, "at_s": 5, "for_s": 5}])
RESULTS = [
    simulate(Inputs(PLAN, dict(DISTANCES.measured), (), 5.0), policy, 1) for policy in ("nearest", "round-robin")
]


def texts(picture: str) -> list[str]:
    return ["".join(text.itertext()) for text in ElementTree.fromstring(picture).iter(f"{SVG}text")]


@pytest.mark.parametrize("picture", [ttft_over_time(PLAN, RESULTS), distributions(RESULTS), flows(RESULTS)])
def test_picture_is_well_formed_and_names_every_policy(picture: str) -> None:
    found = texts(picture)
    assert "nearest" in found
    assert "round-robin" in found


def test_spans_of_faults_are_shaded() -> None:
    [span] = [
        one
        for one in ElementTree.fromstring(ttft_over_time(PLAN, RESULTS)).iter(f"{SVG}rect")
        if one.get("class") == "fault"
    ]
    assert float(span.attrib["width"]) == pytest.approx((960 - 64 - 24) / 4, abs=0.1)


def test_lines_stay_within_the_picture() -> None:
    for picture in (ttft_over_time(PLAN, RESULTS), distributions(RESULTS)):
        root = ElementTree.fromstring(picture)
        height = float(root.attrib["viewBox"].split()[3])
        for line in root.iter(f"{SVG}path"):
            if line.get("class") == "line":
                numbers = [float(one) for one in line.attrib["d"].replace("M", "").replace("L", " ").split()]
                assert all(0 <= x <= 960 for x in numbers[::2])
                assert all(0 <= y <= height for y in numbers[1::2])


def test_nobody_served_is_a_picture_too() -> None:
    empty = [simulate(Inputs(PLAN, dict(DISTANCES.measured), (), 0.001), "nearest", 1)]
    assert ElementTree.fromstring(ttft_over_time(PLAN, empty)) is not None
    assert ElementTree.fromstring(distributions(empty)) is not None


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (30.0, 300.0), (0.0, 7.0), (1.0, 1.0)])
def test_axis_has_a_few_round_ticks(low: float, high: float) -> None:
    assert 2 <= len(Axis(low, high, 0, 100).ticks()) <= 11


def test_logarithmic_axis_spans_whole_decades() -> None:
    axis = Axis(0.02, 5.0, 0, 300, logarithmic=True)
    assert axis.ticks() == pytest.approx([0.01, 0.1, 1.0, 10.0])
    assert axis.at(0.1) == pytest.approx(100)
    assert axis.at(0.0) == 0
