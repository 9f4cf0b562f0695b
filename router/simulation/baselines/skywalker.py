"""SkyWalker: calls wait at the balancer until a replica has nothing pending; then the one that knows their prefix.

SkyWalker: A Locality-Aware Cross-Region Load Balancer for LLM Inference, EuroSys 2026 (arXiv 2505.24095). Its
balancers, one a region, do *selective pushing by pending requests*: a replica is sent more only while its own queue is
empty, which they learn by probing it ten times a second; so what cannot start yet stays where it can go elsewhere.
Among the region's own replicas that can take a call, the one with the longest matching prefix gets it, or the least
loaded when none matches half of it. If none can, it is handed to another region's that can, chosen the same way; if
nobody can, it waits, first in, first out.

A replica is a cluster here, and what is handed over goes straight to it: the balancer beside it would have it on its
way a little longer, and could still send it elsewhere. What probes bring is half a round trip old.
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


class Balancer:
    """What the front doors of one region share: the line, what is known of clusters, and which prefixes went where."""

    def __init__(self) -> None:
        self.placements = Placements()
        self.waiting: deque[tuple[Door, SimulatedCall]] = deque()
        self.idle: dict[str, int] = {}  # Replicas with nothing pending, as a probe last told.
        self.pushed: dict[str, int] = {}  # Since then.
        self.probed_at = float("-inf")

    def can_take(self, pool: PoolView) -> bool:
        """Whether a replica there has nothing pending, as far as is known; each push fills one."""
        return self.idle.get(pool.cluster, 1) > self.pushed.get(pool.cluster, 0)


class SkyWalker(Quiet):
    """The balancer of its region, at one of its front doors."""

    def arrived(self, door: Door, call: SimulatedCall) -> None:
        balancer = balancer_of(door)
        if len(balancer.waiting) >= WAITING_MAX:
            door.refuse(call)
            return
        balancer.waiting.append((door, call))
        _push(balancer)

    def ticked(self, door: Door) -> None:
        balancer = balancer_of(door)
        if door.now >= balancer.probed_at + PROBE_S:
            balancer.probed_at = door.now
            for cluster in door.clusters.values():
                if cluster.name not in door.unheard:
                    door.timeline.after(door.one_way_s[cluster.name], _answer, (door, cluster))
        _push(balancer)

    def sending(self, door: Door, attempt: Attempt) -> None:
        balancer, name = balancer_of(door), attempt.cluster.name
        balancer.pushed[name] = balancer.pushed.get(name, 0) + 1
        if attempt.call.blocks:
            balancer.placements.note(attempt.call.blocks, name, door.now)


def balancer_of(door: Door) -> Balancer:
    """That of the door's region."""
    found = door.shared.setdefault("skywalker", Balancer())
    assert isinstance(found, Balancer)
    return found


def _answer(what: tuple[Door, SimulatedCluster]) -> None:
    """A probe at the cluster."""
    door, cluster = what
    if cluster.health is Health.SERVING:
        idle = sum([not replica.waiting for replica in cluster.serving_replicas])
        door.timeline.after(door.one_way_s[cluster.name], _take, (door, cluster.name, idle))


def _take(what: tuple[Door, str, int]) -> None:
    """Its answer, back at the balancer."""
    door, name, idle = what
    balancer = balancer_of(door)
    balancer.idle[name] = idle
    balancer.pushed[name] = 0
    _push(balancer)


def _push(balancer: Balancer) -> None:
    """Sends on what can go, the first in line first."""
    while balancer.waiting:
        door, call = balancer.waiting[0]
        pools = candidates(door, call)
        if not pools:
            balancer.waiting.popleft()
            door.refuse(call)
            continue
        able = [pool for pool in pools if balancer.can_take(pool)]
        if not able:
            return
        balancer.waiting.popleft()
        own = [pool for pool in able if pool.region == door.region]
        first = _best(balancer, door, call, own or able)
        others = [pool for pool in able if pool is not first] + [pool for pool in pools if pool not in able]
        send(door, call, [first, *others])


def _best(balancer: Balancer, door: Door, call: SimulatedCall, pools: list[PoolView]) -> PoolView:
    depths = balancer.placements.depths(call.blocks, door.now) if call.blocks else {}
    matching = [pool for pool in pools if depths.get(pool.cluster, (0,))[0] >= MATCH_SHARE_MIN * len(call.blocks)]
    if call.blocks and matching:
        return max(matching, key=lambda pool: (depths.get(pool.cluster, (0,))[0], -load(door, pool), pool.cluster))
    return min(pools, key=lambda pool: (load(door, pool), pool.cluster))
