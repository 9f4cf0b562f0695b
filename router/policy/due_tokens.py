"""How many tokens wait whose deadline is no later than a given one, in O(log n). Pure.

Deadlines fall into SPANS spans of SPAN_S seconds, over which a Fenwick tree keeps sums (P. Fenwick, A new data
structure for cumulative frequency tables, Software: Practice and Experience 24, 1994). The spans go round like the
hours of a clock: whoever waits has a deadline that is not over, so a place on the dial means one time only.
"""

from typing import Final

SPAN_S: Final = 0.25
SPANS: Final = 2048  # Eight and a half minutes; what is due later counts as due then, and then once more.


class DueTokens:
    """Remove what is over before the time goes on: see above."""

    __slots__ = ("_sums", "total")

    def __init__(self) -> None:
        self._sums = [0] * (SPANS + 1)
        self.total = 0

    def add(self, deadline: float, tokens: int, now: float) -> int:
        """Counts tokens that are due; the place to give back to `remove`."""
        place = self._span(deadline, now) % SPANS
        self._change(place, tokens)
        return place

    def remove(self, place: int, tokens: int) -> None:
        """They wait no more."""
        self._change(place, -tokens)

    def by(self, deadline: float, now: float) -> int:
        """Tokens due no later than that, to within a span."""
        first, last = int(now / SPAN_S) % SPANS, self._span(deadline, now) % SPANS
        if first <= last:
            return self._before(last + 1) - self._before(first)
        return self.total - self._before(first) + self._before(last + 1)

    @staticmethod
    def _span(deadline: float, now: float) -> int:
        this = int(now / SPAN_S)
        return int(min(max(deadline / SPAN_S, this), this + SPANS - 1))

    def _change(self, place: int, tokens: int) -> None:
        self.total += tokens
        sums, place = self._sums, place + 1
        while place <= SPANS:
            sums[place] += tokens
            place += place & -place

    def _before(self, place: int) -> int:
        sums, total = self._sums, 0
        while place:
            total += sums[place]
            place -= place & -place
        return total
