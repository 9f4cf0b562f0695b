"""SkyWalker: calls wait at the balancer until a replica has nothing pending; then the one that knows their prefix.

SkyWalker: A Locality-Aware Cross-Region Load Balancer for LLM Inference, EuroSys 2026 (arXiv 2505.24095). Its
balancers, one a region, do *selective pushing by pending requests*: a replica is sent more only while its own queue is
empty, which they learn by probing it ten times a second; so what cannot start yet stays where it can go elsewhere.
Among the region's own replicas that can take a call, the one with the longest matching prefix gets it, or the least
loaded when none matches half of it. If none can, it is handed to another region's that can, chosen the same way; if
nobody can, it waits, first in, first out.

A replica is a cluster here. What probes bring is half a round trip old; handing over costs the way, as with us.
"""

from collections import deque
from typing import Final

from federation.view import PoolView
from router.policy.placements import Placements
from router.simulation.baselines.ranking import candidates, load, send
from router.simulation.call import Attempt, SimulatedCall
from router.simulation.cluster import Health, SimulatedCluster
from router.simulation.door import Door
from router.simulation.strategy import Quiet

PROBE_S: Final = 0.1
MATCH_SHARE_MIN: Final = 0.5
WAITING_MAX: Final = 10_000


class SkyWalker(Quiet):
    """One balancer a front door."""

    def __init__(self) -> None:
        self._placements = Placements()
        self._waiting: deque[SimulatedCall] = deque()
        self._pending: dict[str, int] = {}
        self._pushed: dict[str, int] = {}  # Since the last answer of its probe.
        self._probed_at = float("-inf")

    def arrived(self, door: Door, call: SimulatedCall) -> None:
        if len(self._waiting) >= WAITING_MAX:
            door.refuse(call)
            return
        self._waiting.append(call)
        self._push(door)

    def ticked(self, door: Door) -> None:
        if door.now >= self._probed_at + PROBE_S:
            self._probed_at = door.now
            for cluster in door.clusters.values():
                door.timeline.after(door.one_way_s[cluster.name], self._answer, (door, cluster))
        self._push(door)

    def sending(self, door: Door, attempt: Attempt) -> None:
        name = attempt.cluster.name
        self._pushed[name] = self._pushed.get(name, 0) + 1
        if attempt.call.blocks:
            self._placements.note(attempt.call.blocks, name, door.now)

    def _answer(self, what: tuple[Door, SimulatedCluster]) -> None:
        """At the cluster."""
        door, cluster = what
        if cluster.health is Health.SERVING:
            idle = sum([not replica.waiting for replica in cluster.serving_replicas])
            door.timeline.after(door.one_way_s[cluster.name], self._take, (door, cluster.name, idle))

    def _take(self, what: tuple[Door, str, int]) -> None:
        """Back at the balancer."""
        door, name, idle = what
        self._pending[name] = idle
        self._pushed[name] = 0
        self._push(door)

    def _push(self, door: Door) -> None:
        """Sends on what can go, the first in line first."""
        while self._waiting:
            call = self._waiting[0]
            pools = candidates(door, call)
            if not pools:
                door.refuse(self._waiting.popleft())
                continue
            able = [pool for pool in pools if self._can_take(pool)]
            if not able:
                return
            self._waiting.popleft()
            own = [pool for pool in able if pool.region == door.region]
            first = self._best(door, call, own or able)
            others = [pool for pool in able if pool is not first] + [pool for pool in pools if pool not in able]
            send(door, call, [first, *others])

    def _can_take(self, pool: PoolView) -> bool:
        """Whether a replica there has nothing pending, as far as is known; each push fills one."""
        return self._pending.get(pool.cluster, 1) > self._pushed.get(pool.cluster, 0)

    def _best(self, door: Door, call: SimulatedCall, pools: list[PoolView]) -> PoolView:
        depths = self._placements.depths(call.blocks, door.now) if call.blocks else {}
        matching = [pool for pool in pools if depths.get(pool.cluster, (0,))[0] >= MATCH_SHARE_MIN * len(call.blocks)]
        if call.blocks and matching:
            return max(matching, key=lambda pool: (depths.get(pool.cluster, (0,))[0], -load(door, pool), pool.cluster))
        return min(pools, key=lambda pool: (load(door, pool), pool.cluster))
