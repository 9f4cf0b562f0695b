"""Every metric of the front door, with its labels, on a registry that the caller owns.

What a call counts goes into plain integers, since a labelled counter of the client library
costs more than the rest of a decision; a scrape turns them into metrics.
"""

from bisect import bisect_left
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from federation.outcome import OutcomeKind
from router.errors import Kind

TTFT_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
INTERVAL_BUCKETS = (0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.075, 0.1, 0.2, 0.5, 1.0)

COST_BUCKETS = (5e-06, 1e-05, 2.5e-05, 5e-05, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.1)


class Distribution:
    """Observations in seconds, counted by upper bound."""

    __slots__ = ("bounds", "counts", "total_s")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total_s = 0.0

    def observe(self, seconds: float) -> None:
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.total_s += seconds

    def buckets(self) -> list[tuple[str, float]]:
        """Cumulative counts, as Prometheus wants them."""
        rows: list[tuple[str, float]] = []
        running = 0
        for bound, count in zip((*map(str, self.bounds), "+Inf"), self.counts, strict=True):
            running += count
            rows.append((bound, float(running)))
        return rows


class RouterMetrics(Collector):
    """What the edge counts."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._calls: dict[tuple[str, str, str], int] = {}
        self._attempts: dict[tuple[str, str], int] = {}
        self._refused: dict[str, int] = {}
        self._ttft: dict[str, Distribution] = {}
        self._interval: dict[str, Distribution] = {}
        self.decision = Distribution(COST_BUCKETS)
        self.overhead = Distribution(COST_BUCKETS)
        self.broken_streams = Counter(
            "tradewind_broken_streams", "Answers that broke after their first byte", registry=registry
        )
        self._resumes: dict[str, int] = {}
        self.resume_gap = Distribution(TTFT_BUCKETS)
        self.in_flight = Gauge("tradewind_calls_in_flight", "Calls under way", registry=registry)
        self.upstream_connections = Gauge(
            "tradewind_upstream_connections", "Open connections to a cluster", ["cluster"], registry=registry
        )
        self.reloads = Counter("tradewind_configuration_reloads", "Files read again", ["result"], registry=registry)
        registry.register(self)

    def call_ended(
        self, *, region: str, reason: str, outcome: str, ttft_s: float | None, event_interval_s: float | None
    ) -> None:
        """One call is over."""
        key = (region, reason, outcome)
        self._calls[key] = self._calls.get(key, 0) + 1
        if ttft_s is not None:
            ttft = self._ttft.get(region)
            if ttft is None:
                ttft = self._ttft[region] = Distribution(TTFT_BUCKETS)
            ttft.observe(ttft_s)
        if event_interval_s is not None:
            interval = self._interval.get(region)
            if interval is None:
                interval = self._interval[region] = Distribution(INTERVAL_BUCKETS)
            interval.observe(event_interval_s)

    def attempt_ended(self, cluster: str, kind: OutcomeKind) -> None:
        """One attempt is over."""
        key = (cluster, kind)
        self._attempts[key] = self._attempts.get(key, 0) + 1

    def refused(self, kind: Kind) -> None:
        """An error of ours was sent."""
        self._refused[kind] = self._refused.get(kind, 0) + 1

    def resumed(self, outcome: str, gap_s: float | None = None) -> None:
        """A stream broke and went on elsewhere, after `gap_s`; or not, for the reason that `outcome` names."""
        self._resumes[outcome] = self._resumes.get(outcome, 0) + 1
        if gap_s is not None:
            self.resume_gap.observe(gap_s)

    def decisions(self) -> dict[str, int]:
        """Calls that were placed, by the reason of the decision."""
        totals: dict[str, int] = {}
        for (_, reason, _), count in self._calls.items():
            if reason:
                totals[reason] = totals.get(reason, 0) + count
        return totals

    def collect(self) -> Iterator[Metric]:
        """What a scrape sees."""
        calls = CounterMetricFamily("tradewind_calls", "Calls that ended", labels=["region", "decision", "outcome"])
        for key, count in self._calls.items():
            calls.add_metric(key, count)
        attempts = CounterMetricFamily("tradewind_attempts", "Attempts that ended", labels=["cluster", "outcome"])
        for pair, count in self._attempts.items():
            attempts.add_metric(pair, count)
        refused = CounterMetricFamily("tradewind_refused", "Calls answered with an error of ours", labels=["kind"])
        for kind, count in self._refused.items():
            refused.add_metric((kind,), count)
        ttft = HistogramMetricFamily("tradewind_ttft_seconds", "Time to the first byte of an answer", labels=["region"])
        interval = HistogramMetricFamily(
            "tradewind_stream_event_interval_seconds",
            "Mean time between two events of a stream, one observation a stream",
            labels=["region"],
        )
        for family, distributions in ((ttft, self._ttft), (interval, self._interval)):
            for region, distribution in distributions.items():
                family.add_metric((region,), distribution.buckets(), distribution.total_s)
        decision = HistogramMetricFamily("tradewind_decision_seconds", "Time to decide, of one call in 16")
        decision.add_metric((), self.decision.buckets(), self.decision.total_s)
        overhead = HistogramMetricFamily(
            "tradewind_overhead_seconds", "Time from a complete request to its first attempt, of one call in 16"
        )
        overhead.add_metric((), self.overhead.buckets(), self.overhead.total_s)
        resumes = CounterMetricFamily(
            "tradewind_resumes", "Streams that broke, by what became of them", labels=["outcome"]
        )
        for outcome, count in self._resumes.items():
            resumes.add_metric((outcome,), count)
        gap = HistogramMetricFamily(
            "tradewind_resume_gap_seconds", "Time from the break of a stream to its next event from elsewhere"
        )
        gap.add_metric((), self.resume_gap.buckets(), self.resume_gap.total_s)
        yield from (resumes, gap, calls, attempts, refused, ttft, interval, decision, overhead)
