"""When calls come, from where, and how long they are: a trace's, or generated ones. Pure, from a seed.

Time of day is a cosine: each region's rate is highest at two in the afternoon of its own longitude, and a stated share
of that at night. A trace has no places in it, so conversations, which are told by the blocks that they share, are
given to regions by weight and time of day; what belongs together stays together.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from random import Random
from typing import Final

from federation.geography import COORDINATES
from router.replay.traces import BLOCK_TOKENS, Arrival
from router.simulation.call import SimulatedCall
from router.simulation.scenario import Lengths, Scenario, Workload

PEAK_HOUR: Final = 14.0
BURN_IN: Final = 3.0  # Lengths of a conversation before the beginning, so that as many go on then as later.
SHARED_BLOCKS_MAX: Final = 2  # Of a trace: blocks that begin so many conversations are system prompts, not turns.
Z95: Final = 1.6449


def drawn_length(lengths: Lengths, rng: Random) -> int:
    """A token count from a log-normal distribution with that median and 95th percentile."""
    sigma = math.log(lengths.p95 / lengths.median) / Z95
    return max(1, min(lengths.most, round(rng.lognormvariate(math.log(lengths.median), sigma))))


def day_share(region: str, at_s: float, workload: Workload) -> float:
    """A region's rate at that time, as a share of its highest; 1 where no day was asked for."""
    if workload.day_s is None:
        return 1.0
    longitude = COORDINATES[region][1] if region in COORDINATES else 0.0
    hour = 24.0 * at_s / workload.day_s + longitude / 15.0
    return workload.night + (1.0 - workload.night) * 0.5 * (1.0 + math.cos((hour - PEAK_HOUR) / 12.0 * math.pi))


def surge_factor(region: str, at_s: float, workload: Workload) -> float:
    """By how much surges multiply a region's rate then."""
    factor = 1.0
    for surge in workload.surges:
        if surge.region == region and surge.at_s <= at_s < surge.at_s + surge.for_s:
            factor *= surge.times
    return factor


@dataclass(frozen=True, slots=True)
class Demand:
    """Everything that says what comes: the regions' weights add up to 1."""

    workload: Workload
    rate: float  # Calls a second, mean over all regions and the day, surges apart.
    weights: Mapping[str, float]
    model: str

    @classmethod
    def of(cls, scenario: Scenario, rate: float) -> "Demand":
        regions = scenario.door_regions
        weights = scenario.workload.regions or dict.fromkeys(regions, 1.0)
        total = sum(weights.values())
        shares = {region: weights.get(region, 0.0) / total for region in regions if weights.get(region, 0.0) > 0}
        return cls(scenario.workload, rate, shares, scenario.clusters[0].model)

    def region_rate(self, region: str, at_s: float) -> float:
        """Calls a second from a region at that time."""
        mean = 1.0 if self.workload.day_s is None else (1.0 + self.workload.night) / 2
        factor = day_share(region, at_s, self.workload) / mean
        return self.rate * self.weights[region] * factor * surge_factor(region, at_s, self.workload)


def generated(demand: Demand, duration_s: float, rng: Random) -> Iterator[SimulatedCall]:
    """Calls in order of time: conversations begin by a Poisson process of their region, and go on by themselves."""
    calls: list[SimulatedCall] = []
    numbers, blocks = count(), count(1 << 20)
    systems = _systems(demand.workload, blocks)
    for region in sorted(demand.weights):
        own = Random(f"{rng.getrandbits(64)}/{region}")
        for at in _beginnings(demand, region, duration_s, own):
            turns = _conversation(demand, region, at, duration_s, own, numbers, blocks, systems)
            calls += [call for call in turns if call.at >= 0.0]
    yield from _numbered(calls)


def traced(demand: Demand, arrivals: Sequence[Arrival], duration_s: float, rng: Random) -> Iterator[SimulatedCall]:
    """A trace's calls in order of time, its pace changed to the demand's rate, round and round if it is too short.

    A surge adds to its region as many calls as it asks for: copies of others, under blocks of their own.
    """
    span_s = arrivals[-1].at_s + arrivals[-1].at_s / max(1, len(arrivals) - 1)
    pace = demand.rate * span_s / len(arrivals)
    homes = _Homes(demand, rng)
    calls: list[SimulatedCall] = []
    rounds = math.ceil(duration_s * pace / span_s) if span_s > 0 else 1
    for lap in range(rounds):
        for arrival in arrivals:
            at = (arrival.at_s + lap * span_s) / pace
            if at >= duration_s:
                break
            blocks = tuple([block + lap * 10_000_019 for block in arrival.blocks])
            region, session = homes.of(blocks, at)
            copies = surge_factor(region, at, demand.workload)
            for copy in range(int(copies) + (rng.random() < copies % 1)):
                own = blocks if not copy else tuple([block + copy * 1_000_000_007 for block in blocks])
                calls.append(_call(demand, region, at, arrival.prompt_tokens, arrival.output_tokens, own, session, rng))
    yield from _numbered(calls)


def _numbered(calls: list[SimulatedCall]) -> Iterator[SimulatedCall]:
    calls.sort(key=lambda call: call.at)
    for number, call in enumerate(calls):
        call.number = number
        yield call


def _call(
    demand: Demand,
    region: str,
    at: float,
    prompt_tokens: int,
    output_tokens: int,
    blocks: tuple[int, ...],
    session: str,
    rng: Random,
) -> SimulatedCall:
    tenants = demand.workload.tenants
    tenant = tenants[0] if len(tenants) == 1 else rng.choices(tenants, [one.share for one in tenants])[0]
    return SimulatedCall(
        0,
        at,
        region,
        demand.model,
        max(1, prompt_tokens),
        max(1, output_tokens),
        blocks,
        session,
        tenant.name,
        tenant.priority,
    )


def _beginnings(demand: Demand, region: str, duration_s: float, rng: Random) -> Iterator[float]:
    """Moments at which conversations begin: a Poisson process of changing rate, thinned from its highest."""
    workload = demand.workload
    highest = demand.rate * demand.weights[region] * 2.0 / (1.0 + workload.night if workload.day_s else 2.0)
    for surge in workload.surges:
        highest *= max(1.0, surge.times) if surge.region == region else 1.0
    highest /= workload.turns
    before_s = BURN_IN * workload.turns * workload.think_s if workload.turns > 1.0 else 0.0
    at = rng.expovariate(highest) - before_s
    while at < duration_s:
        if rng.random() * highest * workload.turns < demand.region_rate(region, at):
            yield at
        at += rng.expovariate(highest)


def _systems(workload: Workload, blocks: "count[int]") -> list[tuple[int, ...]]:
    """The blocks of the system prompts; none, where there are none."""
    length = workload.system_tokens // BLOCK_TOKENS
    return [tuple([next(blocks) for _ in range(length)]) for _ in range(workload.system_prompts)]


def _conversation(
    demand: Demand,
    region: str,
    at: float,
    duration_s: float,
    rng: Random,
    numbers: "count[int]",
    ids: "count[int]",
    systems: list[tuple[int, ...]],
) -> Iterator[SimulatedCall]:
    """Its turns; each one's prompt begins with everything that was said before."""
    workload = demand.workload
    session = f"s{next(numbers)}"
    blocks = list(rng.choice(systems)) if systems else []
    said_tokens = workload.system_tokens if systems else 0
    while True:
        prompt_tokens = min(said_tokens + drawn_length(workload.prompt_tokens, rng), workload.prompt_tokens.most)
        output_tokens = drawn_length(workload.output_tokens, rng)
        blocks += [next(ids) for _ in range(prompt_tokens // BLOCK_TOKENS - len(blocks))]
        own = tuple(blocks[: prompt_tokens // BLOCK_TOKENS])
        yield _call(demand, region, at, prompt_tokens, output_tokens, own, session, rng)
        if rng.random() >= 1.0 - 1.0 / workload.turns:
            return
        said_tokens = prompt_tokens + output_tokens
        at += output_tokens * 0.02 + rng.expovariate(1.0 / workload.think_s) if workload.think_s else 0.0
        if at >= duration_s:
            return


class _Homes:
    """Which region and conversation a trace's call belongs to: that of the deepest block it shares with another."""

    def __init__(self, demand: Demand, rng: Random) -> None:
        self._demand = demand
        self._rng = rng
        self._by_block: dict[int, tuple[str, str]] = {}
        self._regions = sorted(demand.weights)
        self._sessions = count()

    def of(self, blocks: tuple[int, ...], at: float) -> tuple[str, str]:
        deep = blocks[SHARED_BLOCKS_MAX:]
        home = next((self._by_block[block] for block in reversed(deep) if block in self._by_block), None)
        if home is None:
            demand = self._demand
            weights = [demand.weights[region] * day_share(region, at, demand.workload) for region in self._regions]
            home = (self._rng.choices(self._regions, weights)[0], f"s{next(self._sessions)}")
        for block in deep:
            self._by_block[block] = home
        return home
