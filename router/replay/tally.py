"""What came of a replay: counts and percentiles. Pure."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

PERCENTILES: Final = (50, 90, 95, 99)
KINDS_MAX: Final = 64  # Of failures, regions and reasons each: what a server says must not grow without bound.
MESSAGE_LENGTH_MAX: Final = 300
OTHER: Final = "other"


class Answer(msgspec.Struct, gc=False):
    """One call and what came of it. Times are seconds on the loop's clock; None: it did not come to that."""

    sent_at: float
    first_at: float | None = None
    last_at: float | None = None
    status: int | None = None
    events: int = 0  # Of the stream, each about one token.
    region: str = ""
    decision: str = ""
    failure: str | None = None  # Its kind, short and one of few.
    message: str = ""

    @property
    def ttft_s(self) -> float | None:
        return None if self.first_at is None else self.first_at - self.sent_at

    @property
    def tpot_s(self) -> float | None:
        """Mean seconds between tokens after the first."""
        if self.first_at is None or self.last_at is None or self.events < 2:
            return None
        return (self.last_at - self.first_at) / (self.events - 1)


@dataclass(slots=True)
class Tally:
    """Everything that the tables show; filled one answer at a time."""

    sent: int = 0
    done: int = 0
    failed: int = 0
    late_s_max: float = 0.0  # How much later than its time a call was sent at worst: our own slowness.
    wall_s: float = 0.0
    ttft_s: list[float] = field(default_factory=list)
    tpot_s: list[float] = field(default_factory=list)
    regions: Counter[str] = field(default_factory=Counter)
    decisions: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    first_messages: dict[str, str] = field(default_factory=dict)

    def add(self, answer: Answer) -> None:
        """Count one answer, well or ill."""
        self.done += 1
        if answer.region:
            _count(self.regions, answer.region)
        if answer.decision:
            _count(self.decisions, answer.decision)
        if answer.failure is not None:
            self.fail(answer.failure, answer.message)
            return
        if answer.ttft_s is not None:
            self.ttft_s.append(answer.ttft_s)
        if answer.tpot_s is not None:
            self.tpot_s.append(answer.tpot_s)

    def fail(self, kind: str, message: str) -> None:
        """Count a failure; the first message of each kind is kept."""
        self.failed += 1
        kind = _count(self.failures, kind)
        self.first_messages.setdefault(kind, message[:MESSAGE_LENGTH_MAX])

    def to_document(self) -> dict[str, Any]:
        """As JSON will hold it; latencies in milliseconds."""
        return {
            "sent": self.sent,
            "done": self.done,
            "failed": self.failed,
            "wall_s": round(self.wall_s, 3),
            "late_ms_max": round(self.late_s_max * 1000, 1),
            "ttft_ms": _percentiles_ms(self.ttft_s),
            "tpot_ms": _percentiles_ms(self.tpot_s),
            "regions": dict(self.regions.most_common()),
            "decisions": dict(self.decisions.most_common()),
            "failures": {
                kind: {"count": count, "first": self.first_messages[kind]}
                for kind, count in self.failures.most_common()
            },
        }


def percentile(ordered: Sequence[float], percent: float) -> float | None:
    """The nearest-rank percentile of values in rising order; None of none."""
    if not ordered:
        return None
    rank = max(1, -(-len(ordered) * percent // 100))
    return ordered[min(len(ordered), int(rank)) - 1]


def _percentiles_ms(values: Sequence[float]) -> dict[str, float | None]:
    ordered = sorted(values)
    found = {f"p{percent}": percentile(ordered, percent) for percent in PERCENTILES}
    return {name: None if value is None else round(value * 1000, 2) for name, value in found.items()}


def _count(counter: Counter[str], name: str) -> str:
    name = name if name in counter or len(counter) < KINDS_MAX else OTHER
    counter[name] += 1
    return name
