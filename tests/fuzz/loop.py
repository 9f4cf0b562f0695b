"""An event loop in virtual time: what is ready runs in order, and time moves only when told."""

import asyncio
import heapq
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import Context
from itertools import count
from typing import Any

from federation.clock import ManualClock

TURNS_MAX = 100_000  # Of one case: beyond, something goes round for ever.


class TurnLoop(asyncio.AbstractEventLoop):
    """As much of an event loop as tasks, futures and timers need."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.escaped: list[str] = []  # Exceptions that nobody caught.
        self._ready: deque[asyncio.Handle] = deque()
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._order = count()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Be the loop that asyncio finds."""
        before = asyncio._get_running_loop()
        asyncio._set_running_loop(self)
        try:
            yield
        finally:
            asyncio._set_running_loop(before)

    # What asyncio asks of a loop.

    def time(self) -> float:
        return self.clock.now_s

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def call_soon(self, callback: Callable[..., Any], *args: Any, context: Context | None = None) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_later(
        self, delay: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self.clock.now_s + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        heapq.heappush(self._timers, (when, next(self._order), handle))
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        pass

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(  # type: ignore[override]
        self, coro: Coroutine[Any, Any, Any], *, name: str | None = None, context: Context | None = None
    ) -> asyncio.Task[Any]:
        return asyncio.Task(coro, loop=self, name=name, context=context)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.escaped.append(f"{context.get('message')}: {context.get('exception')!r}")

    # What a case asks of it.

    def settle(self) -> None:
        """Run until nothing is ready any more."""
        ready = self._ready
        for _ in range(TURNS_MAX):
            if not ready:
                return
            handle = ready.popleft()
            if not handle.cancelled():
                handle._run()
        raise AssertionError(f"still busy after {TURNS_MAX} turns")

    def pass_time(self, seconds: float) -> None:
        """Let so much time pass, and whatever falls due in it happen."""
        end = self.clock.now_s + seconds
        self.settle()
        while self._timers and self._timers[0][0] <= end:
            when, _, handle = heapq.heappop(self._timers)
            self.clock.advance(max(0.0, when - self.clock.now_s))
            if not handle.cancelled():
                handle._run()
            self.settle()
        self.clock.advance(max(0.0, end - self.clock.now_s))

    def pass_until_quiet(self, within_s: float) -> None:
        """Let time pass, as long as something is still to come, up to a bound."""
        end = self.clock.now_s + within_s
        self.settle()
        while self._timers and self._timers[0][0] <= end:
            self.pass_time(max(0.0, self._timers[0][0] - self.clock.now_s))
