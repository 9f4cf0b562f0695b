"""Nearest only: DNS by latency, or anycast. Goes elsewhere only when the nearest is out."""

from federation.view import PoolView
from router.simulation.baselines.ranking import Ranking, nearest_first
from router.simulation.call import SimulatedCall
from router.simulation.door import Door


class Nearest(Ranking):
    """See the module's docstring."""

    def ranked(self, door: Door, call: SimulatedCall, pools: list[PoolView]) -> list[PoolView]:
        return nearest_first(door, pools)
