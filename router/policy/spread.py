"""Which of a few scored candidates takes the call, when many front doors look at the same old figures. Pure.

A hundred front doors that all send to whoever looked best a second ago make it the worst. What a figure of that age is
good for was worked out by M. Dahlin (Interpreting stale load information, IEEE TPDS 11, 2000; the problem is M.
Mitzenmacher's, How useful is old information?, same volume): think of the calls that others place before the next
figures come, pour them over the candidates like water, so that all that get wet end at one level, and choose each with
the share that it got. His levels are queue lengths; ours are predicted seconds, so distance counts as well:

    level: sum over candidates of (level - cost) / slope, where positive, = unseen calls
    share of a candidate: (level - cost) / slope / unseen calls

`slope` is by how many seconds one more call makes the next one slower there. So the spread follows from what is not
seen, and there is no temperature to tune: one front door, or fresh figures, and the best is taken; a far cluster gets
nothing as long as the calls of everybody do not fill the near ones; a large one gets more than a small one.

Besides, costs are predictions. Within `doubt_s` of the best candidates are as good as equal: the level is never less
than that above it. And whoever was chosen last may be given an advantage of `stay_s`, against swinging to and fro.

Refused: a softmax over costs (its temperature means nothing, must be tuned for each fleet, and gives a little to the
far end of the world); power of two choices (two at random of eleven regions are seldom near); jittering the figures
(the same, less well understood).
"""

from collections.abc import Sequence
from typing import Final

SLOPE_S_MIN: Final = 1e-6  # A cluster that takes any number of calls would get all the water there is.


def unseen_calls(others_calls_per_s: float, age_s: float) -> float:
    """Calls that other front doors have placed since the figures were taken, on the same candidates.

    If nobody counts them, others behave as we do: (front doors - 1) times our own calls a second.
    """
    return max(0.0, others_calls_per_s) * max(0.0, age_s)


def shares(costs_s: Sequence[float], slopes_s: Sequence[float], unseen: float, doubt_s: float = 0.0) -> list[float]:
    """With what probability each candidate is chosen; they add up to 1. At least one candidate.

    `costs_s`: predicted seconds to a first token, our own calls counted. `slopes_s`: seconds more for each call more.
    """
    order = sorted(range(len(costs_s)), key=costs_s.__getitem__)
    least = costs_s[order[0]]
    rates = [1.0 / (slope if slope > SLOPE_S_MIN else SLOPE_S_MIN) for slope in slopes_s]
    level, rate, offset = least, 0.0, 0.0  # The level is (unseen + offset) / rate, above the least cost.
    if unseen > 0.0:
        for place in order:
            above = costs_s[place] - least
            if rate and (unseen + offset) / rate <= above:
                break
            rate += rates[place]
            offset += rates[place] * above
        level = least + (unseen + offset) / rate
    if level < least + doubt_s:
        level = least + doubt_s
    wet = [(level - cost) * rate if level > cost else 0.0 for cost, rate in zip(costs_s, rates, strict=True)]
    total = sum(wet)
    if total <= 0.0:
        best = order[0]
        return [1.0 if place == best else 0.0 for place in range(len(wet))]
    return [one / total for one in wet]


def picked(
    costs_s: Sequence[float],
    slopes_s: Sequence[float],
    unseen: float,
    draw: float,
    *,
    doubt_s: float = 0.0,
    stay: int | None = None,
    stay_s: float = 0.0,
) -> list[int]:
    """The places of all candidates in the order of trying: one by its share, the others by cost.

    `draw` is uniform in 0..1. `stay`: the place of whoever was chosen last.
    """
    if stay is not None:
        costs_s = [cost - stay_s if place == stay else cost for place, cost in enumerate(costs_s)]
    chances = shares(costs_s, slopes_s, unseen, doubt_s)
    order = sorted(range(len(costs_s)), key=costs_s.__getitem__)
    for place in order:
        draw -= chances[place]
        if draw < 0.0:
            if place != order[0]:
                order.remove(place)
                order.insert(0, place)
            break
    return order
