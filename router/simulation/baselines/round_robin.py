"""Round robin: each in turn, as a proxy does that is told nothing else."""

from federation.view import PoolView
from router.simulation.baselines.ranking import Ranking
from router.simulation.call import SimulatedCall
from router.simulation.door import Door


class RoundRobin(Ranking):
    """One turn a front door."""

    def __init__(self) -> None:
        self._turn = 0

    def ranked(self, door: Door, call: SimulatedCall, pools: list[PoolView]) -> list[PoolView]:
        self._turn += 1
        turn = self._turn % len(pools)
        return pools[turn:] + pools[:turn]
