"""What the age of a call asks for: one thing at a time, the gravest first."""

import pytest

from router.edge.patience import Due, due_while_relaying, due_while_waiting
from router.settings import TimeoutSettings

BOUNDS = TimeoutSettings(first_byte_s=30.0, idle_s=20.0, comment_s=5.0, total_s=100.0)


def waiting(
    now: float, *, deadline_at: float | None = None, attempt_began_at: float | None = 0.0, said_at: float = 0.0
) -> Due:
    return due_while_waiting(
        BOUNDS, now, arrived_at=0.0, deadline_at=deadline_at, attempt_began_at=attempt_began_at, said_at=said_at
    )


def relaying(now: float, *, heard_at: float = 0.0, said_at: float = 0.0, paused: bool = False) -> Due:
    return due_while_relaying(BOUNDS, now, arrived_at=0.0, heard_at=heard_at, said_at=said_at, paused=paused)


@pytest.mark.parametrize(
    ("due", "expected"),
    [
        pytest.param(waiting(5.0), Due.NOTHING, id="just in time"),
        pytest.param(waiting(5.1), Due.COMMENT, id="quiet for long"),
        pytest.param(waiting(10.0, said_at=5.1), Due.NOTHING, id="told a moment ago"),
        pytest.param(waiting(10.2, said_at=5.1), Due.COMMENT, id="quiet again"),
        pytest.param(waiting(30.0, said_at=29.0), Due.NOTHING, id="first byte: not yet"),
        pytest.param(waiting(30.1, said_at=30.0), Due.FIRST_BYTE, id="first byte"),
        pytest.param(waiting(30.1), Due.FIRST_BYTE, id="first byte before comment"),
        pytest.param(waiting(35.0, attempt_began_at=10.0, said_at=34.0), Due.NOTHING, id="each attempt anew"),
        pytest.param(waiting(35.0, attempt_began_at=None, said_at=34.0), Due.NOTHING, id="no attempt"),
        pytest.param(waiting(8.0, deadline_at=8.0, said_at=7.0), Due.NOTHING, id="deadline: not yet"),
        pytest.param(waiting(8.1, deadline_at=8.0, said_at=7.0), Due.DEADLINE, id="deadline"),
        pytest.param(waiting(8.1, deadline_at=8.0), Due.DEADLINE, id="deadline before comment"),
        pytest.param(waiting(31.0, deadline_at=8.0), Due.DEADLINE, id="deadline before first byte"),
        pytest.param(waiting(100.0, attempt_began_at=99.0, said_at=99.0), Due.NOTHING, id="altogether: not yet"),
        pytest.param(waiting(100.1, deadline_at=8.0), Due.TOO_LONG, id="altogether before all"),
    ],
)
def test_while_waiting(due: Due, expected: Due) -> None:
    assert due is expected


@pytest.mark.parametrize(
    ("due", "expected"),
    [
        pytest.param(relaying(5.0), Due.NOTHING, id="just in time"),
        pytest.param(relaying(5.1), Due.COMMENT, id="quiet for long"),
        pytest.param(relaying(10.0, heard_at=6.0), Due.NOTHING, id="the cluster spoke"),
        pytest.param(relaying(10.0, said_at=6.0), Due.NOTHING, id="told a moment ago"),
        pytest.param(relaying(20.0, said_at=19.0), Due.NOTHING, id="silent: not yet"),
        pytest.param(relaying(20.1, said_at=20.0), Due.SILENT, id="silent, whatever we said"),
        pytest.param(relaying(99.0, paused=True), Due.NOTHING, id="the client reads slowly"),
        pytest.param(relaying(100.0, heard_at=99.0), Due.NOTHING, id="altogether: not yet"),
        pytest.param(relaying(100.1, heard_at=100.0), Due.TOO_LONG, id="altogether"),
        pytest.param(relaying(100.1, paused=True), Due.TOO_LONG, id="altogether, however slow the client"),
    ],
)
def test_while_relaying(due: Due, expected: Due) -> None:
    assert due is expected
