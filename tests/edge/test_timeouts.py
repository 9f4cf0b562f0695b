"""Every wait of a call has its bound."""

import asyncio

import pytest

from router.settings import TimeoutSettings
from tests.edge.harness import STREAM_HEAD, Hangs, chunk, completion, head, post, sse, stage

DEADLINE = [("x-tradewind-deadline-ms", "150")]


@pytest.mark.parametrize(
    "first",
    [b"", STREAM_HEAD, head(200, {"content-length": "100"}) + b"half"],
    ids=["nothing", "head", "half an answer"],
)
async def test_a_cluster_that_does_not_answer_in_time_is_left_for_the_next(first: bytes) -> None:
    async with stage(timeouts=TimeoutSettings(first_byte_s=0.15)) as here:
        hangs = Hangs(first)
        here.near.plays(hangs)
        answer = await here.ask(post())
        assert (answer.body, answer["x-tradewind-attempts"]) == (completion("middle"), "2")
        await hangs.abandoned()
        assert here.attempts() == {("near", "first_byte_timeout"): 1, ("middle", "served"): 1}
        assert here.standing("near").failures == 1.0


async def test_no_answer_in_time_from_anyone_is_504() -> None:
    async with stage(timeouts=TimeoutSettings(first_byte_s=0.1)) as here:
        hangs = [Hangs() for _ in here.clusters]
        for cluster, hang in zip(here.clusters.values(), hangs, strict=True):
            cluster.plays(hang)
        answer = await here.ask(post())
        assert (answer.status, answer.code) == (504, "first_byte_timeout")
        assert answer["x-tradewind-attempts"] == "3"
        for hang in hangs:
            await hang.abandoned()


@pytest.mark.parametrize("first", [b"", STREAM_HEAD], ids=["nothing", "head"])
async def test_a_calls_own_deadline_is_504_and_held_against_nobody(first: bytes) -> None:
    async with stage() as here:
        hangs = Hangs(first)
        here.near.plays(hangs)
        answer = await here.ask(post(headers=DEADLINE))
        assert (answer.status, answer.code, answer["x-should-retry"]) == (504, "deadline_exceeded", "false")
        assert "150 ms" in answer.json["error"]["message"]
        await hangs.abandoned()
        assert here.attempts() == {("near", "cancelled"): 1}
        assert here.standing("near").failures == 0


async def test_a_deadline_is_for_the_first_byte_only() -> None:
    first, last = sse("a")
    async with stage() as here:
        hangs = Hangs(STREAM_HEAD + chunk(first), chunk(last) + b"0\r\n\r\n")
        here.near.plays(hangs)
        client = await here.client()
        await client.send(post(headers=DEADLINE, stream=True))
        await client.head()
        assert await client.chunk() == first
        await asyncio.sleep(0.3)
        hangs.go.set()
        assert await client.chunk() == last
        assert await client.chunk() is None


async def test_an_answer_that_takes_too_long_altogether_before_its_first_byte_is_504() -> None:
    async with stage(timeouts=TimeoutSettings(total_s=0.15)) as here:
        hangs = Hangs()
        here.near.plays(hangs)
        answer = await here.ask(post())
        assert (answer.status, answer.code) == (504, "deadline_exceeded")
        await hangs.abandoned()
        assert here.middle.requests == []


async def test_a_stream_that_takes_too_long_altogether_ends_with_an_error() -> None:
    async with stage(timeouts=TimeoutSettings(total_s=0.2)) as here:
        hangs = Hangs(STREAM_HEAD + chunk(sse("a")[0]))
        here.near.plays(hangs)
        answer = await here.ask(post(stream=True))
        assert answer.complete
        assert b"deadline_exceeded" in answer.events[-1]
        await hangs.abandoned()


async def test_what_takes_its_time_within_the_bounds_is_left_alone() -> None:
    bounds = TimeoutSettings(first_byte_s=2.0, idle_s=2.0, total_s=5.0, body_s=2.0, keep_alive_s=2.0)
    async with stage(timeouts=bounds) as here:
        hangs = Hangs(b"", head(200, {"content-length": "2"}) + b"ok")
        here.near.plays(hangs)
        client = await here.client()
        await client.send(post()[:-1])
        await asyncio.sleep(0.2)
        await client.send(post()[-1:])
        await hangs.began.wait()
        await asyncio.sleep(0.2)
        hangs.go.set()
        assert (await client.answer()).body == b"ok"
