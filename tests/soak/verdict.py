"""Of a call that failed: could it have been saved? Pure.

Yes, unless one of the reasons below holds, each of which stands in the design: what was begun
and cannot be gone on with, what broke two clusters, what two clusters answered with 500, what
its client did itself. Two reasons are this run's: no region was whole, and the run's own end.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from tests.soak.ask import Ask, Kind
from tests.soak.faults import BREAKS, SILENCES, Condition, Fault, FaultKind, spared

SLACK_S = 1.0  # A fault reaches calls a little before and after it is noted.

BROKEN_WORDS = ("broke", "clusters_broken", "stream_broken", "connection ended")
WRONG = "wrong"


class Outcome(StrEnum):
    """What a client has of its call."""

    SERVED = "served"
    REFUSED = "refused as it should be"
    LEFT = "left"
    FAILED = "failed"


class Verdict(StrEnum):
    """Why a failed call could not have been saved; the first: it could."""

    SAVEABLE = "could have been saved"
    BEGUN = "begun, and of a kind that is not gone on with"
    BROKE_TWO = "broke two clusters"
    TWO_ERRORS = "two clusters answered 500"
    NOBODY = "no region was whole"


@dataclass(slots=True)
class Record:
    """One call as its client saw it. Times are seconds of the run."""

    number: int
    ask: Ask
    began_at: float
    ended_at: float = 0.0
    outcome: Outcome = Outcome.FAILED
    status: int = 0  # 0: no head came.
    received: int = 0  # Bytes of the body.
    said: str = ""  # The text that came.
    error: str = ""
    marks: Mapping[str, str] = field(default_factory=dict)  # The answer's headers.

    @property
    def broke(self) -> bool:
        """Whether the front door said so, or the connection ended in the middle of a body."""
        return any(word in self.error for word in BROKEN_WORDS)

    @property
    def wrong(self) -> bool:
        """Whether what came was whole, and not what should have come."""
        return self.error.startswith(WRONG)

    @property
    def kind(self) -> Kind:
        return self.ask.kind


def verdict(record: Record, faults: Collection[Fault], conditions: Mapping[str, Condition]) -> Verdict:
    """`faults`: all of the run; `conditions`: how the front door saw the regions when the call failed."""
    near = [fault for fault in faults if fault.touches(record.began_at, record.ended_at, SLACK_S)]
    begun = record.status == 200 and record.received > 0
    breaking = {fault.region for fault in near if fault.kind in BREAKS}
    silencing = {fault.region for fault in near if fault.kind in SILENCES}
    if begun and not record.ask.resumable and record.broke and breaking | silencing:
        return Verdict.BEGUN
    if record.broke and len(breaking) > 1:
        return Verdict.BROKE_TWO
    if record.status == 502 and len({fault.region for fault in near if fault.kind is FaultKind.ERRORS}) > 1:
        return Verdict.TWO_ERRORS
    now = {fault.region for fault in faults if fault.touches(record.ended_at, record.ended_at, SLACK_S)}
    # A wrong answer is excused by nothing.
    return Verdict.SAVEABLE if record.wrong or spared(conditions, now) else Verdict.NOBODY
