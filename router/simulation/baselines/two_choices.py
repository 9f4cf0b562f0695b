"""Power of two choices: two at random, and of them the one with fewer calls for its size.

M. Mitzenmacher, The power of two choices in randomized load balancing, IEEE TPDS 12 (2001); Envoy's `least_request`
with its default of two, and the default of many a service mesh.
"""

from federation.view import PoolView
from router.simulation.baselines.ranking import ATTEMPTS, Ranking, load
from router.simulation.call import SimulatedCall
from router.simulation.door import Door


class TwoChoices(Ranking):
    """See the module's docstring. Those after the two are for when both fail."""

    def ranked(self, door: Door, call: SimulatedCall, pools: list[PoolView]) -> list[PoolView]:
        drawn = door.rng.sample(pools, min(ATTEMPTS, len(pools)))
        return sorted(drawn[:2], key=lambda pool: (load(door, pool), pool.cluster)) + drawn[2:]
