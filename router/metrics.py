"""Every metric of the front door, with its labels, on a registry that the caller owns.

Children are kept once they were asked for: a look-up by labels costs more than a count.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from federation.outcome import OutcomeKind
from router.errors import Kind

TTFT_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
INTERVAL_BUCKETS = (0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.075, 0.1, 0.2, 0.5, 1.0)


class RouterMetrics:
    """What the edge counts."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._calls = Counter(
            "tradewind_calls", "Calls that ended", ["region", "decision", "outcome"], registry=registry
        )
        self._attempts = Counter("tradewind_attempts", "Attempts that ended", ["cluster", "outcome"], registry=registry)
        self._refused = Counter(
            "tradewind_refused", "Calls answered with an error of ours", ["kind"], registry=registry
        )
        self._ttft = Histogram(
            "tradewind_ttft_seconds",
            "Time to the first byte of an answer",
            ["region"],
            buckets=TTFT_BUCKETS,
            registry=registry,
        )
        self._interval = Histogram(
            "tradewind_stream_event_interval_seconds",
            "Mean time between two events of a stream, one observation a stream",
            ["region"],
            buckets=INTERVAL_BUCKETS,
            registry=registry,
        )
        self.broken_streams = Counter(
            "tradewind_broken_streams", "Answers that broke after their first byte", registry=registry
        )
        self.in_flight = Gauge("tradewind_calls_in_flight", "Calls under way", registry=registry)
        self.upstream_connections = Gauge(
            "tradewind_upstream_connections", "Open connections to a cluster", ["cluster"], registry=registry
        )
        self.reloads = Counter("tradewind_configuration_reloads", "Files read again", ["result"], registry=registry)
        self._by_call: dict[tuple[str, str, str], Counter] = {}
        self._by_attempt: dict[tuple[str, str], Counter] = {}
        self._ttft_by_region: dict[str, Histogram] = {}
        self._interval_by_region: dict[str, Histogram] = {}

    def call_ended(
        self, *, region: str, reason: str, outcome: str, ttft_s: float | None, event_interval_s: float | None
    ) -> None:
        """One call is over."""
        key = (region, reason, outcome)
        count = self._by_call.get(key)
        if count is None:
            count = self._by_call[key] = self._calls.labels(region, reason, outcome)
        count.inc()
        if ttft_s is not None:
            ttft = self._ttft_by_region.get(region)
            if ttft is None:
                ttft = self._ttft_by_region[region] = self._ttft.labels(region)
            ttft.observe(ttft_s)
        if event_interval_s is not None:
            interval = self._interval_by_region.get(region)
            if interval is None:
                interval = self._interval_by_region[region] = self._interval.labels(region)
            interval.observe(event_interval_s)

    def attempt_ended(self, cluster: str, kind: OutcomeKind) -> None:
        """One attempt is over."""
        key = (cluster, kind)
        count = self._by_attempt.get(key)
        if count is None:
            count = self._by_attempt[key] = self._attempts.labels(cluster, kind)
        count.inc()

    def refused(self, kind: Kind) -> None:
        """An error of ours was sent."""
        self._refused.labels(kind).inc()

    def decisions(self) -> dict[str, int]:
        """Calls that were placed, by the reason of the decision."""
        totals: dict[str, int] = {}
        for metric in self._calls.collect():
            for sample in metric.samples:
                if sample.name.endswith("_total") and (reason := sample.labels["decision"]):
                    totals[reason] = totals.get(reason, 0) + int(sample.value)
        return totals
