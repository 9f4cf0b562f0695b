"""One child process of `tradewind up`: started until it says `ready`, watched, ended. Speaks to the operating system.

A child is a session of its own, so that Ctrl-C at the terminal reaches `up` alone; and the
kernel kills it when `up` dies, however that comes about.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import msgspec

from federation.embedded import EmbeddedRedis, EmbeddedServerError, die_with_parent

READY = b"ready "
LINE_BYTES_MAX = 64 * 1024
TAIL_LINES = 8  # Of a child's stderr, shown when it fails to start.
TAIL_BYTES = 8 * 1024
POLL_S = 0.1


class StartFailed(Exception):
    """A child that did not get as far as `ready`; says why, with the end of what it wrote on stderr."""


class Process(Protocol):
    """What the supervisor needs of anything it runs."""

    role: str
    name: str
    region: str

    @property
    def pid(self) -> int | None: ...

    @property
    def alive(self) -> bool: ...

    async def start(self, timeout_s: float) -> None: ...

    async def exited(self) -> int | None: ...

    async def stop(self, grace_s: float) -> None: ...

    async def kill(self) -> None: ...


@dataclass(slots=True, eq=False)
class StoreProcess:
    """An embedded Redis-compatible server as a process among the others."""

    name: str
    server: EmbeddedRedis
    role: str = "redis"
    region: str = ""

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        return self.server.pid if self.server.running else None

    @property
    def alive(self) -> bool:
        return self.server.running

    async def start(self, timeout_s: float) -> None:
        """Return once it answers. Raises StartFailed."""
        try:
            async with asyncio.timeout(timeout_s):
                await self.server.start()
        except EmbeddedServerError as error:
            raise StartFailed(f"redis {self.name}: {error}") from None
        except TimeoutError:
            raise StartFailed(f"redis {self.name}: not ready within {timeout_s:g} s") from None

    async def exited(self) -> int | None:
        """Wait until it has ended; its status is not known."""
        while self.server.running:  # noqa: ASYNC110 - the server has no event for its end.
            await asyncio.sleep(POLL_S)
        return None

    async def stop(self, grace_s: float) -> None:
        """End it in good order, by force where that fails; the server bounds it itself, below any `grace_s`."""
        await self.server.stop()

    async def kill(self) -> None:
        await self.server.kill()


@dataclass(slots=True, eq=False)
class Child:
    """A process by its command line. `told` is what its ready line said, in JSON; {} before."""

    role: str
    name: str
    region: str
    arguments: Sequence[str]
    log_file: Path
    cwd: Path
    told: Mapping[str, Any] = field(default_factory=dict)
    _process: asyncio.subprocess.Process | None = None
    _ready: asyncio.Future[Mapping[str, Any]] | None = None
    _ended: asyncio.Task[int] | None = None

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        return self._process.pid if self.alive and self._process is not None else None

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def start(self, timeout_s: float) -> None:
        """Run it and wait for its ready line. Raises StartFailed; nothing is left running then."""
        assert not self.alive, f"{self.name} runs already"
        loop = asyncio.get_running_loop()
        with self.log_file.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *self.arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                cwd=self.cwd,
                start_new_session=True,
                preexec_fn=partial(die_with_parent, os.getpid()),
                limit=LINE_BYTES_MAX,
            )
        self._process = process
        self._ready = loop.create_future()
        self._ended = loop.create_task(self._read(process, self._ready))
        try:
            async with asyncio.timeout(timeout_s):
                either: set[asyncio.Future[Any]] = {self._ready, self._ended}
                await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        except TimeoutError:
            await self.kill()
            raise StartFailed(self._failure(f"not ready within {timeout_s:g} s")) from None
        except BaseException:
            await self.kill()
            raise
        if not self._ready.done():
            status = describe_status(self._ended.result())
            raise StartFailed(self._failure(f"ended with {status} before it was ready"))
        self.told = self._ready.result()

    async def _read(self, process: asyncio.subprocess.Process, ready: asyncio.Future[Mapping[str, Any]]) -> int:
        """Read stdout until it ends, so that nobody waits for room in the pipe; the exit status."""
        assert process.stdout is not None
        while True:
            try:
                line = await process.stdout.readline()
            except ValueError:
                continue  # Longer than the reader's limit; what is left of it comes next.
            if not line:
                return await process.wait()
            if line.startswith(READY) and not ready.done():
                try:
                    ready.set_result(msgspec.json.decode(line[len(READY) :], type=dict[str, Any]))
                except msgspec.DecodeError:
                    continue  # Not for us. If nothing better follows, the start fails in time.

    async def exited(self) -> int:
        """Wait until it has ended; its status, -N for signal N."""
        assert self._ended is not None, "not started"
        return await asyncio.shield(self._ended)

    async def stop(self, grace_s: float) -> None:
        """SIGTERM, then SIGKILL to its whole session once `grace_s` has passed. Safe at any time."""
        if self.alive:
            self._signal(signal.SIGTERM)
            self._signal(signal.SIGCONT)  # A process that a drill has stopped could not obey otherwise.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(grace_s):
                    await self.exited()
        await self.kill()

    async def kill(self) -> None:
        """SIGKILL to its whole session, and wait for its end."""
        if self._ended is not None and not self._ended.done():
            self._signal(signal.SIGKILL)
            await self.exited()

    def _signal(self, number: int) -> None:
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def _failure(self, reason: str) -> str:
        return "\n".join([f"{self.role} {self.name}: {reason}", *tail(self.log_file)])


def describe_status(status: int | None) -> str:
    """An exit status in words."""
    if status is None:
        return "a status unknown"
    if status >= 0:
        return f"exit status {status}"
    try:
        return f"signal {signal.Signals(-status).name}"
    except ValueError:
        return f"signal {-status}"


def tail(path: Path) -> list[str]:
    """The last lines of a log, indented; none if there is no such file."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - TAIL_BYTES))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return []
    return [f"  {line}" for line in lines[-TAIL_LINES:]]
