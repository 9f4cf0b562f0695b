"""How what a cluster says of itself reaches the front doors: simulated agents, a store, and its readers. Pure.

An agent looks at its replicas and publishes, each interval; its figures are summarized by the code that agents run in
production. What it published becomes visible `delay_s` later (its way to the store, and the reader's share of a poll),
unless it is lost, in order; a front door reads what it has not read yet.
"""

from collections.abc import Iterable
from random import Random

from federation.agent.exposition import Engine, Figures, Page
from federation.agent.facts import ScrapeResult, Served, ServerFacts
from federation.agent.summarize import PoolRules, Summary, summarize
from federation.fold import StoresSeen
from federation.lab.batching import Replica
from federation.model import Accelerators, Epoch, Heartbeat
from router.simulation.cluster import Health, SimulatedCluster
from router.simulation.door import Door
from router.simulation.timeline import Timeline


class Store:
    """All heartbeats in the order in which they become visible. One store, as one Redis."""

    def __init__(self) -> None:
        self.is_reachable = True
        self._log: list[Heartbeat] = []

    def write(self, heartbeat: Heartbeat) -> None:
        if self.is_reachable:
            self._log.append(heartbeat)

    @property
    def written(self) -> int:
        return len(self._log)

    def since(self, place: int) -> Iterable[Heartbeat]:
        """What was written after the first `place` of them; the last of each cluster alone counts, as in a hash."""
        return {heartbeat.cluster: heartbeat for heartbeat in self._log[place:]}.values()


class Reader:
    """A front door's own reading of the store."""

    def __init__(self, store: Store, door: Door) -> None:
        self._store = store
        self._door = door
        self._read = 0
        self._known: set[str] = set()
        self._reachable = True

    def poll(self) -> None:
        store = self._store
        if store.is_reachable is not self._reachable:
            self._reachable = store.is_reachable
            self._door.put(StoresSeen(reachable=int(self._reachable), configured=1))
        if not self._reachable:
            return
        for heartbeat in store.since(self._read):
            self._door.heard(heartbeat, first_sight=heartbeat.cluster not in self._known)
            self._known.add(heartbeat.cluster)
        self._read = store.written


class Agent:
    """One cluster's agent."""

    def __init__(
        self,
        cluster: SimulatedCluster,
        store: Store,
        timeline: Timeline,
        rng: Random,
        interval_s: float,
        delay_s: float,
        loss: float,
    ) -> None:
        self.cluster = cluster
        self.is_silent = False
        self._store = store
        self._timeline = timeline
        self._rng = rng
        self._interval_s = interval_s
        self._delay_s = delay_s
        self._loss = loss
        self._seq = 0
        self._summary = Summary()
        self._served = Served((cluster.model,))
        self._rules = PoolRules(slots_per_replica=max(spec.max_running for spec in cluster.specs))
        self._boots = 0

    def start(self) -> None:
        """The first one at a random moment of the interval."""
        self._timeline.after(self._rng.random() * self._interval_s, self._publish)

    def restart(self) -> None:
        """Its cluster came back from the dead: counters began anew."""
        self._boots += 1
        self._summary = Summary()

    def _publish(self, _: object) -> None:
        self._timeline.after(self._interval_s, self._publish)
        heard = self._rng.random() >= self._loss
        if self.is_silent or self.cluster.health in (Health.LOST, Health.CUT_OFF):
            return
        heartbeat = self._heartbeat()
        if heard:
            self._timeline.after(self._delay_s, self._store.write, heartbeat)

    def _heartbeat(self) -> Heartbeat:
        cluster, now = self.cluster, self._timeline.now
        cluster.settle()
        ready = cluster.serving_replicas if cluster.health is Health.SERVING else []
        facts = [self._facts(str(index), replica, now) for index, replica in enumerate(ready)]
        self._summary = summarize(self._summary, facts, self._rules)
        self._seq += 1
        total = len(cluster.replicas)
        accelerators = Accelerators(type="simulated", total=total, ready=len(ready), allocated=len(ready))
        return Heartbeat(
            cluster=cluster.name,
            region=cluster.region,
            epoch=Epoch(boot_ms=self._boots),
            seq=self._seq,
            interval_ms=int(self._interval_s * 1000),
            sent_unix_ms=int(now * 1000),
            pools=self._summary.pools,
            accelerators=(accelerators,),
        )

    def _facts(self, url: str, replica: Replica, now: float) -> ServerFacts:
        figures = Figures(
            running=float(replica.running),
            waiting=float(replica.waiting),
            kv_utilization_mean=replica.kv_used_ratio,
            kv_utilization_max=replica.kv_used_ratio,
            prompt_tokens=float(replica.prompt_tokens),
            generated_tokens=float(replica.generation_tokens),
            prefix_queries=float(replica.prefix_query_tokens),
            prefix_hits=float(replica.prefix_hit_tokens),
            inter_token_s=replica.inter_token_s,
            inter_tokens=float(replica.generation_tokens - replica.first_tokens),
        )
        page = Page(Engine.VLLM, {self.cluster.model: figures})
        return ServerFacts(url, ScrapeResult.OK, self._served, page, now)
