"""How long a call may take, step by step: the one thing that is due at a given moment. Pure.

All times are monotonic seconds of one process.
"""

from enum import Enum, auto

from router.settings import TimeoutSettings


class Due(Enum):
    """What the age of a call asks for."""

    NOTHING = auto()
    COMMENT = auto()  # Whoever waits for the stream is told that it lives.
    TOO_LONG = auto()  # Altogether.
    SILENT = auto()  # The cluster has said nothing for too long.
    DEADLINE = auto()  # The call's own, for its first byte.
    FIRST_BYTE = auto()  # This attempt has waited long enough for its first byte.


def due_while_waiting(
    bounds: TimeoutSettings,
    now: float,
    *,
    arrived_at: float,
    deadline_at: float | None,
    attempt_began_at: float | None,
    said_at: float,
) -> Due:
    """While nothing of an answer can go out. `said_at`: of the latest that went to the client, if only a comment."""
    if now - arrived_at > bounds.total_s:
        return Due.TOO_LONG
    if deadline_at is not None and now > deadline_at:
        return Due.DEADLINE
    if attempt_began_at is not None and now - attempt_began_at > bounds.first_byte_s:
        return Due.FIRST_BYTE
    return Due.COMMENT if now - said_at > bounds.comment_s else Due.NOTHING


def due_while_relaying(
    bounds: TimeoutSettings, now: float, *, arrived_at: float, heard_at: float, said_at: float, paused: bool
) -> Due:
    """While an answer comes in. `heard_at`: of the cluster's latest bytes, or when the client last caught up."""
    if now - arrived_at > bounds.total_s:
        return Due.TOO_LONG
    if paused:
        return Due.NOTHING  # It is the client who makes us wait.
    if now - heard_at > bounds.idle_s:
        return Due.SILENT
    return Due.COMMENT if now - max(heard_at, said_at) > bounds.comment_s else Due.NOTHING
