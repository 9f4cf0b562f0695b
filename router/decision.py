"""What a decision is: an order of candidates with a reason, or a refusal with one."""

from collections.abc import Mapping
from enum import StrEnum

import msgspec

from federation.view import Drop, Placed


class Reason(StrEnum):
    """Why a call was served where it was. The strings stand in `x-tradewind-decision` and in metrics."""

    __hash__ = str.__hash__  # The enumeration's own takes ten times as long.

    NEAREST = "nearest"
    AFFINITY = "affinity"
    OVERFLOW = "overflow"
    FAILOVER = "failover"
    RESUME = "resume"
    SPILL = "spill"
    PANIC = "panic"


class Place(msgspec.Struct, frozen=True, gc=False):
    """Candidates, best first; failover takes the next one and does not decide again."""

    order: tuple[Placed, ...]
    reason: Reason
    generation: int


class Refuse(msgspec.Struct, frozen=True, gc=False):
    """No candidate at all. `known` says whether any cluster is known to serve the model."""

    known: bool
    generation: int
    drops: Mapping[str, Drop] = {}


Decision = Place | Refuse
