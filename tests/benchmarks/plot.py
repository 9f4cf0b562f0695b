"""A run as a picture: a panel for each question, a bar for each proxy, on scales of their own. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from math import ceil, floor, log10
from typing import Any

from tests.benchmarks.report import number
from tests.benchmarks.sample import Sample, Samples

PANELS = (
    ("calls-2k", "cpu_us", "Call with a 2 KB prompt", "µs of CPU"),
    ("calls-256k", "cpu_us", "Call with a 256 KB prompt", "µs of CPU"),
    ("streams-500", "cpu_us", "Streamed chunk, 500 streams", "µs of CPU"),
    ("streams-2000", "cpu_us", "Streamed chunk, 2,000 streams", "µs of CPU"),
    ("ttfb-fixed", "added_p99_ms", "Added time to first byte at 1,000 calls/s, p99", "ms"),
    ("streams-2000", "kb", "Memory per open stream, 2,000 streams", "KB"),
)
COLUMNS = 2
WIDTH, MARGIN, TOP = 960, 24, 64
GAP = 32
NAMES = 98  # Room for the proxies' names.
VALUES = 58  # Room for a value behind the longest bar.
HEAD, ROW, BAR, FOOT = 34, 24, 15, 22
SHORTEST = 2.0
WIDE = 12.0  # Of the largest to the smallest: from here on, logarithmic.
STYLE = """\
text { font: 12px system-ui, "Segoe UI", Helvetica, Arial, sans-serif; fill: #333; }
.page { fill: #fff; } .title { font-size: 18px; font-weight: 600; } .small { font-size: 11px; fill: #777; }
.panel { font-size: 13px; font-weight: 600; } .name { text-anchor: end; } .tick { font-size: 10px; fill: #999;
text-anchor: middle; } .grid { stroke: #e4e4e4; } .bar { fill: #a9b4c2; } .ours { fill: #0b7a75; }
.own { font-weight: 600; } .none { fill: #999; font-style: italic; }
@media (prefers-color-scheme: dark) { text { fill: #ddd; } .page { fill: #14171a; } .small, .tick, .none { fill: #888; }
.grid { stroke: #2c3136; } .bar { fill: #55606e; } .ours { fill: #2bb3ab; } }"""


@dataclass(frozen=True)
class Scale:
    """From zero where the values lie close together, so that lengths can be compared; else logarithmic."""

    low: float  # Of a logarithmic one, the power of ten; whole decades surround what is shown.
    high: float
    pixels: float
    logarithmic: bool

    @classmethod
    def around(cls, values: list[float], pixels: float) -> "Scale":
        above = [value for value in values if value > 0]
        if not above:
            return cls(0.0, 1.0, pixels, logarithmic=False)
        if max(above) / min(above) < WIDE:
            return cls(0.0, max(above), pixels, logarithmic=False)
        return cls(floor(log10(min(above))), ceil(log10(max(above))), pixels, logarithmic=True)

    def at(self, value: float) -> float:
        """How long a bar is; what is not above zero has a stub."""
        if value <= 0:
            return SHORTEST
        return max(SHORTEST, self._place(log10(value) if self.logarithmic else value))

    def ticks(self) -> list[tuple[float, str]]:
        if self.logarithmic:
            return [(self._place(one), f"{10.0**one:,.10g}") for one in range(int(self.low), int(self.high) + 1)]
        step = _step(self.high)
        return [(self._place(step * one), f"{step * one:,.10g}") for one in range(int(self.high / step + 1e-9) + 1)]

    def _place(self, value: float) -> float:
        return (value - self.low) / (self.high - self.low) * self.pixels


def _step(high: float) -> float:
    """1, 2 or 5 times a power of ten, so that there are two to five of it."""
    power: float = 10.0 ** floor(log10(high))
    return next(power * part for part in (0.2, 0.5, 1.0, 2.0) if high / (power * part) < 6)


def panel(
    title: str, unit: str, rows: list[tuple[str, float | None, str]], ours: str, left: float, top: float
) -> list[str]:
    """One of them; a row is a name, a value, and what stands there if there is none."""
    width = (WIDTH - 2 * MARGIN - (COLUMNS - 1) * GAP) / COLUMNS
    from_x, pixels = left + NAMES, width - NAMES - VALUES
    scale = Scale.around([value for _, value, _ in rows if value is not None], pixels)
    bottom = top + HEAD + ROW * len(rows)
    parts = [
        f'<text class="panel" x="{left:.0f}" y="{top + 14:.0f}">{escape(title)} '
        f'<tspan class="small" font-weight="400">{escape(unit)}</tspan></text>'
    ]
    measured = any(value is not None for _, value, _ in rows)
    for x, label in scale.ticks() if measured else ():
        parts.append(f'<path class="grid" d="M{from_x + x:.1f} {top + HEAD - 6:.0f}V{bottom:.0f}"/>')
        parts.append(f'<text class="tick" x="{from_x + x:.1f}" y="{bottom + 13:.0f}">{label}</text>')
    for index, (name, value, why) in enumerate(rows):
        y = top + HEAD + ROW * index
        own = " own" if name == ours else ""
        parts.append(f'<text class="name{own}" x="{from_x - 8:.0f}" y="{y + BAR - 3}">{escape(name)}</text>')
        if value is None:
            parts.append(f'<text class="none" x="{from_x + 4:.0f}" y="{y + BAR - 3}">{escape(why)}</text>')
            continue
        length = scale.at(value)
        kind = "ours" if name == ours else "bar"
        parts.append(f'<rect class="{kind}" x="{from_x:.0f}" y="{y}" width="{length:.1f}" height="{BAR}" rx="2"/>')
        parts.append(
            f'<text class="{own.strip()}" x="{from_x + length + 5:.1f}" y="{y + BAR - 3}">{number(value)}</text>'
        )
    return parts


def svg(run: Mapping[str, Any]) -> str:
    """The whole picture."""
    samples = Samples(Sample.of_row(row) for row in run["samples"])
    peers = run["peers"]
    height_of_panel = HEAD + ROW * len(peers) + FOOT
    lines = ceil(len(PANELS) / COLUMNS)
    height = TOP + lines * (height_of_panel + 14) + MARGIN
    width_of_panel = (WIDTH - 2 * MARGIN - (COLUMNS - 1) * GAP) / COLUMNS
    here = run["machine"]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        'aria-label="CPU, latency and memory of each proxy">',
        f"<style>{STYLE}</style>",
        f'<rect class="page" width="{WIDTH}" height="{height}" rx="6"/>',
        f'<text class="title" x="{MARGIN}" y="30">The front door beside other proxies</text>',
        f'<text class="small" x="{MARGIN}" y="48">'
        "Shorter is better; medians; a scale that does not begin at 0 is logarithmic. "
        f"{escape(run['date'])}, one core of {escape(here['processor'])}, {escape(run['command'])}</text>",
    ]
    ours = next((peer["title"] for peer in peers if peer["name"] == "tradewind"), "")
    for index, (scenario, value, title, unit) in enumerate(PANELS):
        rows = [
            (
                peer["title"],
                samples.median(peer["name"], scenario, value),
                "not there" if peer["cause"] else _why(samples.failure(peer["name"], scenario)),
            )
            for peer in peers
        ]
        left = MARGIN + index % COLUMNS * (width_of_panel + GAP)
        top = TOP + index // COLUMNS * (height_of_panel + 14)
        parts += panel(title, unit, rows, ours, left, top)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _why(failure: str | None) -> str:
    """In the few words for which there is room."""
    if failure is None:
        return "not measured"
    return "does not bear it" if failure.startswith("does not bear") or "were open" in failure else "failed"
