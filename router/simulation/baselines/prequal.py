"""Prequal: probes sent ahead of need; of those that are not hot the one with the least latency.

B. Wydrowski and others, Load is not what you should balance: introducing Prequal, NSDI 2024. Each call triggers a few
probes of random servers, whose answers (calls in flight, and the latency lately seen at about that many) go to a pool.
The next call takes from the pool: a server is hot if its calls in flight are above a quantile of those seen lately;
among cold ones the least latency wins, and if all are hot the fewest calls in flight. A probe may be used so many
times, ages out, counts our own call on it, and with every call the worst or the oldest in turn is removed.

A server is a cluster here, and calls in flight are per slot, since clusters differ in size; latency is that to the
first token. Probes take a round trip of simulated network. The authors' formula for how often an answer may be used
supposes more servers than answers kept; with fewer, answers are used until they are too old or removed.
"""

from collections import deque
from dataclasses import dataclass
from typing import Final

from federation.view import PoolView
from router.simulation.baselines.ranking import Ranking, nearest_first
from router.simulation.call import SimulatedCall
from router.simulation.cluster import Health, SimulatedCluster
from router.simulation.door import Door

PROBES_PER_CALL: Final = 3
POOL_MAX: Final = 16
POOL_MIN: Final = 2  # With fewer, a server at random: the authors' fallback.
AGE_S_MAX: Final = 1.0
HOT_QUANTILE: Final = 0.84  # 2 to the power of -1/4.
SEEN_MAX: Final = 128  # Calls in flight, to take the quantile of.
NEAR_SHARE: Final = 0.25  # Latencies seen at so nearly the same load count.


@dataclass(slots=True)
class Probe:
    """One answer."""

    cluster: str
    in_flight: float  # Per slot.
    latency_s: float
    at: float
    uses_left: int


class Prequal(Ranking):
    """A pool for each front door."""

    def __init__(self) -> None:
        self._pool: list[Probe] = []
        self._seen: deque[float] = deque(maxlen=SEEN_MAX)
        self._removes_worst = True

    def ranked(self, door: Door, call: SimulatedCall, pools: list[PoolView]) -> list[PoolView]:
        by_name = {pool.cluster: pool for pool in pools}
        self._pool = [probe for probe in self._pool if probe.at >= door.now - AGE_S_MAX and probe.cluster in by_name]
        chosen = self._best() if len(self._pool) >= POOL_MIN else None
        if chosen is not None:
            chosen.uses_left -= 1
            for probe in self._pool:
                if probe.cluster == chosen.cluster:
                    probe.in_flight += 1.0 / max(1.0, by_name[chosen.cluster].slots)
            if chosen.uses_left <= 0:
                self._pool.remove(chosen)
        first = by_name[chosen.cluster] if chosen is not None else door.rng.choice(pools)
        self._remove_one()
        self._send_probes(door, pools)
        return [first, *[pool for pool in nearest_first(door, pools) if pool is not first]]

    def hot_from(self) -> float:
        """Calls in flight per slot from which a server is hot."""
        ordered = sorted(self._seen)
        return ordered[int(HOT_QUANTILE * (len(ordered) - 1))] if ordered else float("inf")

    def _best(self) -> Probe:
        limit = self.hot_from()
        cold = [probe for probe in self._pool if probe.in_flight <= limit]
        if cold:
            return min(cold, key=lambda probe: (probe.latency_s, probe.cluster))
        return min(self._pool, key=lambda probe: (probe.in_flight, probe.cluster))

    def _remove_one(self) -> None:
        """The worst and the oldest in turn."""
        if len(self._pool) <= POOL_MIN:
            return
        if self._removes_worst:
            limit = self.hot_from()
            hot = [probe for probe in self._pool if probe.in_flight > limit]
            worst = (
                max(hot, key=lambda probe: probe.in_flight)
                if hot
                else max(self._pool, key=lambda probe: probe.latency_s)
            )
            self._pool.remove(worst)
        else:
            self._pool.remove(min(self._pool, key=lambda probe: probe.at))
        self._removes_worst = not self._removes_worst

    def _send_probes(self, door: Door, pools: list[PoolView]) -> None:
        for pool in door.rng.sample(pools, min(PROBES_PER_CALL, len(pools))):
            cluster = door.clusters[pool.cluster]
            if cluster.name in door.unheard:
                continue
            door.timeline.after(door.one_way_s[cluster.name], self._answer, (door, cluster))

    def _answer(self, what: tuple[Door, SimulatedCluster]) -> None:
        """At the cluster."""
        door, cluster = what
        if cluster.health is Health.SERVING and cluster.slots:
            in_flight = (cluster.running + cluster.waiting) / cluster.slots
            probe = Probe(cluster.name, in_flight, _latency_s(cluster, in_flight), 0.0, self._uses(door))
            door.timeline.after(door.one_way_s[cluster.name], self._take, (door, probe))

    def _take(self, what: tuple[Door, Probe]) -> None:
        """Back at the front door."""
        door, probe = what
        probe.at = door.now
        self._seen.append(probe.in_flight)
        if len(self._pool) == POOL_MAX:
            self._pool.remove(min(self._pool, key=lambda one: one.at))
        self._pool.append(probe)

    def _uses(self, door: Door) -> int:
        """How often one answer may be used, so that about as many are used up as come in: the authors' b_reuse."""
        servers = len(door.clusters)
        kept = 1.0 - min(POOL_MAX, servers - 1) / servers if servers > 1 else 1.0
        spare = kept * PROBES_PER_CALL - 1.0
        return max(1, round(2.0 / spare)) if spare > 0.1 else POOL_MAX


def _latency_s(cluster: SimulatedCluster, in_flight: float) -> float:
    """The median of first tokens lately at about that load; of all, if there were none."""
    near = [
        ttft_s
        for load, ttft_s in cluster.recent
        if abs(load / cluster.slots - in_flight) <= NEAR_SHARE * max(in_flight, 1.0 / cluster.slots)
    ] or [ttft_s for _, ttft_s in cluster.recent]
    return sorted(near)[len(near) // 2] if near else 0.0
