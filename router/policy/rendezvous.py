"""Where a key is at home: many front doors choose the same cluster without asking each other. Pure.

Rendezvous hashing (D. Thaler, C. Ravishankar, Using name-based mappings to increase hit rates, IEEE/ACM ToN 6, 1998):
every site draws a number from the hash of key and site, and the highest wins. When a site goes, only its own keys move.
Weights by the logarithmic method (C. Schindelhauer, G. Schomaker, Weighted distributed hash tables, SPAA 2005): a site
of twice the weight is home to twice as many keys.

A popular key must not drown its home, so loads are bounded (V. Mirrokni, M. Thorup, M. Zadimoghaddam, Consistent
hashing with bounded loads, SODA 2018): a site that has BALANCE times its fair share of the load is passed over, and the
key goes to its second home.
"""

from collections.abc import Sequence
from math import log
from typing import Final
from zlib import crc32

import msgspec

BALANCE: Final = 1.25  # What the authors suggest: at most a quarter more than fair, few keys away from home.

_MASK: Final = (1 << 64) - 1
_UNIT: Final = 1.0 / (1 << 64)


class Site(msgspec.Struct, frozen=True, gc=False):
    """A cluster as a home for keys."""

    name: str
    weight: float = 1.0  # Its slots, say.
    salt: int = 0

    def __post_init__(self) -> None:
        if not self.weight > 0.0:
            raise ValueError(f"the weight of {self.name} must be positive, not {self.weight}")
        msgspec.structs.force_setattr(self, "salt", crc32(self.name.encode()) * 0x9E3779B97F4A7C15 & _MASK)


def draw(key: int, site: Site) -> float:
    """What a site draws for a key: the highest is the key's home. Positive; the same in every process."""
    # The finaliser of SplitMix64 (G. Steele, D. Lea, C. Flood, OOPSLA 2014): all bits of the result depend on all.
    mixed = key * 0xD6E8FEB86659FD93 + site.salt & _MASK
    mixed = (mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9 & _MASK
    mixed = (mixed ^ mixed >> 27) * 0x94D049BB133111EB & _MASK
    mixed ^= mixed >> 31
    return -site.weight / log((mixed + 0.5) * _UNIT * (1.0 - 1e-15))


def homes(key: int, sites: Sequence[Site]) -> list[int]:
    """The places in `sites`, first home first."""
    drawn = [draw(key, site) for site in sites]
    return sorted(range(len(sites)), key=lambda place: (-drawn[place], sites[place].name))


def home(key: int, sites: Sequence[Site], loads: Sequence[float], balance: float = BALANCE) -> int | None:
    """The place in `sites` of the first home that has not more than its share of the load; None without sites.

    `loads` in the same unit for all (calls there now). With one more call the total must fit, so somebody has room.
    """
    if not sites:
        return None
    fair = balance * (sum(loads) + 1.0) / sum([site.weight for site in sites])
    best, best_drawn = None, 0.0
    for place, site in enumerate(sites):
        if loads[place] < fair * site.weight:
            drawn = draw(key, site)
            if drawn > best_drawn or best is None:
                best, best_drawn = place, drawn
    return best
