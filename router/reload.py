"""Configuration that changes while a front door runs: keys, inventory, residency, the matrix.

What a process is (its ports, its stores, its bounds) stays until it is started again.
"""

import asyncio
from collections.abc import Callable, Mapping

import structlog

from federation.inventory import Inventory
from federation.model import ClusterSpec
from router.configuration import BadConfiguration, Loaded, WatchedFiles
from router.edge.door import FrontDoor
from router.edge.pool import ClusterPool, PoolDirectory
from router.settings import RouterSettings

log = structlog.get_logger()


def residency_of(inventory: Inventory) -> Mapping[str, frozenset[str]]:
    """Residency classes as sets of regions."""
    return {name: frozenset(regions) for name, regions in inventory.residency.items()}


def match_pools(pools: PoolDirectory, specs: Mapping[str, ClusterSpec], settings: RouterSettings) -> None:
    """One pool for each declared cluster: new ones added, changed ones replaced, others let go."""
    for name in list(pools):
        spec = specs.get(name)
        if spec is None or spec.endpoint != pools[name].endpoint:
            pools.pop(name).close()
    for name, spec in specs.items():
        if name not in pools:
            pools[name] = ClusterPool(
                name,
                spec.endpoint,
                connect_s=settings.timeouts.connect_s,
                idle_max=settings.edge.idle_connections_max,
            )


async def resolve_all(pools: PoolDirectory) -> None:
    """Ask DNS for the endpoints that have names."""
    await asyncio.gather(*(pool.resolve() for pool in list(pools.values())))


class Reloader:
    """Reads keys, inventory and matrix again when their files change; a mistake keeps the old and says so."""

    def __init__(self, door: FrontDoor, loaded: Loaded, reload: Callable[[], Loaded]) -> None:
        self.door = door
        self.reload = reload
        self.files = WatchedFiles(loaded.files)

    async def look(self) -> None:
        """One look at the files."""
        changed = self.files.changed()
        if not changed:
            return
        door = self.door
        names = sorted(str(path) for path in changed)
        try:
            renewed = await asyncio.to_thread(self.reload)
        except BadConfiguration as error:
            door.metrics.reloads.labels("kept_old").inc()
            log.error("configuration not taken, the old one stays", files=names, mistakes=list(error.lines))
            return
        self.files = WatchedFiles(renewed.files)
        specs = renewed.inventory.specs()
        match_pools(door.pools, specs, door.settings)
        await resolve_all(door.pools)
        door.feed.declare(specs, renewed.heartbeat_keys, renewed.distances)
        door.residency = residency_of(renewed.inventory)
        if (renewed.api_keys is None) == (door.keys is None):
            door.keys = renewed.api_keys  # Whether keys are asked for at all is settled at the start.
        door.metrics.reloads.labels("taken").inc()
        log.info("configuration read again", files=names, clusters=len(specs))
