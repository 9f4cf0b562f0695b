"""A stretch: a number of steps that differ only in how much context they read. Pure.

Between an arrival and a finish nothing changes in a batch but its context, which grows by one token a sequence and
step. So the time of the m-th step from the stretch's origin is a closed form: m times a constant, plus a parabola
once reading outweighs computing. It is always counted from the origin, so that the answer does not depend on how
often anybody asked, and does not drift.
"""

import math
from typing import Final

_ENDLESS_STEPS: Final = 1 << 52


class Stretch:
    """`planned` steps from `origin` to `end`, `done` of them over; 0 planned means idle."""

    __slots__ = (
        "_compute_s",
        "_fixed_s",
        "_flat_steps",
        "_read_s",
        "_slope_s",
        "_slow",
        "done",
        "end",
        "origin",
        "planned",
    )

    def __init__(self) -> None:
        self.planned = self.done = 0
        self.origin = self.end = -math.inf
        self._slow = 1.0
        self._fixed_s = self._compute_s = self._read_s = self._slope_s = 0.0
        self._flat_steps = 0

    def idle(self, at: float) -> None:
        self.planned = self.done = 0
        self.origin = self.end = at

    def plan(
        self, at: float, steps: int, fixed_s: float, compute_s: float, read_s: float, slope_s: float, slow: float
    ) -> None:
        """`steps` steps from `at`; step j (from 0) takes slow * (fixed_s + max(compute_s, read_s + j * slope_s))."""
        self.origin = at
        self.planned = steps
        self.done = 0
        self._slow = slow
        self._fixed_s = fixed_s
        self._compute_s = compute_s
        self._read_s = read_s
        self._slope_s = slope_s
        self._flat_steps = 0
        if compute_s > read_s:
            rise_steps = (compute_s - read_s) / slope_s if slope_s else _ENDLESS_STEPS
            self._flat_steps = min(math.ceil(rise_steps), _ENDLESS_STEPS)
        self.end = self.time_of(steps)

    def time_of(self, steps: int) -> float:
        """When the first `steps` steps are over."""
        flat = min(steps, self._flat_steps)
        sloped = steps - flat
        rise_s = self._slope_s * (sloped * (flat + steps - 1) * 0.5)
        work_s = steps * self._fixed_s + flat * self._compute_s + sloped * self._read_s + rise_s
        return self.origin + self._slow * work_s

    def steps_by(self, at: float) -> int:
        """The most steps that are over at `at`; may exceed what is planned."""
        span_s = (at - self.origin) / self._slow
        if span_s <= 0.0:
            return 0
        flat = self._flat_steps
        flat_step_s = self._fixed_s + self._compute_s
        if span_s < flat * flat_step_s:
            steps = int(span_s / flat_step_s)
        else:
            linear_s = self._fixed_s + self._read_s + self._slope_s * (flat - 0.5)
            rest_s = span_s - flat * flat_step_s
            # Of the two usual forms of a root this one neither cancels nor divides by a slope of zero.
            steps = flat + int(2.0 * rest_s / (linear_s + math.sqrt(linear_s**2 + 2.0 * self._slope_s * rest_s)))
        # The estimate is off by rounding only; time_of is what counts.
        while self.time_of(steps) > at:
            steps -= 1
        while self.time_of(steps + 1) <= at:
            steps += 1
        return steps

    def break_at(self, at: float) -> None:
        """Ends the stretch with the first step, not yet over, that ends at or after `at`."""
        if self.planned - self.done <= 1:
            return
        steps = self.steps_by(at)
        if self.time_of(steps) < at:
            steps += 1
        steps = max(steps, self.done + 1)
        if steps < self.planned:
            self.planned = steps
            self.end = self.time_of(steps)
