"""The outside world's time. The only file that reads it; everything else is handed `now`."""

import time
from dataclasses import dataclass
from typing import Protocol


class Clock(Protocol):
    """Two clocks: one to measure with, one to show to people."""

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back; ages and deadlines are measured on it."""
        ...

    def wall(self) -> float:
        """Seconds since 1970; for people, and for what must mean the same on several machines."""
        ...


class SystemClock:
    """The clock of this machine. Read several times a call, so nothing stands between."""

    monotonic = staticmethod(time.monotonic)
    wall = staticmethod(time.time)


@dataclass(slots=True)
class ManualClock:
    """A clock that stands still until it is told to move: for tests and the simulator."""

    now_s: float = 1_000.0
    wall_s: float = 1_700_000_000.0

    def monotonic(self) -> float:
        return self.now_s

    def wall(self) -> float:
        return self.wall_s

    def advance(self, seconds: float) -> float:
        """Move both clocks on by `seconds`; returns the new monotonic time."""
        assert seconds >= 0
        self.now_s += seconds
        self.wall_s += seconds
        return self.now_s
