"""A call: one real-time inference request, as the decision sees it. Knows nothing of HTTP objects."""

from enum import StrEnum

import msgspec


class Priority(StrEnum):
    """What may be kept waiting or shed first; clipped to what the key may claim."""

    __hash__ = str.__hash__  # The enumeration's own takes ten times as long.

    CRITICAL = "critical"
    STANDARD = "standard"
    SHEDDABLE = "sheddable"


RANK = {Priority.CRITICAL: 2, Priority.STANDARD: 1, Priority.SHEDDABLE: 0}


class Tenant(msgspec.Struct, frozen=True, kw_only=True):
    """Whom a key belongs to, and what it may do."""

    name: str
    priority_max: Priority = Priority.STANDARD
    models: frozenset[str] | None = None  # None: all.
    regions: frozenset[str] | None = None  # None: all.


ANONYMOUS = Tenant(name="anonymous", priority_max=Priority.CRITICAL)


class Call(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What is known of a call when it is placed. Times are seconds, sizes bytes unless named otherwise."""

    id: str
    path: str  # With its query, as it goes to the cluster.
    model: str
    origin: str  # The region it comes from: the client's where that is known, else the front door's own.
    stream: bool = False
    regions: frozenset[str] | None = None  # Where it may be served; None: anywhere.
    clusters: frozenset[str] | None = None  # Those that can serve it at all, if not all of its model can.
    priority: Priority = Priority.STANDARD
    deadline_s: float | None = None  # From its arrival to its first byte.
    session: str | None = None
    tenant: str = ANONYMOUS.name
    prompt_bytes: int = 0
    tokens_max: int | None = None
    resume: bool = True  # Whether its stream may be gone on with elsewhere when it breaks.
    needs: frozenset[str] | None = None  # Features without which a model pool is no candidate.
    continues: str | None = None  # The response that it goes on from: it means something at one cluster only.
