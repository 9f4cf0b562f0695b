"""Every metric of the agent and its labels."""

from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from federation.role_port import LoopAges


class AgentMetrics:
    """The agent's metrics, in a registry of their own."""

    def __init__(self, ages: LoopAges) -> None:
        self.registry = CollectorRegistry()
        self.heartbeats = Counter(
            "tradewind_agent_heartbeats_total",
            "Heartbeats offered to a store: written, newer (a newer one stood there), or why it failed.",
            ["store", "result"],
            registry=self.registry,
        )
        self.store_answers = Gauge(
            "tradewind_agent_store_answers",
            "1 while the last call to a store succeeded, else 0.",
            ["store"],
            registry=self.registry,
        )
        self.publish_seconds = Histogram(
            "tradewind_agent_publish_seconds",
            "Time a store took to take a heartbeat, or to fail.",
            ["store"],
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0),
            registry=self.registry,
        )
        self.scrapes = Counter(
            "tradewind_agent_scrapes_total",
            "Looks at model servers, by how they went.",
            ["result"],
            registry=self.registry,
        )
        self.scrape_seconds = Histogram(
            "tradewind_agent_scrape_seconds",
            "Time for one look at all model servers.",
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5),
            registry=self.registry,
        )
        self.model_servers = Gauge(
            "tradewind_agent_model_servers",
            "Configured model servers, by whether they could take calls when last looked at.",
            ["ready"],
            registry=self.registry,
        )
        self.heartbeat_bytes = Gauge(
            "tradewind_agent_heartbeat_bytes", "Size of the last sealed heartbeat.", registry=self.registry
        )
        self.heartbeats_trimmed = Counter(
            "tradewind_agent_heartbeats_trimmed_total",
            "Heartbeats that left out adapters or pools because they would have been too large.",
            registry=self.registry,
        )
        self.ticks_missed = Counter(
            "tradewind_agent_ticks_missed_total",
            "Intervals without a heartbeat because the one before took too long.",
            registry=self.registry,
        )
        self.loop_failures = Counter(
            "tradewind_agent_loop_failures_total",
            "Rounds of a loop that ended with an unexpected error.",
            ["loop"],
            registry=self.registry,
        )
        self.key_changes = Counter(
            "tradewind_agent_key_changes_total",
            "Changes of the key file, by whether the new key was taken.",
            ["taken"],
            registry=self.registry,
        )
        age = Gauge(
            "tradewind_agent_loop_age_seconds",
            "Time since a background loop last came round.",
            ["loop"],
            registry=self.registry,
        )
        for loop in ages:
            age.labels(loop).set_function(partial(ages.age_s, loop))
            self.loop_failures.labels(loop)  # Shown as 0 from the start.
