"""Connections that stand ready before a call needs them. The outside world: clusters."""

import asyncio

from federation.ejection import Cause, State
from router.edge.door import FrontDoor


def keep_warm(door: FrontDoor) -> None:
    """One round: open what is missing, in the background. Where nobody answers, probes alone knock."""
    now = asyncio.get_running_loop().time()
    for name, belief in door.feed.snapshot.beliefs.items():
        standing = belief.standing
        if standing.state is State.EJECTED and standing.cause is Cause.UNREACHABLE:
            continue
        if (pool := door.pools.get(name)) is not None:
            pool.warm(now, door.settings.edge.warm_connections)
