"""A breaker for one store: after some failures in a row, tries are spaced out.

It never stays open for long: a store that returns must be heard again within 3 s, by the
agent that writes to it and the front door that reads it, so the pause ends at 1 s. It saves
work and log lines, not the store: two calls a second overload nobody.
"""

from dataclasses import dataclass, replace

FAILURES_MAX = 3  # In a row; one late answer is no reason to pause.
BACK_OFF_S = 0.25
BACK_OFF_S_MAX = 1.0


@dataclass(frozen=True, slots=True)
class Breaker:
    """How one store has answered lately. Times are monotonic seconds of this process."""

    failures: int = 0  # In a row.
    retry_at: float = 0.0  # Meaningful only while failures reach FAILURES_MAX.

    @property
    def open(self) -> bool:
        """Whether tries are being spaced out."""
        return self.failures >= FAILURES_MAX

    def may_try(self, now: float) -> bool:
        return not self.open or now >= self.retry_at

    def after_failure(self, now: float) -> "Breaker":
        """One more failure, which ended at `now`; the pause is counted from there."""
        failures = self.failures + 1
        steps = min(max(0, failures - FAILURES_MAX), 16)
        return replace(self, failures=failures, retry_at=now + min(BACK_OFF_S_MAX, BACK_OFF_S * 2.0**steps))

    def after_success(self, now: float) -> "Breaker":
        return Breaker(retry_at=now)
