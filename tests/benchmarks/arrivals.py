"""Calls in an open loop: they come at random moments, whether or not the earlier ones were answered.

The moments come from the kernel's timer: an event loop's own timers go by the millisecond, so that calls would come in
bunches and wait for one another.
"""

import asyncio
import ctypes
import os
import time
from random import Random

from tests.benchmarks.connection import Connection, TimedConnection
from tests.benchmarks.request import Requests

OUTSTANDING_MAX = 400
READY_CONNECTIONS = 48
ERRORS_MAX = 50
DRAIN_S = 2.0
_CLOCK_MONOTONIC = 1
_ABSOLUTE = 1


class Timer:
    """A timer of the kernel as a descriptor to read from."""

    class _Spec(ctypes.Structure):
        _fields_ = (
            ("every_s", ctypes.c_long),
            ("every_ns", ctypes.c_long),
            ("s", ctypes.c_long),
            ("ns", ctypes.c_long),
        )

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self.descriptor = self._libc.timerfd_create(_CLOCK_MONOTONIC, os.O_NONBLOCK)
        if self.descriptor < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")
        self._spec = self._Spec(0, 0, 0, 0)
        self._at = ctypes.byref(self._spec)

    def set(self, at_s: float) -> None:
        """At this moment of the monotonic clock."""
        whole = int(at_s)
        self._spec.s, self._spec.ns = whole, int((at_s - whole) * 1e9)
        self._libc.timerfd_settime(self.descriptor, _ABSOLUTE, self._at, None)

    def close(self) -> None:
        os.close(self.descriptor)


def share(values: list[float], quantile: float) -> float:
    """The value at a quantile of sorted values."""
    return values[min(len(values) - 1, int(quantile * len(values)))]


class Arrivals:
    """So many calls a second, for so long."""

    def __init__(self, port: int, requests: Requests, per_s: float, seed: int) -> None:
        self.port = port
        self.requests = requests
        self.per_s = per_s
        self.rng = Random(seed)
        self.idle: list[TimedConnection] = []
        self.all: set[TimedConnection] = set()
        self.late_s: list[float] = []  # How much later than planned a call was sent.
        self.ttfb_s: list[float] = []
        self.outstanding = self.errors = 0
        self.first_error: str | None = None
        self.dialing: set[asyncio.Task[None]] = set()
        self.ended = asyncio.Event()
        self.overrun = self.over = False

    async def run(self, window_s: float, warm_s: float = 0.3) -> dict[str, object]:
        self.loop = asyncio.get_running_loop()
        for _ in range(READY_CONNECTIONS):
            self.idle.append(await self._dial())
        self.timer = Timer()
        now = time.monotonic()
        self.next_at, self.count_from, self.until = now, now + warm_s, now + warm_s + window_s
        self.loop.add_reader(self.timer.descriptor, self._due)
        self.timer.set(self.next_at)
        try:
            async with asyncio.timeout(warm_s + window_s + DRAIN_S):
                await self.ended.wait()
        except TimeoutError:
            self._failed(f"{self.outstanding} calls were not answered {DRAIN_S:g} s after the last was sent")
        self.over = True
        self.loop.remove_reader(self.timer.descriptor)
        self.timer.close()
        for connection in list(self.all):
            connection.transport.abort()  # type: ignore[attr-defined]
        if self.overrun:
            why = f"does not bear {self.per_s:,.0f} calls/s: {self.outstanding} were waiting"
            return {"failure": why, "again": True}
        if not self.ttfb_s:
            return {"failure": self.first_error or "no answer came"}
        times, late = sorted(self.ttfb_s), sorted(self.late_s)
        return {
            "answers": len(times),
            "p50_ms": 1e3 * share(times, 0.5),
            "p99_ms": 1e3 * share(times, 0.99),
            "late_p99_ms": 1e3 * share(late, 0.99),
            "errors": self.errors,
            "first_error": self.first_error,
        }

    def _due(self) -> None:
        try:
            os.read(self.timer.descriptor, 8)
        except BlockingIOError:
            return
        now = time.monotonic()
        while self.next_at <= now and not self.ended.is_set():
            if self.next_at >= self.until:
                self._finish_if_done()
                return
            self._send(now)
            self.next_at += self.rng.expovariate(self.per_s)
        self.timer.set(self.next_at)

    def _send(self, now: float) -> None:
        self.outstanding += 1
        if self.outstanding > OUTSTANDING_MAX:
            self.overrun = True
            self.ended.set()
            return
        if self.next_at >= self.count_from:
            self.late_s.append(now - self.next_at)
        if self.idle:
            self._ask(self.idle.pop(), now)
        else:
            task = self.loop.create_task(self._dial_and_ask(now))
            self.dialing.add(task)
            task.add_done_callback(self.dialing.discard)

    def _ask(self, connection: TimedConnection, asked_at: float) -> None:
        connection.asked_at = asked_at
        connection.ask(*self.requests.next())

    async def _dial(self) -> TimedConnection:
        _, connection = await self.loop.create_connection(
            lambda: TimedConnection(self._answered, self._closed), "127.0.0.1", self.port
        )
        self.all.add(connection)
        return connection

    async def _dial_and_ask(self, asked_at: float) -> None:
        try:
            self._ask(await self._dial(), asked_at)
        except OSError as error:
            self._failed(f"could not connect: {error}")

    def _answered(self, connection: Connection, ok: bool) -> None:
        self.outstanding -= 1
        if not ok:
            self._failed(f"status {connection.status}, body {connection.body[:200]!r}")
        elif connection.asked_at >= self.count_from:
            self.ttfb_s.append(connection.first_byte_at - connection.asked_at)
        if not connection.transport.is_closing():
            assert isinstance(connection, TimedConnection)
            self.idle.append(connection)
        self._finish_if_done()

    def _closed(self, connection: Connection) -> None:
        assert isinstance(connection, TimedConnection)
        self.all.discard(connection)
        if connection in self.idle:
            self.idle.remove(connection)
        if connection.busy and not self.over:
            self.outstanding -= 1
            self._failed("the connection ended before the answer did")

    def _failed(self, why: str) -> None:
        self.errors += 1
        self.first_error = self.first_error or why
        if self.errors >= ERRORS_MAX:
            self.ended.set()

    def _finish_if_done(self) -> None:
        if self.outstanding == 0 and self.next_at >= self.until:
            self.ended.set()
