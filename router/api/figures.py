"""What stands behind an admin port: one process, or several whose figures are one."""

from typing import Any, Protocol

from prometheus_client import CollectorRegistry, generate_latest

from router.edge.door import FrontDoor


class Figures(Protocol):
    """The figures of everything that takes calls on the main port."""

    async def page(self) -> bytes:
        """The page that a scrape reads."""
        ...

    def totals(self) -> dict[str, Any]:
        """What the status shows of calls: `calls_in_flight`, `decisions`, and `workers` where there are any."""
        ...

    def unready(self) -> str | None:
        """Why nobody takes calls; None if somebody does."""
        ...


class OneProcess:
    """This process alone."""

    def __init__(self, door: FrontDoor, registry: CollectorRegistry) -> None:
        self.door = door
        self.registry = registry

    async def page(self) -> bytes:
        self.set_gauges()
        return generate_latest(self.registry)

    def set_gauges(self) -> None:
        """What nobody counts along the way."""
        metrics = self.door.metrics
        metrics.in_flight.set(len(self.door.active))
        for name, pool in self.door.pools.items():
            metrics.upstream_connections.labels(name).set(pool.open)

    def totals(self) -> dict[str, Any]:
        return {"calls_in_flight": len(self.door.active), "decisions": self.door.metrics.decisions()}

    def unready(self) -> str | None:
        return None
