"""A soak as a picture: memory and descriptors over time, and under them the faults of each region. Pure."""

from collections.abc import Callable, Sequence
from html import escape
from math import floor, log10

from tests.app.fleet import REGIONS
from tests.soak.faults import Fault
from tests.soak.run import Run
from tests.soak.series import Sample, warm_after_s

WIDTH, MARGIN, TOP = 960, 24, 64
NAMES = 110  # Room for what stands left of the plots.
PLOT, GAP, LANE = 180, 44, 18
TICKS_MAX = 6
STYLE = """\
text { font: 12px system-ui, "Segoe UI", Helvetica, Arial, sans-serif; fill: #333; }
.page { fill: #fff; } .title { font-size: 18px; font-weight: 600; } .small { font-size: 11px; fill: #777; }
.name { text-anchor: end; } .tick { font-size: 10px; fill: #999; } .y { text-anchor: end; } .x { text-anchor: middle; }
.grid { stroke: #e4e4e4; } .line { fill: none; stroke: #0b7a75; stroke-width: 1.5; } .warm { stroke: #999;
stroke-dasharray: 3 3; } .fault { fill: #c8553d; fill-opacity: 0.65; } .shade { fill: #c8553d; fill-opacity: 0.07; }
@media (prefers-color-scheme: dark) { text { fill: #ddd; } .page { fill: #14171a; } .small, .tick { fill: #888; }
.grid { stroke: #2c3136; } .line { stroke: #2bb3ab; } .fault { fill: #e07a5f; } .shade { fill: #e07a5f; } }"""


def step_of(span: float) -> float:
    """1, 2 or 5 times a power of ten, so that there are at most TICKS_MAX of it."""
    power: float = 10.0 ** floor(log10(span / TICKS_MAX))
    return next(power * part for part in (1.0, 2.0, 5.0, 10.0) if span / (power * part) <= TICKS_MAX)


def svg(run: Run) -> str:
    """The whole of it."""
    end_s = max(run.samples[-1].at_s, run.seconds)
    scale = (WIDTH - NAMES - 2 * MARGIN) / end_s

    def at(seconds: float) -> float:
        return MARGIN + NAMES + scale * seconds

    lanes_top = TOP + 2 * (PLOT + GAP)
    height = lanes_top + LANE * (len(REGIONS) + 1) + 2 * MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        'aria-label="Memory and descriptors of the front door over time, and the faults">',
        f"<style>{STYLE}</style>",
        f'<rect class="page" width="{WIDTH}" height="{height}" rx="6"/>',
        f'<text class="title" x="{MARGIN}" y="30">The front door while regions fail</text>',
        f'<text class="small" x="{MARGIN}" y="48">{sum(run.counts.values()):,} calls in {run.seconds / 60:g} minutes, '
        f"{len(run.faults)} faults; the dashed line ends the warm-up. {escape(run.machine)}</text>",
    ]
    for fault in run.faults:
        width = max(1.0, at(fault.ended_at) - at(fault.began_at))
        parts.append(
            f'<rect class="shade" x="{at(fault.began_at):.1f}" y="{TOP}" width="{width:.1f}" '
            f'height="{lanes_top - TOP - GAP}"/>'
        )
    parts += _plot("memory, MB", run.samples, "rss_mb", TOP, at)
    parts += _plot("descriptors", run.samples, "descriptors", TOP + PLOT + GAP, at)
    warm = at(warm_after_s(run.seconds))
    parts.append(f'<path class="warm" d="M{warm:.1f} {TOP}V{lanes_top - GAP}"/>')
    parts += _lanes(run.faults, lanes_top, at)
    step = step_of(end_s / 60)
    for index in range(int(end_s / 60 / step + 1e-9) + 1):
        y = lanes_top + LANE * (len(REGIONS) + 1) + 14
        parts.append(f'<text class="tick x" x="{at(60 * step * index):.1f}" y="{y}">{step * index:g} min</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _plot(name: str, samples: Sequence[Sample], figure: str, top: float, at: Callable[[float], float]) -> list[str]:
    values = [float(getattr(sample, figure)) for sample in samples]
    high = max(values) * 1.1 or 1.0

    def y(value: float) -> float:
        return top + PLOT * (1 - value / high)

    step, left = step_of(high), at(0.0)
    parts = [f'<text x="{left:.0f}" y="{top - 6}">{name}</text>']
    for index in range(int(high / step + 1e-9) + 1):
        line = y(step * index)
        parts.append(f'<path class="grid" d="M{left:.1f} {line:.1f}H{WIDTH - MARGIN}"/>')
        parts.append(f'<text class="tick y" x="{left - 6:.1f}" y="{line + 3:.1f}">{step * index:g}</text>')
    points = zip(samples, values, strict=True)
    path = " ".join(f"{at(max(0.0, sample.at_s)):.1f},{y(value):.1f}" for sample, value in points)
    return [*parts, f'<polyline class="line" points="{path}"/>']


def _lanes(faults: Sequence[Fault], top: float, at: Callable[[float], float]) -> list[str]:
    """A line for each region and one for the store."""
    parts = []
    for index, (region, name) in enumerate([*((region, region) for region in REGIONS), ("", "Redis")]):
        y = top + LANE * index
        parts.append(f'<text class="name" x="{at(0.0) - 8:.0f}" y="{y + 12}">{name}</text>')
        for fault in faults:
            if fault.region == region:
                width = max(1.5, at(fault.ended_at) - at(fault.began_at))
                parts.append(
                    f'<rect class="fault" x="{at(fault.began_at):.1f}" y="{y + 2}" width="{width:.1f}" '
                    f'height="{LANE - 5}" rx="1"><title>{fault.kind}</title></rect>'
                )
    return parts
