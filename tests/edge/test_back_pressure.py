"""A client that reads slowly holds its cluster back, not our memory."""

import asyncio

import pytest

from router.settings import TimeoutSettings
from tests.edge.harness import STREAM_HEAD, Hangs, RawClient, Request, Stage, chunk, head, post, sse, stage, until

EVENT = b"data: %s\n\n" % (b"x" * 8000)
BUFFER_BYTES_MAX = 1_000_000  # One read of 256 KB above the high-water mark, and room to spare.


class Flood:
    """An endless stream as fast as it is taken; `sent` says how much."""

    def __init__(self, first: bytes = STREAM_HEAD, piece: bytes = chunk(EVENT)) -> None:
        self.first = first
        self.piece = piece
        self.sent = 0

    async def __call__(self, request: Request) -> None:
        await request.send(self.first)
        while True:
            await request.send(self.piece)
            self.sent += len(self.piece)

    async def stalls(self) -> int:
        """Wait until nothing moves any more; how much was sent."""
        async with asyncio.timeout(20):
            while True:
                before = self.sent
                await asyncio.sleep(0.1)
                if self.sent == before > 0:
                    return before


def unsent(here: Stage) -> int:
    """What waits in our transports for clients."""
    return sum(connection.transport.get_write_buffer_size() for connection in here.server.server_state.connections)


async def _stalled(here: Stage, flood: Flood, request: bytes) -> RawClient:
    here.near.plays(flood)
    client = await here.client(receive_buffer=8192)
    await client.send(request)
    await flood.stalls()
    assert 0 < unsent(here) < BUFFER_BYTES_MAX
    return client


@pytest.mark.parametrize(
    ("first", "piece"),
    [
        pytest.param(STREAM_HEAD, chunk(EVENT), id="stream"),
        pytest.param(head(200, {"transfer-encoding": "chunked"}), chunk(b"y" * 8000), id="long answer"),
        pytest.param(head(200, {"content-length": str(10**12)}), b"y" * 8000, id="with its length"),
    ],
)
async def test_a_client_that_does_not_read_stops_its_cluster_and_goes_on_when_it_reads(
    first: bytes, piece: bytes
) -> None:
    async with stage() as here:
        flood = Flood(first, piece)
        client = await _stalled(here, flood, post())
        before = flood.sent
        while flood.sent < before + 10_000_000:
            assert await asyncio.wait_for(client.reader.read(1_000_000), 10)
        await flood.stalls()
        assert unsent(here) < BUFFER_BYTES_MAX
        client.close()
        await until(lambda: here.near.open == 0, "the cluster is let go")


async def test_a_client_that_does_not_read_is_not_taken_for_a_silent_cluster() -> None:
    async with stage(timeouts=TimeoutSettings(idle_s=0.2)) as here:
        flood = Flood()
        client = await _stalled(here, flood, post(stream=True))
        await asyncio.sleep(0.6)
        before = flood.sent
        while flood.sent < before + 3_000_000:
            assert await asyncio.wait_for(client.reader.read(1_000_000), 10)
        assert here.calls() == {}
        client.close()


async def test_after_the_total_time_a_client_that_does_not_read_is_given_up_and_not_its_cluster() -> None:
    async with stage(timeouts=TimeoutSettings(total_s=0.5, idle_s=0.3, keep_alive_s=0.3)) as here:
        await _stalled(here, Flood(), post(stream=True))
        await until(lambda: here.near.open == 0, "the cluster is let go")
        assert here.standing("near").failures == 0
        await until(lambda: not here.server.server_state.connections, "and so is the client")


@pytest.mark.parametrize("pipelined", [True, False], ids=["pipelined", "one by one"])
async def test_answers_that_are_not_read_do_not_pile_up(pipelined: bool) -> None:
    """Each is short enough to be held whole; together they are 20 MB, and an endless stream comes last."""
    async with stage() as here:
        flood = Flood()
        here.near.plays(*[_short] * 100, flood)
        client = await here.client(receive_buffer=8192)
        requests = [post()] * 100 + [post(stream=True)]
        if pipelined:
            await client.send(b"".join(requests))
        else:
            for request in requests:
                await client.send(request)
                await asyncio.sleep(0.002)
        await _quiet(here)
        assert 0 < unsent(here) < BUFFER_BYTES_MAX
        assert len(here.near.requests) < 100
        for _ in range(100):
            assert len((await client.answer()).body) == 200_000
        await client.head()
        await flood.stalls()
        assert unsent(here) < BUFFER_BYTES_MAX
        client.close()


async def _quiet(here: Stage) -> None:
    """Wait until no more requests reach the cluster."""
    async with asyncio.timeout(20):
        while True:
            before = len(here.near.requests)
            await asyncio.sleep(0.1)
            if len(here.near.requests) == before > 0:
                return


async def test_a_client_that_takes_nothing_of_its_answers_is_let_go() -> None:
    async with stage(timeouts=TimeoutSettings(idle_s=0.2)) as here:
        here.near.plays(_short)
        client = await here.client(receive_buffer=8192)
        await client.send(post() * 100)
        await until(lambda: not here.server.server_state.connections, "the connection is let go")


async def _short(request: Request) -> None:
    await request.send(head(200, {"content-length": "200000"}) + b"z" * 200_000)


async def _big(request: Request) -> None:
    await request.send(head(200, {"content-length": "2000000"}) + b"z" * 2_000_000)


async def test_a_connection_that_was_held_back_serves_the_next_call() -> None:
    """It was paused when the answer ended, and must read again for the next."""
    async with stage() as here:
        here.near.plays(_big)
        for _ in range(3):
            client = await here.client(receive_buffer=8192)
            await client.send(post())
            await asyncio.sleep(0.05)
            answer = await client.answer()
            assert len(answer.body) == 2_000_000
            client.close()
        assert here.near.connections == 1


async def test_a_reader_that_takes_a_little_at_a_time_gets_everything() -> None:
    events = sse(*(str(number) * 400 for number in range(500)))
    async with stage() as here:

        async def fast(request: Request) -> None:
            await request.send(STREAM_HEAD + b"".join(chunk(event) for event in events) + b"0\r\n\r\n")

        here.near.plays(fast)
        client = await here.client(receive_buffer=4096)
        await client.send(post(stream=True))
        await client.head()
        seen = b""
        while (part := await client.chunk()) is not None:
            seen += part
        assert seen == b"".join(events)


async def test_a_slow_reader_does_not_hold_back_another() -> None:
    async with stage() as here:
        flood = Flood()
        slow = await _stalled(here, flood, post(stream=True))
        here.near.plays(Hangs(head(200, {"content-length": "2"}) + b"ok"))
        assert (await here.ask(post())).body == b"ok"
        slow.close()
