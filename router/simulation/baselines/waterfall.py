"""Waterfall by region, as global load balancers do it: fill the nearest to its limit, then the next.

Google Cloud's documentation of its global load balancers calls this algorithm "waterfall by region": traffic goes to
the closest region until its backends are at their configured capacity (here: calls in flight), and what is more spills
to the next closest that has room; within a region all are loaded evenly (`WATERFALL_BY_REGION` of its
`ServiceLbPolicy`). When all are at their limit, the least loaded takes it, which is our reading.

The limit is an operator's: so many calls in flight a slot. LIMIT is about where an H100 that serves the 8B model begins
to write slower than 20 tokens a second; without it, the balancer would fill whole slots and be no better than nearest.
"""

from typing import Final

from federation.view import PoolView
from router.simulation.baselines.ranking import Ranking, load, nearest_first
from router.simulation.call import SimulatedCall
from router.simulation.door import Door

LIMIT: Final = 0.4


class Waterfall(Ranking):
    """See the module's docstring."""

    def ranked(self, door: Door, call: SimulatedCall, pools: list[PoolView]) -> list[PoolView]:
        regions: dict[str, list[PoolView]] = {}
        for pool in nearest_first(door, pools):
            regions.setdefault(pool.region, []).append(pool)
        roomy: list[PoolView] = []
        full: list[PoolView] = []
        for there in regions.values():
            calls = sum([pool.load(door.own.get(pool.key, 0)) for pool in there])
            has_room = calls < LIMIT * sum([pool.slots for pool in there])
            (roomy if has_room else full).extend(sorted(there, key=lambda pool: (load(door, pool), pool.cluster)))
        return roomy + sorted(full, key=lambda pool: (load(door, pool), pool.cluster))
