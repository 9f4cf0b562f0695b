"""Pictures of a set of runs, as SVG: time to first token over time, distributions, who served whom. Pure."""

from collections.abc import Mapping, Sequence
from html import escape
from math import ceil, floor, log10
from typing import Final

from router.simulation.outcomes import Outcome
from router.simulation.runs import Result
from router.simulation.scenario import Scenario

WIDTH: Final = 960
LEFT, RIGHT, TOP, BOTTOM = 64, 24, 40, 40
PANEL: Final = 240
BUCKETS: Final = 60  # Of time.
POINTS: Final = 120  # Of a distribution.
COLOURS: Final = (
    "#0b7a75", "#d1495b", "#edae49", "#3d5a80", "#8d6a9f", "#6a994e", "#bc6c25", "#5f6f7a", "#c77dff", "#2a9d8f",
    "#e76f51", "#264653", "#9a8c98",
)  # fmt: skip
STYLE: Final = """\
text { font: 12px system-ui, "Segoe UI", Helvetica, Arial, sans-serif; fill: #333; } .page { fill: #fff; }
.title { font-size: 14px; font-weight: 600; } .tick { font-size: 10px; fill: #888; } .grid { stroke: #e4e4e4; }
.fault { fill: #d1495b; opacity: 0.09; } .line { fill: none; stroke-width: 1.8; } .cell { fill: #0b7a75; }
@media (prefers-color-scheme: dark) { text { fill: #ddd; } .page { fill: #14171a; } .tick { fill: #888; }
.grid { stroke: #2c3136; } .cell { fill: #2bb3ab; } }"""

Points = Sequence[tuple[float, float]]


class Axis:
    """Values to pixels; logarithmic if asked for, over whole decades."""

    def __init__(self, low: float, high: float, start: float, end: float, *, logarithmic: bool = False) -> None:
        self.logarithmic = logarithmic
        if logarithmic:
            low, high = floor(log10(max(low, 1e-4))), ceil(log10(max(high, 1e-3)))
        self.low, self.high = low, high if high > low else low + 1.0
        self._start, self._end = start, end

    def at(self, value: float) -> float:
        place = log10(max(value, 10.0**self.low)) if self.logarithmic else value
        share = (place - self.low) / (self.high - self.low)
        return self._start + min(1.0, max(0.0, share)) * (self._end - self._start)

    def ticks(self) -> list[float]:
        if self.logarithmic:
            return [10.0**power for power in range(int(self.low), int(self.high) + 1)]
        step = 10.0 ** floor(log10(self.high - self.low))
        step = next(step * part for part in (0.2, 0.5, 1.0, 2.0) if (self.high - self.low) / (step * part) <= 7)
        return [step * number for number in range(ceil(self.low / step), int(self.high / step) + 1)]


def ttft_over_time(scenario: Scenario, results: Sequence[Result]) -> str:
    """A line a policy for the 95th percentile; spans of faults and surges are shaded."""
    lines: dict[str, Points] = {}
    for policy, outcomes in _by_policy(results).items():
        lines[policy] = _p95_over_time(outcomes, scenario)
    values = [value for points in lines.values() for _, value in points] or [1.0]
    y = Axis(min(values), max(values), TOP + PANEL, TOP, logarithmic=True)
    x = Axis(scenario.warm_up_s, scenario.duration_s, LEFT, WIDTH - RIGHT)
    spans = [(fault.at_s, fault.at_s + fault.for_s) for fault in scenario.faults]
    spans += [(surge.at_s, surge.at_s + surge.for_s) for surge in scenario.workload.surges]
    parts = [
        f'<rect class="fault" x="{x.at(start):.1f}" y="{TOP}" width="{x.at(end) - x.at(start):.1f}" height="{PANEL}"/>'
        for start, end in spans
    ]
    parts += _panel("Time to first token, 95th percentile, seconds", "seconds of the scenario", x, y, lines, TOP)
    return _page(parts, TOP + PANEL + BOTTOM, lines)


def distributions(results: Sequence[Result]) -> str:
    """How many calls were served within so many seconds: first token, and each token after it."""
    parts: list[str] = []
    top = TOP
    policies = _by_policy(results)
    for title, name in (("Calls with a first token within", "ttft_s"), ("Answers with a token each", "tpot_s")):
        lines = {policy: _cdf([getattr(one, name) for one in outcomes]) for policy, outcomes in policies.items()}
        values = [value for points in lines.values() for value, _ in points if value > 0] or [1.0]
        x = Axis(min(values), max(values), LEFT, WIDTH - RIGHT, logarithmic=True)
        parts += _panel(
            f"{title} so many seconds, share of all calls", "seconds", x, Axis(0, 1, top + PANEL, top), lines, top
        )
        top += PANEL + BOTTOM + TOP
    return _page(parts, top - TOP, policies)


def flows(results: Sequence[Result]) -> str:
    """For each policy, which share of a region's calls was served where."""
    policies = _by_policy(results)
    regions = sorted(
        {region for outcomes in policies.values() for one in outcomes for region in (one.origin, one.region)} - {""}
    )
    cell = min(26, (WIDTH - LEFT - RIGHT - 130) // max(1, 2 * len(regions)))
    parts: list[str] = []
    size = cell * len(regions)
    for number, (policy, outcomes) in enumerate(policies.items()):
        left = 150 + number % 2 * (WIDTH // 2 - 20)
        top = TOP + number // 2 * (size + 56)
        parts.append(f'<text class="title" x="{left}" y="{top - 8}">{escape(policy)}</text>')
        counts: dict[tuple[str, str], int] = {}
        totals: dict[str, int] = {}
        for one in outcomes:
            if one.region:
                counts[one.origin, one.region] = counts.get((one.origin, one.region), 0) + 1
                totals[one.origin] = totals.get(one.origin, 0) + 1
        for row, origin in enumerate(regions):
            y = top + row * cell
            parts.append(
                f'<text class="tick" text-anchor="end" x="{left - 6}" y="{y + cell * 0.7:.0f}">{escape(origin)}</text>'
            )
            for column, region in enumerate(regions):
                share = counts.get((origin, region), 0) / totals[origin] if totals.get(origin) else 0.0
                parts.append(
                    f'<rect class="cell" x="{left + column * cell}" y="{y}" width="{cell - 2}" height="{cell - 2}" '
                    f'opacity="{0.05 + 0.95 * share:.2f}"><title>{escape(origin)} → {escape(region)}: '
                    f"{share:.1%}</title></rect>"
                )
    lines = ceil(len(policies) / 2)
    return _page(
        parts, TOP + lines * (size + 56), {}, "rows: where calls came from; columns, in the same order: who served them"
    )


def _by_policy(results: Sequence[Result]) -> dict[str, list[Outcome]]:
    found: dict[str, list[Outcome]] = {}
    for result in results:
        found.setdefault(result.policy, []).extend(result.outcomes)
    return found


def _p95_over_time(outcomes: Sequence[Outcome], scenario: Scenario) -> Points:
    width_s = (scenario.duration_s - scenario.warm_up_s) / BUCKETS
    buckets: list[list[float]] = [[] for _ in range(BUCKETS)]
    for one in outcomes:
        if one.ttft_s >= 0.0:
            buckets[min(BUCKETS - 1, int((one.at_s - scenario.warm_up_s) / width_s))].append(one.ttft_s)
    return [
        (scenario.warm_up_s + (number + 0.5) * width_s, sorted(values)[int(0.95 * len(values))])
        for number, values in enumerate(buckets)
        if values
    ]


def _cdf(values: Sequence[float]) -> Points:
    """Of all calls; those without a value are never reached."""
    there = sorted(value for value in values if value >= 0.0)
    if not there:
        return []
    places = [min(len(there) - 1, number * len(there) // POINTS) for number in range(POINTS)] + [len(there) - 1]
    return [(there[place], (place + 1) / len(values)) for place in places]


def _panel(title: str, unit: str, x: Axis, y: Axis, lines: Mapping[str, Points], top: float) -> list[str]:
    parts = [f'<text class="title" x="{LEFT}" y="{top - 12}">{escape(title)}</text>']
    for tick in y.ticks():
        parts.append(f'<path class="grid" d="M{LEFT} {y.at(tick):.1f}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text class="tick" text-anchor="end" x="{LEFT - 6}" y="{y.at(tick) + 3:.1f}">{tick:g}</text>')
    for tick in x.ticks():
        parts.append(f'<path class="grid" d="M{x.at(tick):.1f} {top}V{top + PANEL}"/>')
        parts.append(
            f'<text class="tick" text-anchor="middle" x="{x.at(tick):.1f}" y="{top + PANEL + 14}">{tick:g}</text>'
        )
    parts.append(
        f'<text class="tick" text-anchor="end" x="{WIDTH - RIGHT}" y="{top + PANEL + 28}">{escape(unit)}</text>'
    )
    for number, (_, points) in enumerate(lines.items()):
        if points:
            path = "L".join(f"{x.at(one):.1f} {y.at(other):.1f}" for one, other in points)
            parts.append(f'<path class="line" stroke="{COLOURS[number % len(COLOURS)]}" d="M{path}"/>')
    return parts


def _page(parts: list[str], height: float, lines: Mapping[str, object], note: str = "") -> str:
    """The picture with its legend below."""
    legend: list[str] = []
    x, y = float(LEFT), height + 16
    for number, name in enumerate(lines):
        needed = 34 + 7 * len(name)
        if x + needed > WIDTH - RIGHT:
            x, y = float(LEFT), y + 20
        legend.append(f'<path stroke="{COLOURS[number % len(COLOURS)]}" stroke-width="3" d="M{x:.0f} {y - 4:.0f}h18"/>')
        legend.append(f'<text x="{x + 24:.0f}" y="{y:.0f}">{escape(name)}</text>')
        x += needed
    if note:
        legend.append(f'<text class="tick" x="{LEFT}" y="{y:.0f}">{escape(note)}</text>')
    total = y + 20
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {total:.0f}" role="img">',
            f"<style>{STYLE}</style>",
            f'<rect class="page" width="{WIDTH}" height="{total:.0f}" rx="6"/>',
            *parts,
            *legend,
            "</svg>\n",
        ]
    )
