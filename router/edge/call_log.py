"""A line for each call that failed, or for every call: who asked for what, where it went, and how it ended.

Never with keys, prompts or answers. Lines on failures are bounded in number, since an outage
makes as many as there are calls: what was left out is counted in the next line of its kind.
The outside world: the log.
"""

from typing import TYPE_CHECKING

import structlog

from federation.view import Placed
from router.call import Call
from router.errors import TABLE, Kind
from router.paths import Route

if TYPE_CHECKING:
    from router.edge.course import Course

LINES_PER_S = 10  # Of one kind of failure: enough to see what is wrong, and with whose calls.
OTHER_OUTCOMES = ("served", "passed_through", "cancelled")

log = structlog.get_logger()


def outcomes_told(which: str) -> frozenset[str]:
    """The outcomes of calls that are told, for the setting `access_log`.

    `failed`: what is ours to answer for, or a cluster's; not what a client did wrong or was not allowed.
    """
    if which == "none":
        return frozenset()
    if which == "all":
        return frozenset(Kind) | frozenset(OTHER_OUTCOMES)
    return frozenset(kind for kind, row in TABLE.items() if row.status >= 500 or kind is Kind.NO_ROOM)


def line_of(
    request_id: bytes, route: Route, call: Call | None, course: "Course", placed: Placed | None
) -> dict[str, object]:
    """Who asked for what, and where it went last. `call`: None, where it was not admitted."""
    line: dict[str, object] = {"request_id": request_id.decode("latin-1"), "path": route.path}
    if call is not None:
        line |= {"tenant": call.tenant, "model": call.model, "origin": call.origin, "stream": call.stream}
    if placed is not None:
        line |= {"cluster": placed.pool.cluster, "region": placed.pool.region, "decision": course.reason}
        line |= {"attempts": course.attempts.made, "last_attempt": course.last}
    return line


def in_ms(took_s: float, ttft_s: float | None) -> dict[str, object]:
    """How long it took, and until its first byte, where one came."""
    return {"ms": round(1000 * took_s), "ttft_ms": None if ttft_s is None else round(1000 * ttft_s)}


class LineLimit:
    """So many lines a second of each kind. Pure: `now` is monotonic seconds."""

    __slots__ = ("_lines_per_s", "_of")

    def __init__(self, lines_per_s: int = LINES_PER_S) -> None:
        self._lines_per_s = lines_per_s
        self._of: dict[str, list[float]] = {}  # Since when we count, lines told since then, and lines left out.

    def left_out(self, kind: str, now: float) -> int | None:
        """How many of the kind were left out since the last line that was told; None: this one is left out too."""
        of = self._of.setdefault(kind, [now, 0, 0])
        if now - of[0] >= 1.0:
            of[0], of[1] = now, 0
        if of[1] >= self._lines_per_s:
            of[2] += 1
            return None
        of[1] += 1
        left, of[2] = int(of[2]), 0
        return left


class CallLog:
    """See the module's docstring."""

    def __init__(self, which: str) -> None:
        self.outcomes = outcomes_told(which)
        self._limit = None if which == "all" else LineLimit()  # Whoever wants all of them gets all of them.

    def tell(self, outcome: str, now: float, fields: dict[str, object]) -> None:
        """A call has ended. `fields`: what is to be said of it; what is None is left out. `now` is loop time."""
        known = {name: value for name, value in fields.items() if value is not None}
        if self._limit is not None:
            left_out = self._limit.left_out(outcome, now)
            if left_out is None:
                return
            if left_out:
                known["left_out"] = left_out
        if outcome in OTHER_OUTCOMES:
            log.info("call ended", outcome=outcome, **known)
        else:
            log.warning("call failed", outcome=outcome, **known)
