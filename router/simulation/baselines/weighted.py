"""Weighted at random: each as often as it has slots, as weighted clusters of a service mesh are set up."""

from federation.view import PoolView
from router.simulation.baselines.ranking import ATTEMPTS, Ranking
from router.simulation.call import SimulatedCall
from router.simulation.door import Door


class Weighted(Ranking):
    """Slots as last reported."""

    def ranked(self, door: Door, call: SimulatedCall, pools: list[PoolView]) -> list[PoolView]:
        left = list(pools)
        order: list[PoolView] = []
        while left and len(order) < ATTEMPTS:
            chosen = door.rng.choices(left, [max(pool.slots, 1e-9) for pool in left])[0]
            left.remove(chosen)
            order.append(chosen)
        return order
