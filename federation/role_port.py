"""The outside world of operators and Kubernetes: a role's own port, with /metrics, /healthz and /readyz.

uvicorn runs inside the role's event loop and leaves signals to the role. `LoopAges` is what
a role's health is judged by: when each background loop last came round.
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Mapping

import structlog
import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from federation.clock import Clock

log = structlog.get_logger()

Health = Callable[[], str | None]

_STOP_S_MAX = 3.0


class LoopAges:
    """When each background loop of a process last came round, and how late is too late."""

    def __init__(self, clock: Clock, overdue_after_s: Mapping[str, float]) -> None:
        """`overdue_after_s`: for each loop, by name, the age in seconds at which it counts as dead."""
        self._clock = clock
        self._overdue_after_s = dict(overdue_after_s)
        now = clock.monotonic()
        self._beats = dict.fromkeys(self._overdue_after_s, now)  # Each gets its time to come round once.

    def beat(self, loop: str) -> None:
        """The loop has come round."""
        assert loop in self._beats, f"unknown loop {loop}"
        self._beats[loop] = self._clock.monotonic()

    def age_s(self, loop: str) -> float:
        return self._clock.monotonic() - self._beats[loop]

    def overdue(self) -> str | None:
        """A sentence about the first loop that is overdue; None if all go round."""
        for loop, bound_s in self._overdue_after_s.items():
            if (age_s := self.age_s(loop)) > bound_s:
                return f"loop {loop} last came round {age_s:.1f} s ago, at most {bound_s:g} s are normal"
        return None

    def __iter__(self) -> Iterator[str]:
        return iter(self._beats)


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.asynccontextmanager
async def role_port(
    host: str, port: int, registry: CollectorRegistry, health: Health, ready: Health | None = None
) -> AsyncIterator[str]:
    """Serve the role's port while the block runs; yields its URL. `port` 0 takes any free one.

    `health` says in a sentence what is wrong (503), or None (200). `ready` is the same for
    /readyz and `health` where it is left out. Raises OSError if the port cannot be bound.
    """

    def answer(judge: Health) -> Callable[[Request], Response]:
        def respond(_request: Request) -> Response:
            wrong = judge()
            return PlainTextResponse("ok\n" if wrong is None else f"{wrong}\n", 200 if wrong is None else 503)

        return respond

    async def metrics(_request: Request) -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    async def healthz(request: Request) -> Response:
        return answer(health)(request)

    async def readyz(request: Request) -> Response:
        return answer(ready or health)(request)

    app = Starlette(routes=[Route("/metrics", metrics), Route("/healthz", healthz), Route("/readyz", readyz)])
    listener = _bind(host, port)
    bound = listener.getsockname()[1]
    config = uvicorn.Config(
        app, lifespan="off", access_log=False, log_config=None, server_header=False, timeout_graceful_shutdown=1
    )
    server = _Server(config)
    # It listens already: whoever connects before the server has started waits in the backlog.
    serving = asyncio.get_running_loop().create_task(server.serve([listener]))
    try:
        yield f"http://{f'[{host}]' if ':' in host else host}:{bound}"
    finally:
        server.should_exit = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_STOP_S_MAX):
                await serving
        listener.close()


def _bind(host: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(128)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener
