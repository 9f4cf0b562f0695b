"""What can befall a simulated fleet, by the name that scenario files give it. Pure."""

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from federation.fold import DrainSeen
from federation.model import Drain

if TYPE_CHECKING:
    from router.simulation.cluster import SimulatedCluster
    from router.simulation.scenario import FaultRow
    from router.simulation.world import World


def _lose(world: "World", fault: "FaultRow", clusters: Iterable["SimulatedCluster"]) -> None:
    for cluster in clusters:
        cluster.lose()


def _return(world: "World", fault: "FaultRow", clusters: Iterable["SimulatedCluster"]) -> None:
    for cluster in clusters:
        world.agents[cluster.name].restart()
        cluster.heal()


def _cut_off(world: "World", fault: "FaultRow", clusters: Iterable["SimulatedCluster"]) -> None:
    for cluster in clusters:
        cluster.cut_off()


def _unwell(world: "World", fault: "FaultRow", clusters: Iterable["SimulatedCluster"]) -> None:
    for cluster in clusters:
        cluster.unwell()


def _heal(world: "World", fault: "FaultRow", clusters: Iterable["SimulatedCluster"]) -> None:
    for cluster in clusters:
        cluster.heal()


def _slow(world: "World", fault: "FaultRow", clusters: Iterable["SimulatedCluster"]) -> None:
    for cluster in clusters:
        cluster.slow_down(fault.factor)


def _at_speed(world: "World", fault: "FaultRow", clusters: Iterable["SimulatedCluster"]) -> None:
    for cluster in clusters:
        cluster.slow_down(1.0)


def _cut_capacity(world: "World", fault: "FaultRow", clusters: Iterable["SimulatedCluster"]) -> None:
    for cluster in clusters:
        cluster.cut_capacity(fault.replicas)


def _restore_capacity(world: "World", fault: "FaultRow", clusters: Iterable["SimulatedCluster"]) -> None:
    for cluster in clusters:
        cluster.cut_capacity(0)


def _silence(world: "World", fault: "FaultRow", clusters: Iterable["SimulatedCluster"]) -> None:
    for cluster in clusters:
        world.agents[cluster.name].is_silent = True


def _speak(world: "World", fault: "FaultRow", clusters: Iterable["SimulatedCluster"]) -> None:
    for cluster in clusters:
        world.agents[cluster.name].is_silent = False


def _lose_store(world: "World", fault: "FaultRow", clusters: Iterable["SimulatedCluster"]) -> None:
    world.store.is_reachable = False


def _return_store(world: "World", fault: "FaultRow", clusters: Iterable["SimulatedCluster"]) -> None:
    world.store.is_reachable = True


def _part(world: "World", fault: "FaultRow", clusters: Iterable["SimulatedCluster"]) -> None:
    for door in world.doors:
        if door.region == fault.door:
            door.part_from(frozenset(cluster.name for cluster in clusters))


def _join(world: "World", fault: "FaultRow", clusters: Iterable["SimulatedCluster"]) -> None:
    for door in world.doors:
        if door.region == fault.door:
            door.part_from(frozenset())


def _drain(world: "World", fault: "FaultRow", clusters: Iterable["SimulatedCluster"]) -> None:
    _say_drained(world, clusters, active=True)


def _undrain(world: "World", fault: "FaultRow", clusters: Iterable["SimulatedCluster"]) -> None:
    _say_drained(world, clusters, active=False)


def _say_drained(world: "World", clusters: Iterable["SimulatedCluster"], *, active: bool) -> None:
    for cluster in clusters:
        version_ms = int(world.timeline.now * 1000) + 1
        drain = Drain(
            cluster=cluster.name, active=active, reason="scenario", version_ms=version_ms, until_unix_ms=1 << 60
        )
        for door in world.doors:
            world.timeline.after(world.scenario.heartbeats.delay_s, door.put, DrainSeen(drain))


Act = Callable[["World", "FaultRow", Iterable["SimulatedCluster"]], None]

FAULTS: Final[Mapping[str, tuple[Act, Act]]] = MappingProxyType(
    {
        "region_lost": (_lose, _return),
        "region_frozen": (_cut_off, _heal),
        "black_hole": (_cut_off, _heal),
        "unwell": (_unwell, _heal),
        "slow": (_slow, _at_speed),
        "capacity_cut": (_cut_capacity, _restore_capacity),
        "agent_lost": (_silence, _speak),
        "redis_lost": (_lose_store, _return_store),
        "partition": (_part, _join),
        "drain": (_drain, _undrain),
        "flapping": (_lose, _return),  # Again and again: see `schedule`.
    }
)
"""What happens when each begins, and when it ends."""

NEEDS_CLUSTER: Final = frozenset(FAULTS) - {"redis_lost"}


def schedule(world: "World", fault: "FaultRow") -> None:
    """Puts a fault's beginning and end on the timeline."""
    begin, end = FAULTS[fault.kind]
    clusters = [
        cluster
        for cluster in world.clusters.values()
        if fault.target in (cluster.name, cluster.region, cluster.name.rpartition("-")[0])
    ]
    spans = [(fault.at_s, fault.at_s + fault.for_s)]
    if fault.kind == "flapping":
        count = max(1, int(fault.for_s / fault.every_s))
        starts = [fault.at_s + number * fault.every_s for number in range(count)]
        spans = [(start, start + fault.every_s / 2) for start in starts]
    for begins_at, ends_at in spans:
        world.timeline.at(begins_at, lambda _: begin(world, fault, clusters))
        world.timeline.at(ends_at, lambda _: end(world, fault, clusters))
