"""What a parent counts of its workers, on a registry that the caller owns."""

from prometheus_client import CollectorRegistry, Counter, Gauge


class WorkerMetrics:
    """Beside these, the parent's page looks like that of a single process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.workers = Gauge("tradewind_workers", "Workers that take connections", registry=registry)
        self.restarts = Counter("tradewind_worker_restarts", "Workers that ended and were replaced", registry=registry)
        self.report_age = Gauge(
            "tradewind_worker_report_age_seconds", "Time since a worker last said a word", ["worker"], registry=registry
        )
        self.dropped = Counter(
            "tradewind_worker_messages_dropped",
            "Messages that a worker had no room for, and outcomes beyond the bound",
            registry=registry,
        )
