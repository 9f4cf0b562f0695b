"""How far an observation may move a model that learns online: outliers, and changes that look like them. Pure.

A residual is relative: (observed - predicted) / predicted, so that 0.5 means "half as long again as predicted". Up to
CLIP times its usual size it counts whole, beyond that only as much as the bound: Huber's rule (P. J. Huber, Robust
Estimation of a Location Parameter, 1964), in the recursive form of bounding the innovation. One freak answer of a
minute then moves nothing that anyone would notice.

A cluster that has become five times slower looks like an outlier too, at first. What tells them apart is that a change
stays: CHANGE_AFTER residuals in a row beyond the bound on the same side are a change, and from there the bound doubles
with each of them, so that however large the change is, it counts whole after a few.

Refused: a test of the mean (CUSUM), which sees small drifts earlier but needs a threshold for each kind of traffic;
small drifts are what forgetting is for.
"""

from typing import Final

CLIP: Final = 3.0
CHANGE_AFTER: Final = 3  # In a row: of independent outliers, one in twenty, that happens once in 8,000.
SCALE_START: Final = 0.5  # Before anything was observed, half as long again is nothing unusual.
SCALE_MIN: Final = 0.05  # However regular the past was, 15 % is no outlier.
SCALE_MAX: Final = 2.0
SCALE_RATE: Final = 0.05
SIGMA: Final = 1.2533  # Of a normal distribution, per mean absolute deviation: the square root of pi / 2.
DOUBLINGS_MAX: Final = 40


def judged(residual: float, scale: float, run: int) -> tuple[float, float, int]:
    """(what of the residual counts, the scale after it, the run after it).

    `scale` is the usual size of residuals (one standard deviation, relative); `run` counts those beyond the bound in a
    row, positive above, negative below. A run of CHANGE_AFTER or more, either way, is a change.
    """
    bound = CLIP * scale
    size = residual if residual >= 0.0 else -residual
    if size <= bound:
        run = 0
        counted = residual
    else:
        if residual > 0.0:
            run = run + 1 if run > 0 else 1
            beyond = run - CHANGE_AFTER
        else:
            run = run - 1 if run < 0 else -1
            beyond = -run - CHANGE_AFTER
        size = bound
        if beyond >= 0:
            bound *= 2.0 ** (beyond + 1 if beyond < DOUBLINGS_MAX else DOUBLINGS_MAX)
        counted = min(bound, residual) if residual > 0.0 else max(-bound, residual)
    scale += SCALE_RATE * (SIGMA * size - scale)
    if scale < SCALE_MIN:
        scale = SCALE_MIN
    elif scale > SCALE_MAX:
        scale = SCALE_MAX
    return counted, scale, run


def is_change(run: int) -> bool:
    """Whether so many in a row beyond the bound mean that what is observed has changed."""
    return run >= CHANGE_AFTER or run <= -CHANGE_AFTER
