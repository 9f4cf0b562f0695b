"""The end of a front door: told to load balancers first, calls under way are finished, then cut honestly."""

import asyncio

from tests.edge.harness import STREAM_HEAD, Hangs, chunk, get, head, post, sse, stage

FIRST, LAST = sse("a")


async def test_a_lame_duck_is_unready_and_still_answers_and_says_that_it_closes() -> None:
    async with stage() as here:
        assert (await here.ask(get("/readyz"))).status == 200
        here.door.lame_duck = True
        for request, status in (
            (post(), 200),
            (post(b"{}"), 400),
            (get("/v1/models"), 200),
            (get("/readyz"), 503),
            (get("/healthz"), 200),
        ):
            client = await here.client()
            await client.send(request)
            answer = await client.answer()
            assert (answer.status, answer["connection"]) == (status, "close")
            assert await client.ended() == b""


async def test_a_stream_begun_before_the_end_is_finished() -> None:
    async with stage() as here:
        hangs = Hangs(STREAM_HEAD + chunk(FIRST), chunk(LAST) + b"0\r\n\r\n")
        here.near.plays(hangs)
        client = await here.client()
        await client.send(post(stream=True))
        await client.head()
        assert await client.chunk() == FIRST
        here.close_listeners()
        await asyncio.sleep(0.3)
        hangs.go.set()
        assert await client.chunk() == LAST
        assert await client.chunk() is None
        assert await client.ended() == b""


async def test_at_the_end_of_the_grace_period_a_stream_gets_an_error_and_a_waiting_call_an_answer() -> None:
    async with stage() as here:
        streaming, waiting = Hangs(STREAM_HEAD + chunk(FIRST)), Hangs()
        here.near.plays(streaming, waiting)
        first = await here.client()
        await first.send(post(stream=True))
        await streaming.began.wait()
        second = await here.client()
        await second.send(post())
        await waiting.began.wait()
        await first.head()
        assert await first.chunk() == FIRST
        here.door.cut_all()
        event = await first.chunk()
        assert event is not None
        assert b'"too_busy"' in event
        assert await first.chunk() is None
        answer = await second.answer()
        assert (answer.status, answer.code, answer["retry-after"]) == (503, "too_busy", "1")
        await streaming.abandoned()
        await waiting.abandoned()
        assert set(here.attempts()) == {("near", "cancelled")}


async def test_an_idle_connection_is_closed_when_the_listeners_close_and_a_busy_one_after_its_answer() -> None:
    async with stage() as here:
        idle = await here.client()
        await idle.send(post())
        await idle.answer()
        hangs = Hangs(b"", head(200, {"content-length": "2"}) + b"ok")
        here.near.plays(hangs)
        busy = await here.client()
        await busy.send(post())
        await hangs.began.wait()
        here.close_listeners()
        assert await idle.ended() == b""
        hangs.go.set()
        answer = await busy.answer()
        assert (answer.body, answer["connection"]) == (b"ok", "close")
        assert await busy.ended() == b""
