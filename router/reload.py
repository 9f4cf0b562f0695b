"""Configuration that changes while a front door runs: keys, certificates, inventory, residency, the matrix.

What a process is (its ports, its stores, its bounds) stays until it is started again.
"""

import asyncio
from collections.abc import Callable, Mapping

import structlog

from federation.geography import COORDINATES
from federation.inventory import Inventory
from federation.model import ClusterSpec
from router.configuration import BadConfiguration, Loaded, WatchedFiles
from router.edge.door import FrontDoor
from router.edge.pool import ClusterPool, PoolDirectory
from router.edge.resolver import Resolver
from router.paths import Routes, routes
from router.settings import RouterSettings
from router.tls import ClusterTls, OfferedCertificate, system_tls

RESOLVED_WITHIN_S = 2.0

log = structlog.get_logger()


def residency_of(inventory: Inventory) -> Mapping[str, frozenset[str]]:
    """Residency classes as sets of regions."""
    return {name: frozenset(regions) for name, regions in inventory.residency.items()}


def routes_of(inventory: Inventory) -> Routes:
    """The inference paths that are taken: those that all clusters are asked for, and those that some declare."""
    return routes((row.name, row.paths) for row in inventory.clusters)


def offered_on(loaded: Loaded, *ports: str) -> dict[str, OfferedCertificate]:
    """What a process shows on those of these ports (`tls`, `admin_tls`) that have a certificate."""
    return {port: OfferedCertificate(loaded.offered[port]) for port in ports if port in loaded.offered}


def known_regions(loaded: Loaded) -> frozenset[str]:
    """Every region that a client may name: those with coordinates, with round trips, or with a cluster."""
    measured = {region for pair in loaded.distances.measured for region in pair}
    declared = {row.region for row in loaded.inventory.clusters}
    return frozenset({*COORDINATES, *measured, *declared, loaded.settings.region})


def new_pools(
    pools: PoolDirectory, specs: Mapping[str, ClusterSpec], settings: RouterSettings, tls: ClusterTls | None
) -> PoolDirectory:
    """A pool for each declared cluster that has none at its endpoint and by its name yet."""
    fresh = [
        spec
        for name, spec in specs.items()
        if name not in pools or (pools[name].endpoint, pools[name].server_name) != (spec.endpoint, spec.server_name)
    ]
    if tls is None and any(spec.endpoint.startswith("https:") for spec in fresh):
        tls = system_tls()  # Once for all: reading the system's authorities takes its time.
    return {
        spec.name: ClusterPool(
            spec.name,
            spec.endpoint,
            connect_s=settings.timeouts.connect_s,
            idle_max=settings.edge.idle_connections_max,
            connections_max=settings.edge.connections_max,
            tls=tls,
            server_name=spec.server_name,
        )
        for spec in fresh
    }


def replace_pools(pools: PoolDirectory, fresh: PoolDirectory, specs: Mapping[str, ClusterSpec]) -> None:
    """Put new pools in their places; those replaced or no longer declared finish what they have and go."""
    for name in list(pools):
        if name in fresh or name not in specs:
            pools.pop(name).close()
    pools.update(fresh)


class Reloader:
    """Reads files again when they change; a mistake in the new ones keeps the old and says so."""

    def __init__(
        self,
        door: FrontDoor,
        loaded: Loaded,
        reload: Callable[[], Loaded],
        resolver: Resolver,
        offered: Mapping[str, OfferedCertificate],
    ) -> None:
        self.door = door
        self.resolver = resolver
        self.offered = offered
        self.reload = reload
        self.files = WatchedFiles(loaded.files)

    async def look(self) -> None:
        """One look at the files, off the event loop: a file system may hang."""
        changed = await asyncio.to_thread(self.files.changed)
        if not changed:
            return
        door = self.door
        names = sorted(str(path) for path in changed)
        try:
            renewed = await asyncio.to_thread(self.reload)
        except BadConfiguration as error:
            # What it names counts as well: a key that comes after the inventory that names it, say.
            self.files = WatchedFiles({**self.files.seen, **error.files})
            door.metrics.reloads.labels("kept_old").inc()
            log.error("configuration not taken, the old one stays", files=names, mistakes=list(error.lines))
            return
        self.files = WatchedFiles(renewed.files)
        specs = renewed.inventory.specs()
        fresh = new_pools(door.pools, specs, door.settings, renewed.tls)
        await self.resolver.settle(fresh, RESOLVED_WITHIN_S)  # Before they are put to use: calls never wait for DNS.
        for pool in door.pools.values():
            pool.trust(renewed.tls)
        replace_pools(door.pools, fresh, specs)
        for name, certificate in self.offered.items():
            if name in renewed.offered:
                certificate.take(renewed.offered[name])
        door.feed.declare(specs, renewed.heartbeat_keys, renewed.distances)
        door.declare(residency_of(renewed.inventory), known_regions(renewed), routes_of(renewed.inventory))
        if (renewed.api_keys is None) == (door.keys is None):
            door.keys = renewed.api_keys  # Whether keys are asked for at all is settled at the start.
        door.metrics.reloads.labels("taken").inc()
        for warning in renewed.warnings:
            log.warning("configuration", about=warning)
        log.info("configuration read again", files=names, clusters=len(specs))
