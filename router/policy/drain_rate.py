"""How fast waiting calls leave, in tokens a second, as measured while any waited. Pure.

Two sums fade with the same half-life: the tokens that left, and the seconds in which somebody waited. Their quotient is
the rate. Seconds in which nobody waited count for neither, so a quiet hour does not look like a slow one.
"""

from typing import Final

HALF_LIFE_S: Final = 5.0
MEASURED_S: Final = 0.5  # Of waiting, before the rate means anything.

_LN2: Final = 0.6931471805599453


class DrainRate:
    __slots__ = ("_at", "_tokens", "_waited_s")

    def __init__(self, now: float) -> None:
        self._at = now
        self._tokens = self._waited_s = 0.0

    def passed(self, now: float, waiting: bool) -> None:
        """Time went on until `now`; whether anybody waited meanwhile. Time that goes back is ignored."""
        elapsed_s = now - self._at
        if elapsed_s <= 0.0:
            return
        self._at = now
        if waiting:
            kept = 2.0 ** (-elapsed_s / HALF_LIFE_S)
            self._tokens *= kept
            self._waited_s = self._waited_s * kept + (1.0 - kept) * HALF_LIFE_S / _LN2

    def left(self, tokens: float) -> None:
        """A waiting call of so many tokens was sent on its way."""
        self._tokens += tokens

    @property
    def tokens_per_s(self) -> float | None:
        """None: not known yet."""
        return self._tokens / self._waited_s if self._waited_s >= MEASURED_S else None
