"""When the next worker is started after some have died. Pure.

One that served for a while is replaced at once. Those that die young, or at their start, are
replaced after a pause that doubles; and if none ever came up, it is given up in the end.
"""

from dataclasses import dataclass

STABLE_S = 10.0  # A worker that lived for so long died of something else than its start.
PAUSE_S = 0.1
PAUSE_S_MAX = 10.0
START_FAILURES_MAX = 4  # Without a single success: the reason will not go away by itself.


@dataclass(slots=True)
class Restarts:
    """How the workers fared so far."""

    early: int = 0  # Early deaths in a row.
    ever_up: bool = False
    not_before: float = 0.0  # Monotonic seconds.

    def came_up(self) -> None:
        self.ever_up = True

    def died(self, now: float, lived_s: float, was_up: bool) -> None:
        """One is gone, `lived_s` after it was started; `was_up`: it had come up."""
        if was_up and lived_s >= STABLE_S:
            self.early = 0
            self.not_before = now
            return
        self.early += 1
        self.not_before = now + min(PAUSE_S_MAX, PAUSE_S * 2.0 ** min(self.early - 1, 16))

    @property
    def hopeless(self) -> bool:
        """None ever came up, and it was tried often enough."""
        return not self.ever_up and self.early >= START_FAILURES_MAX
