"""Waterfall by region, as global load balancers do it: fill the nearest to its limit, then the next.

Google Cloud's documentation of its global load balancers calls this algorithm "waterfall by region": traffic goes to
the closest region until its backends are at their configured capacity (here: calls in flight), and what is more spills
to the next closest that has room. When all are at their limit, traffic is spread over all by their capacity.

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
        loads = {pool.cluster: load(door, pool) for pool in pools}
        roomy = nearest_first(door, [pool for pool in pools if loads[pool.cluster] < LIMIT])
        full = sorted(
            [pool for pool in pools if loads[pool.cluster] >= LIMIT],
            key=lambda pool: (loads[pool.cluster], pool.cluster),
        )
        return roomy + full
