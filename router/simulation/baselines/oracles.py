"""Two oracles: they see every replica as it is now, and what is on its way there. Nobody can have that.

Of a cluster's health they know what the front door knows, no more: they are measures of placing, not of detection.

*Greedy* sends each call where its first token will come soonest: the round trip, what is queued before it at the
replica that its gateway would choose, and its own prompt less what is cached there. *Clairvoyant* knows besides how
long every answer will be, and sends each call where its last token will come soonest.
"""

from federation.lab.batching import Replica
from federation.view import PoolView
from router.simulation.baselines.ranking import Ranking
from router.simulation.call import SimulatedCall
from router.simulation.cluster import SimulatedCluster
from router.simulation.door import Door


class Greedy(Ranking):
    """See the module's docstring."""

    def ranked(self, door: Door, call: SimulatedCall, pools: list[PoolView]) -> list[PoolView]:
        costs = {pool.cluster: self._cost_s(door, call, door.clusters[pool.cluster]) for pool in pools}
        return sorted(pools, key=lambda pool: (costs[pool.cluster], pool.cluster))

    def _cost_s(self, door: Door, call: SimulatedCall, cluster: SimulatedCluster) -> float:
        cluster.settle()
        coming_s = cluster.coming_tokens * cluster.specs[0].prefill_s / max(1, len(cluster.serving_replicas))
        ttft = ttft_s(cluster.least_outstanding, call, cluster.slow)
        return 2 * door.one_way_s[cluster.name] + ttft + cluster.slow * coming_s


class Clairvoyant(Greedy):
    """See the module's docstring."""

    def _cost_s(self, door: Door, call: SimulatedCall, cluster: SimulatedCluster) -> float:
        first_s = super()._cost_s(door, call, cluster)
        return first_s + call.output_tokens * tpot_s(cluster.least_outstanding, call, cluster.slow)


def ttft_s(replica: Replica, call: SimulatedCall, slow: float) -> float:
    """Seconds until a call that reaches the replica now has its first token there."""
    spec = replica.spec
    cached = replica.cached_tokens(call.blocks, call.prompt_tokens)
    pending_tokens, pending_s = replica.pending
    own_tokens = call.prompt_tokens - cached
    steps = 1 + (own_tokens + pending_tokens) // spec.max_batched_tokens
    work_s = pending_s + spec.chunk_s(own_tokens, cached)
    return spec.accept_s + slow * (work_s + steps * spec.decode_step_s(replica.decoding, replica.context_tokens))


def tpot_s(replica: Replica, call: SimulatedCall, slow: float) -> float:
    """Seconds per token after that, as long as what runs now goes on."""
    return slow * replica.spec.decode_step_s(replica.decoding + 1, replica.context_tokens + call.prompt_tokens)
