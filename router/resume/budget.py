"""How many broken streams go on at once, and how fast one cluster takes them in. Pure.

The loss of a cluster breaks all its streams in one instant, and each comes back with a
prompt to be computed anew: without a bound the loss of one region would be the ruin of the
next.
"""

from dataclasses import dataclass, field

AT_ONCE = 500  # Streams that go on after the loss of a cluster.
REFILL_PER_S = 10.0
PACE_PER_S = 600.0  # Into one cluster: 500 within a second.
PACE_BURST = 50


@dataclass(slots=True)
class ResumeBudget:
    """A bucket of resumes, full in calm weather. One per process. Times are monotonic seconds."""

    at_once: int = AT_ONCE
    tokens: float = float(AT_ONCE)
    refilled_at: float = 0.0

    def take(self, now: float) -> bool:
        """Pay for one resume; False if there is nothing left."""
        self.tokens = min(float(self.at_once), self.tokens + REFILL_PER_S * max(0.0, now - self.refilled_at))
        self.refilled_at = now
        if self.tokens < 1.0:
            return False
        self.tokens -= 1.0
        return True


@dataclass(slots=True)
class Pace:
    """When each cluster takes in its next resumed stream. (The arithmetic is GCRA's, of ATM traffic policing.)"""

    _next_at: dict[str, float] = field(default_factory=dict)

    def wait_s(self, cluster: str, now: float) -> float:
        """Reserve the next turn at a cluster; seconds until it comes, 0 for the first PACE_BURST."""
        due = max(now, self._next_at.get(cluster, now))
        self._next_at[cluster] = due + 1.0 / PACE_PER_S
        return max(0.0, due - now - PACE_BURST / PACE_PER_S)
