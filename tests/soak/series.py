"""What the front door's process held over time, and whether that is flat. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median

from router.settings import TimeoutSettings

HOUR_S = 3600.0
WARM_SHARE = 0.25  # Of the run, and no longer than the next: until pools, caches and buffers have been met.
WARM_S_MAX = 300.0
GROWTH_MAX = 0.08  # Of the level after the warm-up, over the rest of the run, by the slope.
MEMORY_SLACK_MB = 6.0  # A few large calls that happen to be under way.
DESCRIPTORS_SLACK = 40.0  # The same: calls that wait for a frozen region hold two each.
TELLS_FROM_S = 300.0  # A slope over less says nothing.
REST_S = TimeoutSettings().upstream_idle_s + 10.0  # Idle connections to clusters have been closed by then.
LEFT_OVER_MAX = 4  # Descriptors at rest, more than before the load.


@dataclass(frozen=True, slots=True)
class Sample:
    """One look. `at_s`: since the load began."""

    at_s: float
    rss_mb: float
    descriptors: int
    threads: int
    in_flight: int
    upstream: int  # Connections to clusters.


@dataclass(frozen=True, slots=True)
class Trend:
    """One figure over the run: at rest before it, after the warm-up, at its end, at rest again, and per hour."""

    before: float
    warm: float
    last: float
    after: float
    per_hour: float
    span_s: float

    @property
    def growth(self) -> float:
        """What the slope makes of the time measured."""
        return self.per_hour * self.span_s / HOUR_S

    def is_flat(self, slack: float) -> bool:
        return self.growth <= max(slack, GROWTH_MAX * self.warm)


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Least squares; 0 where there is no line."""
    if len(points) < 2:
        return 0.0
    middle_x, middle_y = fmean(x for x, _ in points), fmean(y for _, y in points)
    spread = sum((x - middle_x) ** 2 for x, _ in points)
    return sum((x - middle_x) * (y - middle_y) for x, y in points) / spread if spread else 0.0


def warm_after_s(run_s: float) -> float:
    return min(WARM_S_MAX, WARM_SHARE * run_s)


def trend(samples: Sequence[Sample], figure: str, run_s: float) -> Trend:
    """Of the attribute `figure`; the first sample is from before the load, the last from after it has settled."""
    under_load = [sample for sample in samples if warm_after_s(run_s) <= sample.at_s <= run_s]
    values = [float(getattr(sample, figure)) for sample in under_load] or [0.0]
    tenth = max(1, len(values) // 10)
    points = [(sample.at_s, float(getattr(sample, figure))) for sample in under_load]
    return Trend(
        before=float(getattr(samples[0], figure)),
        warm=median(values[:tenth]),
        last=median(values[-tenth:]),
        after=float(getattr(samples[-1], figure)),
        per_hour=slope(points) * HOUR_S,
        span_s=run_s - warm_after_s(run_s),
    )


def grown(samples: Sequence[Sample], run_s: float) -> list[str]:
    """What grew under load, in words; [] if nothing did, or if the run is too short to tell."""
    if run_s < TELLS_FROM_S:
        return []
    memory, descriptors = trend(samples, "rss_mb", run_s), trend(samples, "descriptors", run_s)
    found = []
    if not memory.is_flat(MEMORY_SLACK_MB):
        found.append(f"memory grows by {memory.per_hour:.1f} MB/hour")
    if not descriptors.is_flat(DESCRIPTORS_SLACK):
        found.append(f"descriptors grow by {descriptors.per_hour:.0f} an hour")
    return found


def left_over(samples: Sequence[Sample], rest_s: float) -> list[str]:
    """What is held after the load, in words. After a short rest idle connections may still be open."""
    before, after = samples[0], samples[-1]
    found = [f"{after.in_flight} calls are in flight though nobody calls"] if after.in_flight else []
    if rest_s < REST_S:
        return found
    for figure, name in (
        ("descriptors", "descriptors"),
        ("upstream", "connections to clusters"),
        ("threads", "threads"),
    ):
        had, has = getattr(before, figure), getattr(after, figure)
        if has > had + LEFT_OVER_MAX:
            found.append(f"{has} {name} at rest, {had} before the load")
    return found
