"""The federation's metrics, all of them, on a registry that the caller owns."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from federation.capacity import belief_liveness
from federation.ejection import State
from federation.liveness import Liveness
from federation.model import Mode, Snapshot

if TYPE_CHECKING:
    from federation.feed import StoreStatus


class FeedMetrics:
    """What the feed and the probes count."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.heartbeats = Counter("tradewind_heartbeats", "Heartbeats believed", ["cluster"], registry=registry)
        self.heartbeats_rejected = Counter(
            "tradewind_heartbeats_rejected", "Heartbeats not believed", ["cause"], registry=registry
        )
        self.store_reads = Counter(
            "tradewind_store_reads", "Reads of a federation store", ["store", "result"], registry=registry
        )
        self.store_reachable = Gauge(
            "tradewind_store_reachable", "1 while a federation store answers", ["store"], registry=registry
        )
        self.store_age = Gauge(
            "tradewind_store_age_seconds", "Time since a federation store last answered", ["store"], registry=registry
        )
        self.events_dropped = Counter(
            "tradewind_feed_events_dropped", "Events beyond the bound of the feed's inbox", registry=registry
        )
        self.transitions = Counter("tradewind_transitions", "Changes of state", ["kind", "to"], registry=registry)
        self.generation = Gauge("tradewind_snapshot_generation", "Number of the snapshot", registry=registry)
        self.frozen = Gauge("tradewind_federation_frozen", "1 while no federation store answers", registry=registry)
        self.heartbeat_age = Gauge(
            "tradewind_heartbeat_age_seconds",
            "Time since a cluster's heartbeat advanced",
            ["cluster"],
            registry=registry,
        )
        self.liveness = Gauge(
            "tradewind_cluster_liveness", "1 for the present liveness", ["cluster", "liveness"], registry=registry
        )
        self.standing = Gauge(
            "tradewind_cluster_standing", "1 for the present standing", ["cluster", "standing"], registry=registry
        )
        self.probe_rtt = Histogram(
            "tradewind_probe_rtt_seconds",
            "Answer time of probes",
            ["cluster"],
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0),
            registry=registry,
        )
        self.probes = Counter("tradewind_probes", "Active probes", ["cluster", "result"], registry=registry)
        self._told_at = float("-inf")

    def observe(self, snapshot: Snapshot, stores: "Sequence[StoreStatus]", now: float) -> None:
        """Set the gauges; once a second is enough for whoever scrapes."""
        if now - self._told_at < 1.0:
            return
        self._told_at = now
        self.generation.set(snapshot.generation)
        self.frozen.set(snapshot.mode is Mode.FROZEN)
        for status in stores:
            self.store_reachable.labels(status.store.name).set(bool(status.reachable))
            if status.answered_at is not None:
                self.store_age.labels(status.store.name).set(now - status.answered_at)
        for name, belief in snapshot.beliefs.items():
            if belief.arrived_at is not None:
                self.heartbeat_age.labels(name).set(now - belief.arrived_at)
            alive = belief_liveness(belief, now)
            for each in Liveness:
                self.liveness.labels(name, each).set(alive is each)
            for state in State:
                self.standing.labels(name, state).set(belief.standing.state is state)
            self.standing.labels(name, "doubted").set(belief.standing.doubted(now))
