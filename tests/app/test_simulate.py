"""`tradewind simulate`: what it prints, what it writes, and what it says of mistakes."""

import gzip
import json
from pathlib import Path

import pytest

from router.cli.main import run
from router.simulation.policies import POLICIES

SCENARIO = """\
name: small
duration_s: 15
warm_up_s: 2
rtt: rtt.csv
clusters:
  - {name: a, region: here, replicas: 1}
  - {name: b, region: there, replicas: 1}
workload: {rate: 4}
faults:
  - {kind: region_lost, target: a, at_s: 6, for_s: 4}
"""
RTT = "region,here,there\nhere,0.6,40\nthere,40,0.6\n"


@pytest.fixture
def scenario(tmp_path: Path) -> Path:
    (tmp_path / "rtt.csv").write_text(RTT)
    file = tmp_path / "small.yaml"
    file.write_text(SCENARIO)
    return file


def test_policies_are_shown_side_by_side(scenario: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["simulate", str(scenario), "--policy", "tradewind", "--policy", "nearest", "--jobs", "1"]) == 0
    shown = capsys.readouterr().out
    assert "small: 4.0 calls/s" in shown
    for part in ("tradewind", "nearest", "goodput %", "TTFT p95 ms"):
        assert part in shown


def test_json_is_the_same_each_time_and_however_many_run_at_once(
    scenario: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outputs = []
    for jobs in ("1", "2"):
        words = ["simulate", str(scenario), "--policy", "two-choices", "--seeds", "2", "--jobs", jobs, "--json"]
        assert run(words) == 0
        outputs.append(json.loads(capsys.readouterr().out))
    assert outputs[0] == outputs[1]
    assert [row["seed"] for row in outputs[0]["runs"]] == [1, 2]


def test_report_has_its_pictures(scenario: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "report"
    assert run(["simulate", str(scenario), "--jobs", "1", "--report", str(folder)]) == 0
    text = (folder / "report.md").read_text()
    pictures = [line.split("(")[1].rstrip(")") for line in text.splitlines() if line.startswith("![")]
    assert pictures == ["ttft.svg", "cdf.svg", "flows.svg"]
    assert all((folder / picture).read_text().startswith("<svg") for picture in pictures)
    assert json.loads((folder / "report.json").read_text())["runs"]
    assert "| 6 | 4 | region_lost | a |" in text


def test_trace_is_read_packed_or_not(scenario: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [
        json.dumps({"timestamp": 250 * n, "input_length": 900, "output_length": 20, "hash_ids": [n]}) for n in range(40)
    ]
    (scenario.parent / "trace.jsonl.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    scenario.write_text(SCENARIO.replace("{rate: 4}", "{rate: 4, trace: trace.jsonl.gz}"))
    assert run(["simulate", str(scenario), "--jobs", "1", "--json"]) == 0
    [found] = json.loads(capsys.readouterr().out)["runs"]
    assert 40 <= found["calls"] <= 60


def test_load_is_a_share_of_what_the_fleet_can_serve(scenario: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scenario.write_text(SCENARIO.replace("{rate: 4}", "{load: 0.5}"))
    assert run(["simulate", str(scenario), "--jobs", "1", "--json"]) == 0
    assert 8 < json.loads(capsys.readouterr().out)["calls_per_s"] < 14


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("duration_s: 15", "duration_s: long", "small.yaml:2: duration_s: "),
        ("rtt: rtt.csv", "rtt: none.csv", "small.yaml: rtt: cannot read "),
        ("{rate: 4}", "{rate: 4, trace: none.csv}", "small.yaml: workload.trace: cannot read "),
        ("name: small", "name: [", "small.yaml:"),
    ],
)
def test_mistake_in_a_scenario_is_told_with_its_place(
    scenario: Path, old: str, new: str, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    scenario.write_text(SCENARIO.replace(old, new))
    assert run(["simulate", str(scenario)]) == 2
    assert expected in capsys.readouterr().err


def test_mistake_in_a_matrix_or_a_trace_is_told_with_its_line(
    scenario: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (scenario.parent / "rtt.csv").write_text(RTT.replace("40,0.6", "far,0.6"))
    assert run(["simulate", str(scenario)]) == 2
    assert "rtt.csv:3: expected a number of ms for here, found 'far'" in capsys.readouterr().err
    (scenario.parent / "rtt.csv").write_text(RTT)
    (scenario.parent / "trace.jsonl").write_text('{"timestamp": 0}\n')
    scenario.write_text(SCENARIO.replace("{rate: 4}", "{rate: 4, trace: trace.jsonl}"))
    assert run(["simulate", str(scenario)]) == 2
    assert "trace.jsonl:1: expected timestamp" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("t.jsonl.gz", b"\x1f\x8b\x08\x00 not packed at all", "workload.trace: cannot read "),
        (
            "t.jsonl",
            b'{"timestamp": 5, "input_length": 9, "output_length": 2}\n',
            "t.jsonl: all arrivals are at one moment",
        ),
    ],
)
def test_trace_that_is_of_no_use_is_told_by_name(
    scenario: Path, name: str, content: bytes, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (scenario.parent / name).write_bytes(content)
    assert run(["simulate", str(scenario), "--trace", str(scenario.parent / name)]) == 2
    assert expected in capsys.readouterr().err


def test_report_that_cannot_be_written_is_told_before_anything_is_run(
    scenario: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    taken = scenario.parent / "taken"
    taken.write_text("a file")
    assert run(["simulate", str(scenario), "--report", str(taken / "report")]) == 1
    assert "cannot write the report to" in capsys.readouterr().err


def test_unknown_policy_is_told_with_the_known_ones(scenario: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["simulate", str(scenario), "--policy", "neerest"]) == 2
    assert "no policy 'neerest'; did you mean 'nearest'?" in capsys.readouterr().err


def test_every_policy_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["simulate", "--list"]) == 0
    listed = capsys.readouterr().out
    assert all(policy in listed for policy in POLICIES)


def test_scenarios_of_the_docs_can_be_read() -> None:
    from router.simulation.scenario import parse

    files = sorted((Path(__file__).parents[2] / "docs/routing/scenarios").glob("*.yaml"))
    assert len(files) >= 3
    for file in files:
        assert parse(file.read_text(), file.name).about
