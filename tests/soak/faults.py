"""Which faults befall which region when, drawn from a seed; what each may do to a call. Pure.

At every moment one region is spared: it has no fault, is admitted by the front door, and has
room. So every call that can be taken elsewhere has an elsewhere.
"""

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from enum import StrEnum
from random import Random
from typing import Any


class FaultKind(StrEnum):
    """What is done. All but the last two befall a region's emulated cluster."""

    KILL = "kill -9"
    FREEZE = "freeze"
    REFUSE = "refuse"
    HANG = "hang"
    ERRORS = "500"
    UNAVAILABLE = "503"
    NO_ROOM = "429"
    SLOW = "slow"
    CUT = "cut streams"
    UNHEALTHY = "unhealthy"
    DRAIN = "drain"
    STORE_FREEZE = "Redis frozen"
    STORE_KILL = "Redis killed"


STORE_KINDS = frozenset({FaultKind.STORE_FREEZE, FaultKind.STORE_KILL})
BREAKS = frozenset({FaultKind.KILL, FaultKind.REFUSE, FaultKind.CUT})
"""Connections end under calls: a call that meets two of them is suspected of killing servers."""
SILENCES = frozenset({FaultKind.FREEZE, FaultKind.HANG})
"""Streams stop until probes have found the cluster unreachable."""
ENDED_BY_RESTART = frozenset({FaultKind.KILL, FaultKind.STORE_KILL})

WEIGHTS = {
    FaultKind.KILL: 4,
    FaultKind.FREEZE: 4,
    FaultKind.REFUSE: 2,
    FaultKind.HANG: 2,
    FaultKind.ERRORS: 3,
    FaultKind.UNAVAILABLE: 3,
    FaultKind.NO_ROOM: 3,
    FaultKind.SLOW: 3,
    FaultKind.CUT: 4,
    FaultKind.UNHEALTHY: 1,
    FaultKind.DRAIN: 2,
    FaultKind.STORE_FREEZE: 1,
    FaultKind.STORE_KILL: 1,
}
LASTS_S = (2.0, 12.0)
PAUSE_S = (2.0, 8.0)  # From one fault's beginning to the next one's.
SLOWNESS = (3.0, 8.0)
SATURATION_MAX = 0.75  # Of a region that is to be the one with room.


@dataclass(slots=True)
class Fault:
    """One of them. Times are seconds of the run."""

    kind: FaultKind
    region: str  # "" for the store's.
    lasts_s: float
    asked: dict[str, Any]  # What the emulator is told; {} for what it is not asked for.
    began_at: float = float("inf")
    ended_at: float = float("inf")

    def touches(self, since: float, until: float, slack_s: float) -> bool:
        """Whether it, or what it leaves behind for a moment, fell into a stretch of time."""
        return self.began_at - slack_s <= until and since <= self.ended_at + slack_s


@dataclass(frozen=True, slots=True)
class Condition:
    """One region as the front door sees it."""

    standing: str
    liveness: str
    saturation: float | None
    drained: bool

    @property
    def fit(self) -> bool:
        """Takes calls, and has room for those of the others."""
        room = self.saturation is not None and self.saturation <= SATURATION_MAX
        return self.standing == "admitted" and not self.drained and room

    def __str__(self) -> str:
        load = "?" if self.saturation is None else f"{self.saturation:.0%}"
        return f"{self.standing}, {self.liveness}, {load} full" + (", drained" if self.drained else "")


def asked_of_emulator(kind: FaultKind, rng: Random) -> dict[str, Any]:
    """The fields of the request for it; {} where it is done otherwise."""
    share = round(rng.uniform(0.3, 1.0), 2)
    match kind:
        case FaultKind.ERRORS:
            return {"error_rate": share, "status": 500}
        case FaultKind.UNAVAILABLE:
            return {"error_rate": share, "status": rng.choice((502, 503, 504))}
        case FaultKind.NO_ROOM:
            return {"error_rate": share, "status": 429, "retry_after_s": rng.randint(1, 3)}
        case FaultKind.SLOW:
            return {"slow": round(rng.uniform(*SLOWNESS), 1)}
        case FaultKind.CUT:
            return {"cut_streams": share}
        case FaultKind.HANG | FaultKind.REFUSE | FaultKind.UNHEALTHY:
            return {kind.value: True}
        case _:
            return {}


def draw(rng: Random, conditions: Mapping[str, Condition], active: Iterable[Fault]) -> Fault | None:
    """The next fault; None if what was drawn would leave no region whole now."""
    now = list(active)
    kind = rng.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
    lasts_s = rng.uniform(*LASTS_S)
    asked = asked_of_emulator(kind, rng)
    region = rng.choice(sorted(conditions))
    held = {fault.kind for fault in now}
    if kind in STORE_KINDS:
        # Undraining is written to the store: the two would wait for each other.
        barred = held & (STORE_KINDS | {FaultKind.DRAIN})
        return None if barred else Fault(kind, "", lasts_s, asked)
    if kind is FaultKind.DRAIN and held & STORE_KINDS:
        return None
    faulty = {fault.region for fault in now}
    if region in faulty or not spared(conditions, faulty | {region}):
        return None
    return Fault(kind, region, lasts_s, asked)


def spared(conditions: Mapping[str, Condition], faulty: Set[str]) -> list[str]:
    """The regions that are whole and have room."""
    return [region for region, seen in conditions.items() if region not in faulty and seen.fit]
