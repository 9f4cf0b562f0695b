"""Global least outstanding: whoever has the fewest calls for its size, wherever it is.

As a front door would do it that federates clusters as if they were servers in one rack (`least_request` of Envoy, with
all hosts compared; vllm-router's and LiteLLM's least-busy). The figures are the heartbeats', corrected by own calls.
"""

from federation.view import PoolView
from router.simulation.baselines.ranking import Ranking, load
from router.simulation.call import SimulatedCall
from router.simulation.door import Door


class LeastOutstanding(Ranking):
    """See the module's docstring."""

    def ranked(self, door: Door, call: SimulatedCall, pools: list[PoolView]) -> list[PoolView]:
        return sorted(pools, key=lambda pool: (load(door, pool), pool.cluster))
