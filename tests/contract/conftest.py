"""A real Valkey for each test that asks for one."""

import contextlib
import os
import signal
from collections.abc import AsyncIterator

import pytest

from federation.embedded import EmbeddedRedis


@pytest.fixture
async def valkey() -> AsyncIterator[EmbeddedRedis]:
    server = EmbeddedRedis()
    await server.start()
    yield server
    if server.running:
        with contextlib.suppress(ProcessLookupError):
            os.kill(server.pid, signal.SIGCONT)  # A frozen process does not hear that it should stop.
    await server.stop()
