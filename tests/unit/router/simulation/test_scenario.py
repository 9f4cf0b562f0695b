import pytest

from router.simulation.scenario import BadScenario, expanded, parse

GOOD = """\
name: test
duration_s: 60
clusters:
  - {name: a, region: us-central1}
  - {name: b, region: europe-west4, times: 2}
workload:
  rate: 5
"""


def mistakes(text: str) -> list[str]:
    with pytest.raises(BadScenario) as caught:
        parse(text, "s.yaml")
    return caught.value.lines


def test_short_scenario_is_enough() -> None:
    scenario = parse(GOOD, "s.yaml")
    assert scenario.door_regions == ["europe-west4", "us-central1"]
    assert list(expanded(scenario.clusters)) == ["a", "b-1", "b-2"]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        pytest.param("duration_s: 60", "duration_s: -1", "s.yaml:2: duration_s: expected above 0", id="no time"),
        pytest.param(
            "duration_s", "duration", "s.yaml:2: duration: no such field; did you mean 'duration_s'?", id="typo"
        ),
        pytest.param("rate: 5", "rate: much", "s.yaml:7: workload.rate: ", id="type"),
        pytest.param("rate: 5", "rate: 0", "s.yaml:7: workload.rate: expected a number above 0", id="no calls"),
        pytest.param("rate: 5", "rate: 5\n  load: 0.5", "s.yaml:6: workload: expected either rate", id="both"),
        pytest.param("name: b", "name: a", "s.yaml:5: clusters.1.name: 'a' is taken by clusters.0", id="twice"),
        pytest.param(
            "us-central1", "us-centre1", "s.yaml:4: clusters.0.region: no such region; did you mean", id="region"
        ),
        pytest.param("times: 2", "times: 0", "s.yaml:5: clusters.1: expected replicas and times", id="no replicas"),
        pytest.param("times: 2", "accelerator: h1000", "s.yaml:5: clusters.1.accelerator: no such preset", id="preset"),
        pytest.param(
            "rate: 5", "rate: 5\n  regions: {mars: 1}", "s.yaml:8: workload.regions.mars: no front door", id="weights"
        ),
        pytest.param(
            "rate: 5",
            "rate: 5\nfaults:\n  - {kind: earthquake, at_s: 1, for_s: 1, target: a}",
            "s.yaml:9: faults.0.kind: no such fault; known are region_lost",
            id="fault",
        ),
        pytest.param(
            "rate: 5",
            "rate: 5\nfaults:\n  - {kind: slow, at_s: 1, for_s: 1, target: c}",
            "s.yaml:9: faults.0.target: expected the name of a cluster or region",
            id="target",
        ),
        pytest.param("rate: 5", "rate: [", "s.yaml:", id="not YAML"),
        pytest.param("rate: 5", "rate: 5\nheartbeats: {loss: 2}", "s.yaml:8: heartbeats: expected", id="loss"),
        pytest.param("rate: 5", "rate: 5\nwarm_up_s: 90", "s.yaml:8: warm_up_s: expected", id="warm-up"),
        pytest.param(
            "rate: 5",
            "rate: 5\n  surges: [{region: a, at_s: 1, for_s: 1}]",
            "surges.0.region: no front door",
            id="surge",
        ),
    ],
)
def test_mistake_is_told_with_its_line_and_what_was_expected(old: str, new: str, expected: str) -> None:
    assert old in GOOD
    lines = mistakes(GOOD.replace(old, new, 1))
    assert any(expected in line for line in lines), lines


def test_all_mistakes_are_told_at_once() -> None:
    lines = mistakes(GOOD.replace("duration_s: 60", "duration_s: 0").replace("rate: 5", "rate: 0"))
    assert len(lines) == 2


def test_empty_fleet_is_a_mistake() -> None:
    [line] = mistakes("name: x\nduration_s: 5\nclusters: []\nworkload: {rate: 1}\n")
    assert line == "s.yaml:3: clusters: expected at least one cluster"
