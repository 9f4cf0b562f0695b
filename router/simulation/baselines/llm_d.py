"""llm-d Router's scorers over clusters: queue depth and KV cache, normalised; prefix and session affinity; no distance.

The endpoint picker of llm-d (0.10, multi-cluster) and of the Gateway API Inference Extension scores every endpoint with
weighted scorers and takes the highest; ties at random. Here an endpoint is a cluster, its figures those of heartbeats:

- queue depth: (most - own) / (most - least) over the candidates, 1 where all are equal; weight 2
- KV-cache utilisation: likewise; weight 2
- prefix: share of the prompt's blocks that were sent there before; weight 3
- session: 1 where the session was last; weight 1

Own calls since the heartbeat are not known to it: its figures come from scrapes alone.
"""

from typing import Final

from federation.capacity import pool_of
from federation.view import PoolView
from router.policy.placements import Placements
from router.simulation.baselines.ranking import Ranking
from router.simulation.call import Attempt, SimulatedCall
from router.simulation.door import Door

QUEUE: Final = 2.0
KV_CACHE: Final = 2.0
PREFIX: Final = 3.0
SESSION: Final = 1.0
SESSIONS_MAX: Final = 100_000


class LlmD(Ranking):
    """See the module's docstring."""

    def __init__(self) -> None:
        self._placements = Placements()
        self._sessions: dict[str, str] = {}

    def ranked(self, door: Door, call: SimulatedCall, pools: list[PoolView]) -> list[PoolView]:
        reported = {pool.cluster: pool_of(door.snapshot.beliefs[pool.cluster], call.model) for pool in pools}
        queues = _normalised({name: float(said.waiting) if said else 0.0 for name, said in reported.items()})
        caches = _normalised({name: said.kv_cache_utilization_mean if said else 0.0 for name, said in reported.items()})
        depths = self._placements.depths(call.blocks, door.now) if call.blocks else {}
        session = self._sessions.get(call.session) if call.session is not None else None

        def score(name: str) -> float:
            prefix = depths[name][0] / len(call.blocks) if name in depths else 0.0
            return QUEUE * queues[name] + KV_CACHE * caches[name] + PREFIX * prefix + SESSION * (session == name)

        scores = {pool.cluster: (score(pool.cluster), door.rng.random()) for pool in pools}
        return sorted(pools, key=lambda pool: scores[pool.cluster], reverse=True)

    def sending(self, door: Door, attempt: Attempt) -> None:
        call, name = attempt.call, attempt.cluster.name
        if call.blocks:
            self._placements.note(call.blocks, name, door.now)
        if call.session is not None:
            self._sessions.pop(call.session, None)
            self._sessions[call.session] = name
            if len(self._sessions) > SESSIONS_MAX:
                del self._sessions[next(iter(self._sessions))]


def _normalised(figures: dict[str, float]) -> dict[str, float]:
    """1 for the least of the candidates, 0 for the most; 1 for all where all are equal."""
    most, least = max(figures.values()), min(figures.values())
    return {name: (most - value) / (most - least) if most > least else 1.0 for name, value in figures.items()}
