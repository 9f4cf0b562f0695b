import json

from router.simulation.report import COLUMNS, by_policy, document, markdown, table
from router.simulation.runs import Inputs, Result, simulate
from tests.build import DISTANCES
from tests.simulated import NEAR, scenario

FAULT = {"kind": "slow", "target": NEAR, "at_s": 5, "for_s": 5}
INPUTS = Inputs(scenario(about="Why it is run.", faults=[FAULT]), dict(DISTANCES.measured), (), 5.0)


def results(*policies: str, seeds: int = 2) -> list[Result]:
    return [simulate(INPUTS, policy, seed) for policy in policies for seed in range(1, seeds + 1)]


def test_table_has_a_row_a_policy_and_an_interval_where_there_are_seeds() -> None:
    headings, *rows = table(results("nearest", "two-choices"))
    assert headings == ["policy", *[heading for _, heading, _, _ in COLUMNS]]
    assert [row[0] for row in rows] == ["nearest", "two-choices"]
    assert " ± " in rows[0][2]
    assert " ± " not in table(results("nearest", seeds=1))[1][2]


def test_report_tells_fleet_load_objectives_and_faults() -> None:
    text = markdown(INPUTS, results("nearest"), "tradewind simulate x.yaml")
    for part in (
        "# test",
        "Why it is run.",
        "Made by `tradewind simulate x.yaml`",
        "3 clusters in 3 regions, 3 replicas; 1 front doors",
        "5.0 calls a second",
        "| 5 | 5 | slow | near |",
        "| nearest | nearest only | latency-based DNS, anycast |",
    ):
        assert part in text, part


def test_document_is_json_with_every_run() -> None:
    found = json.loads(json.dumps(document(INPUTS, results("nearest"))))
    assert [(run["policy"], run["seed"]) for run in found["runs"]] == [("nearest", 1), ("nearest", 2)]
    assert 0 <= found["runs"][0]["goodput"] <= 1
    assert found["scenario"]["name"] == "test"


def test_figures_are_means_over_seeds() -> None:
    found = results("nearest")
    mean = sum(one.figures.ttft_s[0] for one in found) / 2
    assert by_policy(found)["nearest"]["ttft_p50_s"].mean == mean
