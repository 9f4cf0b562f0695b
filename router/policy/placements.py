"""Where keys were placed lately: a bounded memory of a front door's own decisions. Pure: the time is an argument.

A key is a hash of a prompt's beginning, or of a session (`affinity`). Of each the last few clusters are kept, with the
time. The least recently used key gives way, so the memory never grows; what is older than its lifetime counts no more.
One a process, filled only by what this process did: nothing is shared, and losing it costs a few prompts computed anew.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

KEYS_MAX: Final = 100_000  # About 25 MB; a call with 8 KB of prompt takes eight.
HOLDERS_MAX: Final = 3  # Beyond three a prefix is everywhere, and no reason to go anywhere.
LIFETIME_S: Final = 300.0

Holders = tuple[tuple[str, float], ...]  # (cluster, when it was last placed there), the latest first.


class Placements:
    """`lifetime_s`: how long a key counts; it fades evenly until then."""

    __slots__ = ("_keys", "_keys_max", "_lifetime_s")

    def __init__(self, keys_max: int = KEYS_MAX, lifetime_s: float = LIFETIME_S) -> None:
        if keys_max < 1 or not lifetime_s > 0.0:
            raise ValueError("keys_max and lifetime_s must be positive")
        self._keys: OrderedDict[int, Holders] = OrderedDict()  # Least recently used first.
        self._keys_max = keys_max
        self._lifetime_s = lifetime_s

    def __len__(self) -> int:
        return len(self._keys)

    def note(self, keys: Sequence[int], cluster: str, now: float) -> None:
        """These were placed at `cluster`; of beginnings the shortest first."""
        known = self._keys
        held: Holders | None
        for key in reversed(keys):
            held = known.get(key)
            if held is None:
                known[key] = ((cluster, now),)
                continue
            if held[0][0] == cluster:
                known[key] = ((cluster, now), *held[1:])
            else:
                others = tuple([one for one in held if one[0] != cluster])
                known[key] = ((cluster, now), *others[: HOLDERS_MAX - 1])
            known.move_to_end(key)
        while len(known) > self._keys_max:
            known.popitem(last=False)

    def forget(self, cluster: str) -> None:
        """This cluster lost what it had: it was restarted, say. Walks over everything; for rare events only."""
        for key, held in list(self._keys.items()):
            left = tuple([one for one in held if one[0] != cluster])
            if not left:
                del self._keys[key]
            elif len(left) < len(held):
                self._keys[key] = left

    def belief(self, key: int, now: float) -> dict[str, float]:
        """How much each cluster's memory of a key is believed in: 1.0 just placed; left out after a lifetime."""
        found: dict[str, float] = {}
        for cluster, at in self._keys.get(key, ()):
            left = 1.0 - (now - at) / self._lifetime_s
            if left > 0.0:
                found[cluster] = min(1.0, left)
        return found

    def depths(self, keys: Sequence[int], now: float) -> dict[str, tuple[int, float]]:
        """Of keys that each stand for a longer beginning than the one before: how far each cluster has them.

        (number of leading keys, how much that is believed in), by cluster.
        """
        known, lifetime_s = self._keys, self._lifetime_s
        low, high = 0, len(keys)
        while low < high:  # Whoever has a longer beginning has the shorter ones, and they are forgotten last.
            middle = (low + high + 1) // 2
            if keys[middle - 1] in known:
                low = middle
            else:
                high = middle - 1
        found: dict[str, tuple[int, float]] = {}
        for depth in range(low, 0, -1):
            for cluster, at in known.get(keys[depth - 1], ()):
                if cluster not in found:
                    left = 1.0 - (now - at) / lifetime_s
                    if left > 0.0:
                        found[cluster] = (depth, left if left < 1.0 else 1.0)
        return found
