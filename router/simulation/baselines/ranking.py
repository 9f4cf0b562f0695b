"""What most baselines have in common: an order of the clusters that may serve a call, worked out when it arrives."""

from collections.abc import Sequence
from typing import Final

from federation.view import PoolView
from router.decision import Reason
from router.simulation.call import SimulatedCall
from router.simulation.door import Door
from router.simulation.strategy import Quiet

ATTEMPTS: Final = 3  # As many clusters as a call is tried at.


class Ranking(Quiet):
    """Sends every call at once, to the first of an order."""

    def arrived(self, door: Door, call: SimulatedCall) -> None:
        pools = candidates(door, call)
        if pools:
            send(door, call, self.ranked(door, call, pools))
        else:
            door.refuse(call)

    def ranked(self, door: Door, call: SimulatedCall, pools: list[PoolView]) -> Sequence[PoolView]:
        """Best first. `pools`: at least one, by name."""
        raise NotImplementedError


def candidates(door: Door, call: SimulatedCall) -> list[PoolView]:
    """Clusters in good standing; if there are none, those that answer all the same."""
    pools = door.pools(call.model)
    return [pool for pool in pools if pool.drop is None] or [pool for pool in pools if pool.in_panic]


def send(door: Door, call: SimulatedCall, order: Sequence[PoolView]) -> None:
    """To the first of them, and on to the others if that fails."""
    reason = Reason.NEAREST if order[0].region == door.region else Reason.OVERFLOW
    door.send(call, tuple([pool.cluster for pool in order[:ATTEMPTS]]), reason)


def nearest_first(door: Door, pools: Sequence[PoolView]) -> list[PoolView]:
    """By distance, ties by name."""
    return sorted(pools, key=lambda pool: (door.one_way_s[pool.cluster], pool.cluster))


def load(door: Door, pool: PoolView) -> float:
    """Calls there, as believed, per slot."""
    return pool.saturation(door.own.get(pool.key, 0))
