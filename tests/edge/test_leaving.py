"""The client leaves: the cluster stops working for nobody, at once."""

import asyncio

import pytest

from tests.edge.harness import (
    STREAM_HEAD,
    Hangs,
    Request,
    answers,
    chunk,
    completion,
    full_backlog,
    head,
    post,
    sse,
    stage,
    until,
)

HELD = head(200, {"content-length": "1000"}) + b"x" * 500
LONG = head(200, {"content-length": "1000000"}) + b"x" * 500_000
EVENT = sse("a")[0]


@pytest.mark.parametrize("reset", [True, False], ids=["reset", "closed"])
@pytest.mark.parametrize(
    "first",
    [
        pytest.param(b"", id="waiting"),
        pytest.param(STREAM_HEAD, id="after the head"),
        pytest.param(HELD, id="holding"),
        pytest.param(STREAM_HEAD + chunk(EVENT), id="streaming"),
        pytest.param(LONG, id="relaying"),
    ],
)
async def test_a_client_that_leaves_ends_its_call_at_once(first: bytes, reset: bool) -> None:
    async with stage() as here:
        hangs = Hangs(first)
        here.near.plays(hangs)
        client = await here.client()
        await client.send(post())
        await hangs.began.wait()
        assert here.door.in_flight == {("near", "tiny"): 1}
        if reset:
            client.close()
        else:
            client.writer.close()
        await hangs.abandoned()
        await here.settled()
        assert here.attempts() == {("near", "cancelled"): 1}
        assert here.calls() == {"cancelled": 1}
        assert here.standing("near").failures == 0
        assert here.middle.requests == []


async def test_a_client_that_leaves_while_its_body_is_sent_on_ends_its_call() -> None:
    """The cluster does not read, so most of the body is still with us."""
    stopped = asyncio.Event()
    left = asyncio.Event()

    async def reads_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        stopped.set()
        await left.wait()
        writer.transport.resume_reading()  # type: ignore[attr-defined]

    async with stage() as here:
        here.near.on_connect = reads_nothing
        client = await here.client()
        await client.send(post(padding="x" * 20_000_000))
        await stopped.wait()
        await until(lambda: here.door.in_flight, "the attempt has begun")
        client.close()
        await here.settled()
        left.set()
        await until(lambda: here.near.open == 0, "the cluster's connection is gone")
        assert here.near.requests == []


async def test_a_client_that_leaves_before_its_body_is_complete_leaves_nothing_behind() -> None:
    async with stage() as here:
        client = await here.client()
        await client.send(post()[:-3])
        await until(lambda: here.door.buffered_bytes, "the body comes in")
        client.close()
        await here.settled()
        assert here.calls() == {}
        assert here.attempts() == {}


async def test_a_client_that_leaves_while_we_connect_leaves_nothing_behind() -> None:
    listener, fillers = full_backlog()
    try:
        async with stage() as here:
            here.door.pools["near"].port = listener.getsockname()[1]
            client = await here.client()
            await client.send(post())
            await until(lambda: here.door.in_flight, "the attempt has begun")
            client.close()
            await here.settled()
            assert here.attempts() == {("near", "cancelled"): 1}
    finally:
        for sock in (listener, *fillers):
            sock.close()


async def test_a_client_that_leaves_between_two_attempts_leaves_nothing_behind() -> None:
    async with stage() as here:
        hangs = Hangs()
        here.near.plays(answers(b"x", 503))
        here.middle.plays(hangs)
        client = await here.client()
        await client.send(post())
        await hangs.began.wait()
        assert here.door.in_flight == {("middle", "tiny"): 1}
        client.close()
        await hangs.abandoned()
        await here.settled()
        assert here.attempts() == {("near", "unavailable"): 1, ("middle", "cancelled"): 1}


async def test_a_connection_got_for_a_client_that_has_left_serves_the_next() -> None:
    async with stage() as here:
        clients = [await here.client() for _ in range(10)]
        for client in clients:
            client.writer.write(post())
            client.close()
        await here.settled()
        assert (await here.ask(post())).body == completion("near")
        await here.settled()


async def test_clients_that_come_and_go_at_random_leave_nothing_behind() -> None:
    async with stage(slots=10_000) as here:

        async def slowly(request: Request) -> None:
            await request.send(STREAM_HEAD)
            for event in sse("a", "b", "c"):
                await request.send(chunk(event))
                await asyncio.sleep(0.001)
            await request.send(b"0\r\n\r\n")

        for cluster in here.clusters.values():
            cluster.plays(slowly)

        async def one(number: int) -> None:
            client = await here.client()
            await client.send(post(stream=True, padding="x" * (number * 517 % 90_000)))
            for _ in range(number % 12):
                await asyncio.sleep(0.0005)
            client.close()

        await asyncio.gather(*(one(number) for number in range(150)))
        await here.settled()
        answer = await here.ask(post(stream=True))
        assert answer.events[-1] == b"data: [DONE]"
