"""What a set of runs found, as tables for people and as JSON for programs. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from router.simulation.interval import Interval, interval
from router.simulation.outcomes import QUANTILES, Figures
from router.simulation.policies import POLICIES
from router.simulation.runs import Inputs, Result
from router.simulation.scenario import expanded

COLUMNS: Final = (
    ("goodput_percent", "goodput %", 1, 100.0),
    ("ttft_p50_s", "TTFT p50 ms", 0, 1000.0),
    ("ttft_p95_s", "TTFT p95 ms", 0, 1000.0),
    ("ttft_p99_s", "TTFT p99 ms", 0, 1000.0),
    ("tpot_p50_s", "TPOT p50 ms", 1, 1000.0),
    ("tpot_p95_s", "TPOT p95 ms", 1, 1000.0),
    ("prefix_hit_ratio", "prefix hits %", 1, 100.0),
    ("cost_per_million_tokens", "cost / M tokens", 3, 1.0),
    ("not_served", "not served", 0, 1.0),
    ("crossed", "cross-region %", 0, 100.0),
)
"""Name in JSON, heading, digits, factor."""


def named(found: Figures) -> dict[str, float]:
    """The figures of one run by name."""
    quantiles = [f"p{round(100 * share)}_s" for share in QUANTILES]
    return {
        "calls": found.calls,
        "goodput_percent": found.goodput,
        **{f"ttft_{name}": value for name, value in zip(quantiles, found.ttft_s, strict=True)},
        **{f"tpot_{name}": value for name, value in zip(quantiles, found.tpot_s, strict=True)},
        "prefix_hit_ratio": found.prefix_hit_ratio,
        "cost_per_million_tokens": found.cost_per_million_tokens,
        "not_served": found.refused + found.failed,
        "refused": found.refused,
        "failed": found.failed,
        "resumed": found.resumed,
        "failed_over": found.failed_over,
        "crossed": found.crossed,
    }


def by_policy(results: Sequence[Result]) -> Mapping[str, Mapping[str, Interval]]:
    """Each policy's figures over its seeds, in the order in which policies came."""
    runs: dict[str, list[dict[str, float]]] = {}
    for result in results:
        runs.setdefault(result.policy, []).append(named(result.figures))
    return {policy: {name: interval([row[name] for row in rows]) for name in rows[0]} for policy, rows in runs.items()}


def document(inputs: Inputs, results: Sequence[Result]) -> dict[str, Any]:
    """Everything but the single calls, for programs. Shares are 0..1, times seconds."""
    rows = []
    for result in results:
        figures = named(result.figures)
        figures["goodput"] = figures.pop("goodput_percent")
        rows.append({"policy": result.policy, "seed": result.seed, "events": result.events, **figures})
    return {
        "scenario": msgspec.to_builtins(inputs.scenario),
        "calls_per_s": inputs.rate,
        "runs": rows,
    }


def table(results: Sequence[Result]) -> list[list[str]]:
    """Headings, then a row for each policy."""
    rows = [["policy", *[heading for _, heading, _, _ in COLUMNS]]]
    for policy, figures in by_policy(results).items():
        rows.append([policy, *[figures[name].text(digits, factor) for name, _, digits, factor in COLUMNS]])
    return rows


def markdown(inputs: Inputs, results: Sequence[Result], command: str) -> str:
    """The whole report; its pictures are files beside it."""
    scenario = inputs.scenario
    clusters = expanded(scenario.clusters)
    seeds = sorted({result.seed for result in results})
    calls = sum(result.figures.calls for result in results)
    rows = table(results)
    lines = [
        f"# {scenario.name}",
        "",
        *([scenario.about.strip(), ""] if scenario.about else []),
        f"Made by `{command}`: {len(rows) - 1} policies, {len(seeds)} seeds, {calls:,} calls that count.",
        "",
        f"- **Fleet**: {len(clusters)} clusters in {len({row.region for row in clusters.values()})} regions, "
        f"{sum(row.replicas for row in clusters.values())} replicas; "
        f"{len(scenario.door_regions) * scenario.front_doors.per_region} front doors.",
        f"- **Load**: {inputs.rate:,.1f} calls a second"
        + (
            f", {scenario.workload.load:.0%} of what the fleet serves within its objectives"
            if scenario.workload.load
            else ""
        )
        + (f"; arrivals and lengths of {scenario.workload.trace}" if scenario.workload.trace else "")
        + ".",
        f"- **Heartbeats**: each {scenario.heartbeats.interval_s:g} s, {scenario.heartbeats.delay_s:g} s under way.",
        f"- **Good** is a call served with TTFT ≤ {scenario.objectives.ttft_s:g} s + "
        f"{1000 * scenario.objectives.ttft_s_per_prompt_token:g} ms a prompt token and TPOT ≤ "
        f"{1000 * scenario.objectives.tpot_s:g} ms, both stretched on accelerators slower than an H100.",
        "",
        _row(rows[0]),
        "| --- |" + " ---: |" * (len(rows[0]) - 1),
        *[_row(row) for row in rows[1:]],
        "",
        "Means over seeds, ± half of the 95 % confidence interval where there are several. Cross-region share describes"
        " and does not judge.",
        "",
    ]
    if scenario.faults:
        lines += ["## What befalls the fleet", "", "| at s | for s | what | whom |", "| ---: | ---: | --- | --- |"]
        lines += [f"| {one.at_s:g} | {one.for_s:g} | {one.kind} | {one.target or '–'} |" for one in scenario.faults]
        lines.append("")
    lines += ["## Over time", "", "![Time to first token over time](ttft.svg)", ""]
    lines += ["## Distributions", "", "![Distributions of TTFT and TPOT](cdf.svg)", ""]
    lines += ["## Who served whom", "", "![Calls by origin and serving region](flows.svg)", ""]
    lines += ["## Policies", "", "| policy | what it does | after |", "| --- | --- | --- |"]
    lines += [f"| {row[0]} | {POLICIES[row[0]].about} | {POLICIES[row[0]].source} |" for row in rows[1:]]
    return "\n".join(lines) + "\n"


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
