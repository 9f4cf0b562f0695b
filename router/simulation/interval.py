"""A mean over seeds, and how far it may be off. Pure."""

from collections.abc import Sequence
from math import sqrt
from statistics import mean, stdev
from typing import Final

import msgspec

# Two-sided 95 % of Student's t, by degrees of freedom from 1; beyond the last, that of a normal distribution.
STUDENT_T: Final = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120,
    2.110, 2.101, 2.093, 2.086,
)  # fmt: skip
NORMAL: Final = 1.960


class Interval(msgspec.Struct, frozen=True):
    """A mean with half the width of its 95 % confidence interval; 0.0 where there is one value only."""

    mean: float
    half: float
    values: int

    def text(self, digits: int, factor: float = 1.0) -> str:
        """`1.23 ± 0.04`, or the mean alone where there is nothing to say of its spread."""
        middle = f"{self.mean * factor:,.{digits}f}"
        return middle if self.values < 2 else f"{middle} ± {self.half * factor:,.{digits}f}"


def interval(values: Sequence[float]) -> Interval:
    """Of at least one value."""
    count = len(values)
    if count == 1:
        return Interval(values[0], 0.0, 1)
    t = STUDENT_T[count - 2] if count - 2 < len(STUDENT_T) else NORMAL
    return Interval(mean(values), t * stdev(values) / sqrt(count), count)
