"""A quiet stream: comments, the head in time, and a choice that stays free until the first data."""

import asyncio
import json
from typing import Any

import pytest

from router.dialect import Dialect
from router.edge.reply import Reply
from router.settings import TimeoutSettings
from tests.edge.harness import (
    MODEL,
    STREAM_HEAD,
    Answer,
    Hangs,
    RawClient,
    Script,
    Stage,
    answers,
    chunk,
    completion,
    head,
    post,
    sse,
    stage,
    streams,
    then_resets,
    until,
)
from tests.edge.test_back_pressure import Flood

COMMENT = b": waiting\n\n"
QUICK = TimeoutSettings(comment_s=0.1)
FIRST, SECOND, DONE = sse("one ", "two")
REST = chunk(SECOND) + chunk(DONE) + b"0\r\n\r\n"
OURS_LATER = ("x-tradewind-cluster", "x-tradewind-region", "x-tradewind-decision", "x-tradewind-attempts")


async def opened(client: RawClient, request: bytes | None = None) -> Answer:
    """Ask for a stream, and read its head and first comment, which come before any cluster has answered."""
    await client.send(request or post(stream=True, headers=[("x-request-id", "mine")]))
    status, headers = await client.head()
    assert await client.chunk() == COMMENT
    return Answer(status, headers, b"", complete=False)


async def rest_of(client: RawClient) -> bytes:
    """What still comes, without comments."""
    body = b""
    while (part := await client.chunk()) is not None:
        body += part
    return body.replace(COMMENT, b"")


def error_of(body: bytes) -> Any:
    """The one event that a stream ends with, an error in OpenAI's shape."""
    assert body.startswith(b"data: ")
    assert body.count(b"\n\n") == 1
    error = json.loads(body.removeprefix(b"data: "))["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return error


def ttft(here: Stage, what: str) -> float:
    """Of all first bytes: how many, or their time together."""
    samples = [sample for family in here.registry.collect() for sample in family.samples]
    return sum(sample.value for sample in samples if sample.name == f"tradewind_ttft_seconds_{what}")


# Comments.


async def test_a_quiet_stream_gets_comments_between_its_events() -> None:
    async with stage(timeouts=QUICK) as here:
        hangs = Hangs(STREAM_HEAD + chunk(FIRST), REST)
        here.near.plays(hangs)
        client = await here.client()
        await client.send(post(stream=True))
        _, headers = await client.head()
        assert dict(headers)["x-tradewind-cluster"] == "near"
        assert await client.chunk() == FIRST
        assert [await client.chunk() for _ in range(3)] == [COMMENT] * 3
        hangs.go.set()
        assert await rest_of(client) == SECOND + DONE
        assert here.attempts() == {("near", "served"): 1}


async def test_comments_come_once_an_interval() -> None:
    async with stage(timeouts=TimeoutSettings(comment_s=0.2)) as here:
        hangs = Hangs(STREAM_HEAD + chunk(FIRST))
        here.near.plays(hangs)
        client = await here.client()
        await client.send(post(stream=True))
        await client.head()
        await client.chunk()
        began_at = here.door.now()
        for _ in range(3):
            assert await client.chunk() == COMMENT
        assert here.door.now() - began_at > 0.55


async def test_a_stream_that_is_not_quiet_gets_none() -> None:
    async def steadily(request: Any) -> None:
        await request.send(STREAM_HEAD)
        for _ in range(20):
            await request.send(chunk(FIRST))
            await asyncio.sleep(0.05)
        await request.send(REST)

    async with stage(timeouts=TimeoutSettings(comment_s=1.0)) as here:
        here.near.plays(steadily)
        answer = await here.ask(post(stream=True))
        assert COMMENT not in answer.body
        assert answer.body == FIRST * 20 + SECOND + DONE


@pytest.mark.parametrize("half", [b"data: {", SECOND[:-1], b"data: x\r\n\r"], ids=["in it", "at its end", "crlf"])
async def test_a_comment_stands_never_inside_an_event(half: bytes) -> None:
    """Half an event is held back, so that what went out ends where an event does."""
    async with stage(timeouts=QUICK) as here:
        hangs = Hangs(STREAM_HEAD + chunk(FIRST + half), chunk(b"\n\n") + chunk(DONE) + b"0\r\n\r\n")
        here.near.plays(hangs)
        client = await here.client()
        await client.send(post(stream=True))
        await client.head()
        assert await client.chunk() == FIRST
        assert await client.chunk() == COMMENT
        hangs.go.set()
        assert (await rest_of(client)).startswith(half)


async def test_an_event_that_had_to_be_torn_is_not_commented_on() -> None:
    async with stage(timeouts=QUICK) as here:
        long = b"data: " + b"x" * 1_200_000
        hangs = Hangs(STREAM_HEAD + chunk(FIRST) + chunk(long), chunk(b"\n\n") + chunk(DONE) + b"0\r\n\r\n")
        here.near.plays(hangs)
        client = await here.client()
        await client.send(post(stream=True))
        await client.head()
        body = b""
        while len(body) < len(FIRST + long):
            part = await client.chunk()
            assert part is not None
            body += part
        assert body.replace(COMMENT, b"") == FIRST + long
        assert COMMENT not in body[len(FIRST) + 200_000 :]
        await asyncio.sleep(0.3)
        hangs.go.set()
        rest = b""
        while (part := await client.chunk()) is not None:
            rest += part
        assert rest == b"\n\n" + DONE


async def test_an_answer_that_is_no_stream_gets_none() -> None:
    async with stage(timeouts=QUICK) as here:
        body = completion()
        hangs = Hangs(b"", head(200, {"content-length": str(len(body))}) + body)
        here.near.plays(hangs)
        client = await here.client()
        await client.send(post())
        await hangs.began.wait()
        await asyncio.sleep(0.3)
        hangs.go.set()
        answer = await client.answer()
        assert (answer.status, answer.body, answer["x-tradewind-cluster"]) == (200, body, "near")


async def test_a_client_that_does_not_read_gets_none() -> None:
    async with stage(timeouts=QUICK) as here:
        flood = Flood()
        here.near.plays(flood)
        client = await here.client(receive_buffer=8192)
        await client.send(post(stream=True))
        await flood.stalls()
        [connection] = here.server.server_state.connections
        before = connection.transport.get_write_buffer_size()
        await asyncio.sleep(0.4)
        assert connection.transport.get_write_buffer_size() == before
        client.close()
        await until(lambda: here.near.open == 0, "the cluster is let go")


async def test_a_stream_that_waits_to_be_gone_on_with_gets_comments() -> None:
    async with stage(timeouts=QUICK, features=("continue_final_message",)) as here:
        hangs = Hangs(b"", STREAM_HEAD + REST)
        here.near.plays(then_resets(STREAM_HEAD + chunk(FIRST)))
        here.middle.plays(hangs)
        client = await here.client()
        await client.send(post(stream=True))
        await client.head()
        assert await client.chunk() == FIRST
        assert await client.chunk() == COMMENT
        assert await client.chunk() == COMMENT
        hangs.go.set()
        assert b'"two"' in await rest_of(client)


# The head in time.


@pytest.mark.parametrize("first", [b"", STREAM_HEAD, STREAM_HEAD + chunk(b"data: ha")], ids=["nothing", "head", "half"])
async def test_the_head_goes_out_in_time_and_binds_to_nothing(first: bytes) -> None:
    async with stage(timeouts=QUICK) as here:
        hangs = Hangs(first, (b"" if first else STREAM_HEAD) + (chunk(b"\n\n") if b"ha" in first else b"") + REST)
        here.near.plays(hangs)
        client = await here.client()
        answer = await opened(client)
        assert (answer.status, answer["content-type"]) == (200, "text/event-stream; charset=utf-8")
        assert (answer["x-request-id"], answer["transfer-encoding"]) == ("mine", "chunked")
        assert (answer["x-accel-buffering"], answer["cache-control"]) == ("no", "no-cache, no-transform")
        assert [name for name in OURS_LATER if name in answer] == []
        assert await client.chunk() == COMMENT
        hangs.go.set()
        assert (await rest_of(client)).endswith(SECOND + DONE)
        assert here.attempts() == {("near", "served"): 1}
        assert here.calls() == {"served": 1}


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(then_resets(), id="reset"),
        pytest.param(answers(b"", 503), id="503"),
        pytest.param(answers(b"", 429), id="429"),
        pytest.param(answers(completion()), id="no stream"),
        pytest.param(answers(b'{"error":{"message":"The model `tiny` does not exist."}}', 404), id="no such model"),
        pytest.param(then_resets(STREAM_HEAD + chunk(b"data: ha")), id="broke in its first event"),
    ],
)
async def test_failover_stays_possible_behind_an_early_head(script: Script) -> None:
    async with stage(timeouts=QUICK) as here:
        go = asyncio.Event()

        async def late(request: Any) -> None:
            await go.wait()
            await script(request)

        here.near.plays(late)
        here.middle.plays(streams(FIRST, SECOND, DONE))
        client = await here.client()
        await opened(client)
        go.set()
        assert await rest_of(client) == FIRST + SECOND + DONE
        assert here.calls() == {"served": 1}
        assert here.attempts()["middle", "served"] == 1


async def test_a_cluster_that_is_lost_behind_an_early_head_is_left_for_the_next() -> None:
    async with stage(timeouts=QUICK) as here:
        hangs = Hangs()
        here.near.plays(hangs)
        here.middle.plays(streams(FIRST, DONE))
        client = await here.client()
        await opened(client)
        here.door.cluster_unreachable("near")
        assert await rest_of(client) == FIRST + DONE
        await hangs.abandoned()


async def test_a_time_out_behind_an_early_head_goes_to_the_next() -> None:
    async with stage(timeouts=TimeoutSettings(comment_s=0.1, first_byte_s=0.3)) as here:
        hangs = Hangs()
        here.near.plays(hangs)
        here.middle.plays(streams(FIRST, DONE))
        client = await here.client()
        await opened(client)
        assert await rest_of(client) == FIRST + DONE
        await hangs.abandoned()


@pytest.mark.parametrize("status", [400, 413, 422])
async def test_a_refusal_behind_an_early_head_is_an_event_with_the_clusters_words(status: int) -> None:
    said = b'{"error":{"message":"max_tokens is too large","type":"BadRequestError","param":"max_tokens","code":400}}'
    refusal = head(status, {"content-type": "application/json", "content-length": str(len(said))}) + said
    async with stage(timeouts=QUICK) as here:
        hangs = Hangs(b"", refusal)
        here.near.plays(hangs)
        client = await here.client()
        await opened(client)
        hangs.go.set()
        error = error_of(await rest_of(client))
        assert (error["message"], error["param"]) == ("max_tokens is too large", "max_tokens")
        assert error["code"] == "refused_by_cluster"
        assert here.attempts() == {("near", "passed_through"): 1}
        assert here.middle.requests == []


async def test_a_refusal_without_end_behind_an_early_head_is_cut_to_a_sentence() -> None:
    async with stage(timeouts=QUICK) as here:
        flood = Flood(head(400, {"transfer-encoding": "chunked"}), chunk(b"no! " * 2000))
        hangs = Hangs()

        async def late(request: Any) -> None:
            await hangs.go.wait()
            await flood(request)

        here.near.plays(late)
        client = await here.client()
        await opened(client)
        hangs.go.set()
        error = error_of(await rest_of(client))
        assert error["code"] == "refused_by_cluster"
        assert 4 < len(error["message"]) <= 4096
        await until(lambda: here.near.open == 0, "the cluster is let go")


async def test_a_refusal_that_dawdles_keeps_its_status() -> None:
    said = b'{"error":{"message":"no"}}'
    async with stage(timeouts=QUICK) as here:
        hangs = Hangs(head(400, {"content-type": "application/json", "content-length": str(len(said))}), said)
        here.near.plays(hangs)
        client = await here.client()
        await client.send(post(stream=True))
        await hangs.began.wait()
        await asyncio.sleep(0.3)
        hangs.go.set()
        answer = await client.answer()
        assert (answer.status, answer.body) == (400, said)


async def test_a_whole_answer_to_a_call_for_a_stream_that_dawdles_is_passed_on_as_it_is() -> None:
    body = completion()
    async with stage(timeouts=QUICK) as here:
        hangs = Hangs(head(200, {"content-type": "application/json", "content-length": str(len(body))}), body)
        here.near.plays(hangs)
        client = await here.client()
        await client.send(post(stream=True))
        await hangs.began.wait()
        await asyncio.sleep(0.3)
        hangs.go.set()
        answer = await client.answer()
        assert (answer.status, answer.body, answer["content-type"]) == (200, body, "application/json")


async def test_when_nobody_answers_behind_an_early_head_the_error_is_an_event() -> None:
    async with stage(timeouts=TimeoutSettings(comment_s=0.05, first_byte_s=0.2)) as here:
        hangs = [Hangs() for _ in here.clusters]
        for cluster, hang in zip(here.clusters.values(), hangs, strict=True):
            cluster.plays(hang)
        client = await here.client()
        await opened(client)
        assert error_of(await rest_of(client))["code"] == "first_byte_timeout"
        for hang in hangs:
            await hang.abandoned()
        assert here.calls() == {"first_byte_timeout": 1}


async def test_a_deadline_behind_an_early_head_is_an_event_and_comments_are_no_first_byte() -> None:
    async with stage(timeouts=TimeoutSettings(comment_s=0.05)) as here:
        hangs = Hangs(STREAM_HEAD)
        here.near.plays(hangs)
        client = await here.client()
        await opened(client, post(stream=True, headers=[("x-tradewind-deadline-ms", "300")]))
        assert error_of(await rest_of(client))["code"] == "deadline_exceeded"
        await hangs.abandoned()
        assert ttft(here, "count") == 0


async def test_the_time_to_the_first_token_is_that_of_the_first_event() -> None:
    async with stage(timeouts=TimeoutSettings(comment_s=0.05)) as here:
        hangs = Hangs(STREAM_HEAD + chunk(b": ping\n\n"), REST)
        here.near.plays(hangs)
        client = await here.client()
        await opened(client)
        await asyncio.sleep(0.3)
        hangs.go.set()
        await rest_of(client)
        assert ttft(here, "count") == 1
        assert ttft(here, "sum") > 0.3


async def test_a_client_that_leaves_behind_an_early_head_ends_its_call() -> None:
    async with stage(timeouts=QUICK) as here:
        hangs = Hangs()
        here.near.plays(hangs)
        client = await here.client()
        await opened(client)
        client.close()
        await hangs.abandoned()
        assert here.attempts() == {("near", "cancelled"): 1}


async def test_a_connection_carries_the_next_call_after_an_early_head() -> None:
    async with stage(timeouts=QUICK) as here:
        hangs = Hangs(b"", STREAM_HEAD + REST)
        here.near.plays(hangs, answers(completion("next")))
        client = await here.client()
        await opened(client)
        hangs.go.set()
        assert await rest_of(client) == SECOND + DONE
        await client.send(post())
        assert (await client.answer()).body == completion("next")


@pytest.mark.parametrize("plain", [False, True], ids=["edge", "ASGI"])
async def test_the_official_client_reads_over_early_heads_and_comments(plain: bool) -> None:
    async with stage(timeouts=TimeoutSettings(comment_s=0.05), plain=plain) as here:
        first, later = Hangs(b"", b""), asyncio.Event()

        async def slowly(request: Any) -> None:
            await asyncio.sleep(0.2)
            await request.send(STREAM_HEAD + chunk(FIRST))
            await later.wait()
            await request.send(REST)

        here.near.plays(first)
        here.middle.plays(slowly)
        async with here.openai() as client:
            creating = asyncio.ensure_future(
                client.chat.completions.create(
                    model=MODEL, messages=[{"role": "user", "content": "Hello?"}], stream=True
                )
            )
            stream = await creating
            here.door.cluster_unreachable("near")
            texts = []
            async for part in stream:
                texts.append(part.choices[0].delta.content)
                await asyncio.sleep(0.15)
                later.set()
            assert texts == ["one ", "two"]


async def test_the_error_behind_an_early_head_has_the_shape_of_its_api() -> None:
    async with stage(timeouts=TimeoutSettings(comment_s=0.05)) as here:
        here.near.plays(Hangs())
        client = await here.client()
        body = {"model": MODEL, "stream": True, "max_tokens": 5, "messages": [{"role": "user", "content": "Hello?"}]}
        headers = [("x-tradewind-deadline-ms", "200")]
        await opened(client, post(body, path="/v1/messages", headers=headers))
        event = await rest_of(client)
        assert event.startswith(b"event: error\ndata: ")
        assert json.loads(event.split(b"data: ")[1])["type"] == "error"


@pytest.mark.parametrize("plain", [False, True], ids=["edge", "ASGI"])
async def test_a_prompt_is_counted_behind_an_early_head_for_as_long_as_it_is_held(plain: bool) -> None:
    async with stage(timeouts=QUICK, plain=plain) as here:
        hangs = Hangs(b"", STREAM_HEAD + chunk(FIRST))
        here.near.plays(hangs)
        client = await here.client()
        request = post(stream=True, padding="x" * 50_000)
        await opened(client, request)
        assert here.door.buffered_bytes > 50_000
        hangs.go.set()
        while await client.chunk() != FIRST:
            pass
        assert here.door.buffered_bytes == 0
        client.close()


class Said:
    """A client's side that only keeps what it is sent."""

    def __init__(self) -> None:
        self.body = b""

    def forget_request(self) -> None:
        pass

    def send_head(self, status: int, lines: bytes, length: int | None) -> None:
        pass

    def send_whole(self, status: int, lines: bytes, body: bytes) -> None:
        self.body = body

    def send_body(self, chunk: bytes) -> None:
        self.body += chunk

    def finish(self) -> None:
        pass

    abort = finish


async def test_a_comment_waits_for_the_other_half_of_a_line_end() -> None:
    """An event may end with two carriage returns; but what follows the second may be its line feed."""
    said = Said()
    reply = Reply(said, Dialect.OPENAI, b"mine")
    reply.hold(200, [(b"content-type", b"text/event-stream")])
    reply.take(b"data: x\r\n\r\r")
    reply.start(b"", complete=False)
    reply.comment()
    assert said.body == b"data: x\r\n\r\r"
    reply.take(b"\ndata: y\n\n")
    reply.comment()
    assert said.body == b"data: x\r\n\r\r\ndata: y\n\n" + COMMENT
