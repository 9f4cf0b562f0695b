"""Calls in flight of one worker and of the others, in one table: what decisions read and heartbeats are corrected by.

The table (cluster, model) -> calls is the door's own, which counts its calls up and down; what
the others have is laid on top, and only the difference is written when that changes. So a
decision reads the sum and pays nothing for it.
"""

from collections.abc import Iterable, Mapping

Key = tuple[str, str]  # (cluster, model)


class Elsewhere:
    """The part of a door's table that is the other workers'."""

    def __init__(self, table: dict[Key, int]) -> None:
        self.table = table
        self._laid: dict[Key, int] = {}

    def lay(self, counts: Iterable[tuple[str, str, int]]) -> None:
        """The others have these calls now, and no others."""
        fresh = {(cluster, model): count for cluster, model, count in counts if count > 0}
        for key in {*self._laid, *fresh}:
            value = self.table.get(key, 0) + fresh.get(key, 0) - self._laid.get(key, 0)
            if value > 0:
                self.table[key] = value
            else:
                self.table.pop(key, None)
        self._laid = fresh

    def own(self) -> tuple[tuple[str, str, int], ...]:
        """Our own part."""
        return tuple(
            (key[0], key[1], count - self._laid.get(key, 0))
            for key, count in self.table.items()
            if count > self._laid.get(key, 0)
        )


def summed(parts: Iterable[Iterable[tuple[str, str, int]]]) -> dict[Key, int]:
    """The calls of several workers together."""
    total: dict[Key, int] = {}
    for counts in parts:
        for cluster, model, count in counts:
            total[cluster, model] = total.get((cluster, model), 0) + count
    return total


def less(total: Mapping[Key, int], own: Iterable[tuple[str, str, int]]) -> tuple[tuple[str, str, int], ...]:
    """The total without one worker's part: what the others have."""
    left = dict(total)
    for cluster, model, count in own:
        left[cluster, model] = left.get((cluster, model), 0) - count
    return tuple((cluster, model, count) for (cluster, model), count in left.items() if count > 0)
