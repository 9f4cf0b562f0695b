"""uvloop, as in production; and no test of the edge may leave an error behind, in a log or in the loop."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import pytest
import structlog.testing
import uvloop


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture(autouse=True)
async def no_errors(caplog: pytest.LogCaptureFixture) -> AsyncIterator[list[str]]:
    """Whatever was logged as an error, or escaped into the loop. A test that expects some clears the list."""
    errors: list[str] = []

    def escaped(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        errors.append(f"{context.get('message')}: {context.get('exception')!r}")

    asyncio.get_running_loop().set_exception_handler(escaped)
    with structlog.testing.capture_logs() as lines:
        yield errors
    errors += [str(line) for line in lines if line["log_level"] in ("error", "critical") and "expected" not in errors]
    errors += [
        record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR and "expected" not in errors
    ]
    assert [error for error in errors if error != "expected"] == []


@pytest.fixture
def expects_errors(no_errors: list[str]) -> None:
    """For the few tests in which an error is logged on purpose."""
    no_errors.append("expected")
