"""The load in its own process. Each line on stdin is a command, each line on stdout its result, both JSON.

What it commands is here; how each kind of load works is in files of their own. Ends with its stdin.
"""

import asyncio
import gc
import json
import sys
import time
from typing import Any

import uvloop

from tests.benchmarks import answer
from tests.benchmarks.arrivals import Arrivals
from tests.benchmarks.closed_loop import ClosedLoop
from tests.benchmarks.connection import Connection
from tests.benchmarks.cpu import Meter
from tests.benchmarks.open_streams import OpenStreams
from tests.benchmarks.request import EVENTS_MAX, Requests

VERIFIED_EVENTS = 20
ANSWER_WITHIN_S = 10.0
TRY_AGAIN_S = 0.1


async def _ask_once(port: int, requests: Requests) -> tuple[int, bytes]:
    """Status and body of one call on a connection of its own."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[tuple[int, bytes]] = loop.create_future()

    def over(connection: Connection, ok: bool = False) -> None:
        if not done.done():
            done.set_result((connection.status, connection.body))

    async with asyncio.timeout(ANSWER_WITHIN_S):
        transport, connection = await loop.create_connection(lambda: Connection(over, over), "127.0.0.1", port)
        connection.ask(*requests.next())
        try:
            return await done
        finally:
            transport.abort()


async def wait_ready(*, port: int, key: str, within_s: float) -> dict[str, Any]:
    """Until a proxy answers a call with 200."""
    until = time.monotonic() + within_s
    requests = Requests(port, key, 200, stream=False)
    said = "nothing listened"
    while time.monotonic() < until:
        try:
            status, body = await _ask_once(port, requests)
            if status == 200:
                return {}
            said = f"it answered {status} {body[:200]!r}"
        except (OSError, TimeoutError) as error:
            said = str(error) or type(error).__name__
        await asyncio.sleep(TRY_AGAIN_S)
    return {"failure": f"not ready within {within_s:g} s: {said}"}


async def verify(*, port: int, key: str, same_bytes: bool) -> dict[str, Any]:
    """One answer and one whole stream, compared with what the upstream sent."""
    plain_status, plain = await _ask_once(port, Requests(port, key, 2_000, stream=False))
    stream = Requests(port, key, 2_000, stream=True, max_tokens=VERIFIED_EVENTS)
    stream_status, streamed = await _ask_once(port, stream)
    if (plain_status, stream_status) != (200, 200):
        return {"failure": f"answered {plain_status} and, streamed, {stream_status}: {(plain + streamed)[:300]!r}"}
    wrong = answer.wrong(plain, streamed, VERIFIED_EVENTS, same_bytes)
    return {"failure": wrong} if wrong else {}


async def calls(
    *,
    port: int,
    key: str,
    proxy: list[int],
    upstream: int,
    prompt_bytes: int,
    connections: int,
    warm_s: float,
    window_s: float,
) -> dict[str, Any]:
    requests = Requests(port, key, prompt_bytes, stream=False)
    return await ClosedLoop(port, requests, connections).run(Meter(proxy, upstream), warm_s, window_s)


async def streams(
    *, port: int, key: str, proxy: list[int], upstream: int, count: int, open_s: float, window_s: float
) -> dict[str, Any]:
    requests = Requests(port, key, 2_000, stream=True, max_tokens=EVENTS_MAX)
    return await OpenStreams(port, requests, count).run(Meter(proxy, upstream), open_s, window_s)


async def arrivals(*, port: int, key: str, per_s: float, window_s: float, seed: int) -> dict[str, Any]:
    return await Arrivals(port, Requests(port, key, 2_000, stream=False), per_s, seed).run(window_s)


COMMANDS = {"wait_ready": wait_ready, "verify": verify, "calls": calls, "streams": streams, "arrivals": arrivals}


def main() -> None:
    gc.freeze()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        for line in sys.stdin:
            command = json.loads(line)
            gc.disable()
            try:
                told = runner.run(COMMANDS[command.pop("do")](**command))
            except (OSError, TimeoutError) as error:
                told = {"failure": f"{type(error).__name__}: {error}"}
            gc.enable()
            gc.collect()
            print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
