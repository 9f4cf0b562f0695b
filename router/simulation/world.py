"""One simulation: a scenario, a strategy for each front door, a seed. Pure, and deterministic to the last bit.

Each component draws from a random generator of its own, so that another policy meets the same calls, and a fault more
does not reshuffle them.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from random import Random
from typing import Final

from federation.geography import Distances
from federation.lab.presets import PRESETS
from federation.lab.replica_spec import ReplicaSpec
from federation.model import ClusterSpec, DeclaredPool
from router.replay.traces import BLOCK_TOKENS
from router.simulation import faults
from router.simulation.call import SimulatedCall
from router.simulation.cluster import SimulatedCluster
from router.simulation.door import PROBE_S, TICK_S, Door
from router.simulation.heartbeats import Agent, Reader, Store
from router.simulation.scenario import ClusterRow, Scenario, expanded
from router.simulation.strategy import Strategy
from router.simulation.timeline import Timeline

POLL_S: Final = 0.05  # The delay of a heartbeat already holds a reader's share.
EMPTY_S_MAX: Final = 600.0  # After the last arrival, for the rest to end.

StrategyMaker = Callable[["World"], Strategy]
Watch = Callable[[float], None]


def replica_of(row: ClusterRow) -> ReplicaSpec:
    """A replica of that accelerator, whose cache is cut into the blocks of traces."""
    return replace(PRESETS[row.accelerator], block_tokens=BLOCK_TOKENS)


class World:
    """Everything there is. `run` once."""

    def __init__(
        self,
        scenario: Scenario,
        distances: Distances,
        calls: Iterable[SimulatedCall],
        strategy: StrategyMaker,
        seed: int,
    ) -> None:
        self.scenario = scenario
        self.distances = distances
        self.timeline = Timeline()
        self.seed = seed
        self.rows = expanded(scenario.clusters)
        self.store = Store()
        self.clusters = {
            name: SimulatedCluster(name, row.region, row.model, [replica_of(row)] * row.replicas, self.timeline)
            for name, row in self.rows.items()
        }
        sick: set[str] = set()
        for cluster in self.clusters.values():
            cluster.sick = sick
        specs = {name: _declared(name, row) for name, row in self.rows.items()}
        beats = scenario.heartbeats
        self.agents = {
            name: Agent(
                cluster,
                self.store,
                self.timeline,
                self.rng("agent", name),
                beats.interval_s,
                beats.delay_s,
                beats.loss,
            )
            for name, cluster in self.clusters.items()
        }
        self.doors: list[Door] = []
        for region in scenario.door_regions:
            shared: dict[str, object] = {}
            for number in range(1, scenario.front_doors.per_region + 1):
                name = f"{region}/{number}"
                self.doors.append(
                    Door(
                        name,
                        region,
                        self.clusters,
                        specs,
                        distances,
                        strategy(self),
                        shared,
                        self.timeline,
                        self.rng("door", name),
                    )
                )
        self._doors_of: dict[str, list[Door]] = {}
        for door in self.doors:
            self._doors_of.setdefault(door.region, []).append(door)
        self._balancer = self.rng("balancer")
        self._arrivals: Iterator[SimulatedCall] = iter(calls)
        self.calls: list[SimulatedCall] = []

    def rng(self, *component: str) -> Random:
        """A generator of a component's own."""
        return Random("/".join((str(self.seed), *component)))

    def run(self, watch: Watch | None = None) -> list[SimulatedCall]:
        """All calls, once they have ended. `watch` is told how many seconds have passed, now and then."""
        timeline = self.timeline
        for agent in self.agents.values():
            agent.start()
        offsets = self.rng("offsets")
        for door, reader in [(door, Reader(self.store, door)) for door in self.doors]:
            timeline.after(offsets.random() * POLL_S, _Repeated(timeline, POLL_S, reader.poll))
            timeline.after(offsets.random() * TICK_S, _Repeated(timeline, TICK_S, _Tick(door)))
            timeline.after(offsets.random() * PROBE_S, _Repeated(timeline, PROBE_S, door.probe))
        for fault in self.scenario.faults:
            faults.schedule(self, fault)
        self._next_arrival(None)
        second = 0.0
        end_s = self.scenario.duration_s + EMPTY_S_MAX
        while second < end_s and not (second >= self.scenario.duration_s and self._is_empty()):
            second += 1.0
            timeline.run(second)
            if watch is not None:
                watch(second)
        return self.calls

    def _is_empty(self) -> bool:
        return not any(count for door in self.doors for count in door.own.values())

    def _next_arrival(self, call: SimulatedCall | None) -> None:
        if call is not None:
            self.calls.append(call)
            doors = self._doors_of[call.origin]
            door = doors[0] if len(doors) == 1 else doors[self._balancer.randrange(len(doors))]
            door.arrive(call)
        following = next(self._arrivals, None)
        if following is not None:
            self.timeline.at(following.at, self._next_arrival, following)


class _Repeated:
    """A loop: does something again and again, on a schedule that does not drift."""

    __slots__ = ("_act", "_due", "_every_s", "_timeline")

    def __init__(self, timeline: Timeline, every_s: float, act: Callable[[], None]) -> None:
        self._timeline = timeline
        self._every_s = every_s
        self._act = act
        self._due: float | None = None

    def __call__(self, _: object) -> None:
        self._due = (self._timeline.now if self._due is None else self._due) + self._every_s
        self._timeline.at(self._due, self)
        self._act()


class _Tick:
    """A door's tick."""

    __slots__ = ("_door",)

    def __init__(self, door: Door) -> None:
        self._door = door

    def __call__(self) -> None:
        self._door.tick(self._door.now * 1000)


def _declared(name: str, row: ClusterRow) -> ClusterSpec:
    slots = row.replicas * PRESETS[row.accelerator].max_running
    return ClusterSpec(name=name, region=row.region, endpoint=f"sim://{name}", models={row.model: DeclaredPool(slots)})
