"""Is a cluster's last statement still worth something? Judged from arrival times alone.

Everyday picture: a friend who writes each morning. Two letters missing, and we trust the
last one less; ten missing, and we go by what we knew before. We never conclude that the
friend is dead: that takes a knock on the door (see ejection).

The age is measured on the reader's clock, from the moment a newer (epoch, seq) was first
seen here, so the sender's clock may be as wrong as it likes. The statement found at start
may be the last word of an agent long gone, so it is at best stale until it advances.
An accrual detector was weighed and refused: with a fixed interval, counting missed beats
says the same and can be explained at 3 a.m.
"""

from dataclasses import dataclass
from enum import StrEnum


class Liveness(StrEnum):
    """Of the statement, not of the cluster."""

    FRESH = "fresh"
    STALE = "stale"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class LivenessRules:
    """How many heartbeat intervals may pass."""

    stale_after_intervals: float = 3.0
    lost_after_intervals: float = 10.0
    interval_s_min: float = 0.1  # An agent cannot make itself immortal or mortal by the interval it states.
    interval_s_max: float = 10.0


DEFAULT_RULES = LivenessRules()
ROUNDING_S = 1e-6


def liveness(
    arrived_at: float | None, interval_s: float, advanced: bool, now: float, rules: LivenessRules = DEFAULT_RULES
) -> Liveness:
    """The worth of a statement that arrived at `arrived_at` (None: never) at the instant `now`, in seconds."""
    if arrived_at is None:
        return Liveness.LOST
    assert now >= arrived_at, "monotonic time went back"
    interval_s = min(max(interval_s, rules.interval_s_min), rules.interval_s_max)
    missed = (now - arrived_at) / interval_s
    if missed > rules.lost_after_intervals:
        return Liveness.LOST
    if missed > rules.stale_after_intervals or not advanced:
        return Liveness.STALE
    return Liveness.FRESH


def next_change_at(arrived_at: float, interval_s: float, now: float, rules: LivenessRules = DEFAULT_RULES) -> float:
    """When the passing of time alone next changes what `liveness` says of a statement; infinity: never."""
    interval_s = min(max(interval_s, rules.interval_s_min), rules.interval_s_max)
    for intervals in (rules.stale_after_intervals, rules.lost_after_intervals):
        at = arrived_at + intervals * interval_s
        # A beat is missed only once it is over; at the boundary itself, rounding may say either.
        if now <= at + ROUNDING_S:
            return at
    return float("inf")
