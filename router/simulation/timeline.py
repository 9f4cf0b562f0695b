"""The simulator's time: one heap of what is to happen, and when. Pure.

Seconds are floats, as in `federation.lab.batching`, whose replicas it drives. What falls on the same instant happens in
the order in which it was asked for, so a seed reproduces a run to the last bit.
"""

import heapq
from collections.abc import Callable
from typing import Any

Act = Callable[[Any], None]


class Timeline:
    """`now` is the instant of what happens at present."""

    __slots__ = ("_heap", "_number", "happened", "now")

    def __init__(self) -> None:
        self.now = 0.0
        self.happened = 0
        self._number = 0
        self._heap: list[tuple[float, int, Act, Any]] = []

    def at(self, when: float, act: Act, what: Any = None) -> None:
        """`act(what)` at that instant, at the earliest now."""
        self._number += 1
        heapq.heappush(self._heap, (when if when > self.now else self.now, self._number, act, what))

    def after(self, delay_s: float, act: Act, what: Any = None) -> None:
        self.at(self.now + delay_s, act, what)

    def run(self, until: float) -> None:
        """All that happens up to that instant, itself included."""
        heap, pop, happened = self._heap, heapq.heappop, 0
        while heap and heap[0][0] <= until:
            self.now, _, act, what = pop(heap)
            happened += 1
            act(what)
        self.happened += happened
        self.now = max(self.now, until)
