"""Requests that parsers could read differently, that are too large or too slow; and what they may not disturb."""

import asyncio
import json

import pytest

from router.settings import EdgeSettings, TimeoutSettings
from tests.edge.harness import (
    CHAT,
    MODEL,
    STREAM_HEAD,
    Hangs,
    Request,
    Stage,
    chunk,
    completion,
    get,
    head,
    post,
    raw,
    sse,
    stage,
    then_closes,
    until,
)

SMALL = EdgeSettings(body_bytes_max=10_000, headers_bytes_max=4096, headers_max=30)
SLOW = TimeoutSettings(body_s=0.2)


def lines(*headers: str, body: bytes = b"", line: str = f"POST {CHAT} HTTP/1.1") -> bytes:
    return "\r\n".join([line, *headers, "", ""]).encode() + body


GOOD = b'{"model":"tiny"}'
CHUNKED = chunk(GOOD) + b"0\r\n\r\n"


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        pytest.param(lines("Content-Length: 16", body=GOOD), "exactly one Host", id="no host"),
        pytest.param(lines("Host: a", "Host: b", "Content-Length: 16", body=GOOD), "exactly one Host", id="two hosts"),
        pytest.param(
            lines("Host: a", "Content-Length: 16", "Content-Length: 16", body=GOOD), "not valid HTTP", id="two lengths"
        ),
        pytest.param(
            lines("Host: a", "Content-Length: 16", "Content-Length: 61", body=GOOD),
            "not valid HTTP",
            id="lengths differ",
        ),
        pytest.param(
            lines("Host: a", "Content-Length: 16", "Transfer-Encoding: chunked", body=CHUNKED),
            "not valid HTTP",
            id="length and chunked",
        ),
        pytest.param(
            lines("Host: a", "Transfer-Encoding: chunked", "Content-Length: 16", body=CHUNKED),
            "not valid HTTP",
            id="chunked and length",
        ),
        pytest.param(
            lines("Host: a", "Transfer-Encoding: gzip, chunked", body=CHUNKED), "transfer encoding", id="gzip, chunked"
        ),
        pytest.param(lines("Host: a", "Transfer-Encoding: gzip", body=GOOD), "", id="gzip"),
        pytest.param(lines("Host: a", "Transfer-Encoding: identity", body=GOOD), "", id="identity"),
        pytest.param(
            lines("Host: a", "Transfer-Encoding: chunked", "Transfer-Encoding: chunked", body=CHUNKED),
            "not valid HTTP",
            id="chunked twice",
        ),
        pytest.param(lines("Host: a", "Transfer-Encoding: xchunked", body=CHUNKED), "", id="xchunked"),
        pytest.param(
            lines("Host: a", "Transfer-Encoding: chunked", body=CHUNKED, line=f"POST {CHAT} HTTP/1.0"),
            "not valid HTTP",
            id="chunked in HTTP/1.0",
        ),
        pytest.param(lines("Host: a", "Content-Length: +16", body=GOOD), "not valid HTTP", id="signed length"),
        pytest.param(lines("Host: a", "Content-Length: 1_6", body=GOOD), "not valid HTTP", id="odd length"),
        pytest.param(lines("Host: a", f"Content-Length: {2**64}", body=GOOD), "not valid HTTP", id="endless length"),
        pytest.param(lines("Host: a", "Content-Length : 16", body=GOOD), "not valid HTTP", id="space before colon"),
        pytest.param(
            lines("Host: a", "A: b", " folded", "Content-Length: 16", body=GOOD), "not valid HTTP", id="folded"
        ),
        pytest.param(lines("Host: a", "A: b\nB: c", "Content-Length: 16", body=GOOD), "not valid HTTP", id="bare LF"),
        pytest.param(lines("Host: a", "A: b\0c", "Content-Length: 16", body=GOOD), "not valid HTTP", id="NUL"),
        pytest.param(lines("Host: a", "A\x7f: b", "Content-Length: 16", body=GOOD), "not valid HTTP", id="DEL in name"),
        pytest.param(
            lines("Host: a", "Transfer-Encoding: chunked", body=b"zz\r\n" + GOOD), "not valid HTTP", id="bad chunk size"
        ),
        pytest.param(
            lines("Host: a", "Transfer-Encoding: chunked", body=b"2\r\n{}XX"), "not valid HTTP", id="bad chunk end"
        ),
        pytest.param(
            lines("Host: a", "Connection: Upgrade", "Upgrade: h2c", "Content-Length: 16", body=GOOD),
            "Upgrade is not offered",
            id="h2c",
        ),
        pytest.param(
            lines("Host: a", "Connection: Upgrade", "Upgrade: websocket", "Content-Length: 16", body=GOOD),
            "Upgrade is not offered",
            id="websocket",
        ),
        pytest.param(
            lines("Host: a", "Content-Length: 16", body=GOOD, line=f"POST {CHAT} HTTP/2.0"),
            "not valid HTTP",
            id="HTTP/2.0",
        ),
        pytest.param(
            lines("Host: a", "Content-Length: 16", body=GOOD, line=f"POST {CHAT} HTTP/0.9"),
            "not valid HTTP",
            id="HTTP/0.9",
        ),
        pytest.param(lines("Host: a", line="CONNECT a:443 HTTP/1.1"), "not valid HTTP", id="CONNECT"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "not valid HTTP", id="TLS"),
        pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "not valid HTTP", id="HTTP/2 preface"),
        pytest.param(b"garbage\r\n\r\n", "not valid HTTP", id="garbage"),
        pytest.param(
            lines("Host: a", "X-Request-Id: 1", "X-Request-Id: 2", "Content-Length: 16", body=GOOD),
            "stands twice",
            id="two request ids",
        ),
        pytest.param(
            lines("Host: a", "Authorization: a", "Authorization: b", "Content-Length: 16", body=GOOD),
            "stands twice",
            id="two credentials",
        ),
    ],
)
async def test_a_request_that_can_be_read_in_two_ways_is_refused_and_its_connection_closed(
    request_: bytes, message: str
) -> None:
    async with stage() as here:
        client = await here.client()
        await client.send(request_ + post())
        answer = await client.answer()
        assert (answer.status, answer.code, answer["connection"]) == (400, "bad_http", "close")
        assert message in answer.json["error"]["message"]
        assert await client.ended() == b"", "whatever follows is not served"
        assert here.near.requests == []


async def test_an_upgrade_of_another_path_is_answered_plainly_and_the_connection_closed() -> None:
    async with stage() as here:
        client = await here.client()
        await client.send(get("/v1/models", [("Connection", "Upgrade"), ("Upgrade", "websocket")]))
        answer = await client.answer()
        assert (answer.status, answer["connection"]) == (200, "close")
        assert await client.ended() == b""


@pytest.mark.parametrize(
    "line", ["GET /v1/models HTTP/2.0", "GET /v1/models HTTP/0.9", "HEAD /v1/models HTTP/2.0", "POST /v1/none HTTP/1.2"]
)
async def test_what_is_no_call_is_read_as_strictly(line: str) -> None:
    async with stage() as here:
        client = await here.client()
        await client.send(lines("Host: a", line=line) + get("/healthz"))
        answer = await client.answer()
        assert (answer.status, answer["connection"]) == (400, "close")
        assert await client.ended() == b""


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(lines("Host: a", "Host: b", line="HEAD /healthz HTTP/1.1"), id="two hosts"),
        pytest.param(lines("Host: a", "X: " + "a" * 9000, line="HEAD /healthz HTTP/1.1"), id="large head"),
        pytest.param(get("/healthz", method="HEAD") + b"\x00\r\n\r\n", id="garbage behind it"),
    ],
)
async def test_an_error_that_may_answer_head_has_no_body(request_: bytes) -> None:
    """Whoever asked for a head only would take a body for the next answer."""
    async with stage(edge=SMALL) as here:
        client = await here.client()
        await client.send(request_)
        rest = await client.ended()
        assert rest.endswith(b"\r\n\r\n"), rest
        assert b"content-length: 0\r\n" in rest or rest.startswith(b"HTTP/1.1 200")


async def test_a_request_that_expects_100_and_breaks_off_is_told_of_the_error_alone() -> None:
    """The app has not asked for the body yet when the request turns out to be none; 100 behind an error is noise."""
    async with stage() as here:
        client = await here.client()
        broken = lines("Host: a", "Expect: 100-continue", "Transfer-Encoding: chunked", line="PUT /v1/models HTTP/1.1")
        await client.send(broken + b"zz\r\n")
        assert (await client.answer()).status == 400
        assert await client.ended() == b""


# Answers of clusters.


async def test_an_interim_answer_behind_a_complete_one_takes_nothing_from_it() -> None:
    behind = b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"
    async with stage() as here:
        sent = (
            head(200, {"content-type": "application/json", "x-model": "kept", "content-length": "2"}) + b"{}" + behind
        )
        here.near.plays(raw(sent))
        answer = await here.ask(post())
        assert (answer["content-type"], answer["x-model"], answer.body) == ("application/json", "kept", b"{}")


@pytest.mark.parametrize("cut", range(1, 15))
async def test_the_last_event_of_a_stream_without_a_length_is_seen_however_it_is_cut(cut: int) -> None:
    first, last = sse("a")
    async with stage() as here:
        whole = head(200, {"content-type": "text/event-stream"}) + first + last
        here.near.plays(then_closes(whole[:-cut], later=whole[-cut:]))
        answer = await here.ask(post(stream=True))
        assert (answer.body, answer.complete) == (first + last, True)


async def test_an_encoding_of_an_answer_that_the_parser_does_not_undo_is_refused() -> None:
    """A tab behind the name: the parser takes the body as it is, chunk sizes and all."""
    async with stage() as here:
        here.near.plays(then_closes(head(200, {"transfer-encoding": "chunked\t"}) + chunk(b"hello") + b"0\r\n\r\n"))
        answer = await here.ask(post())
        assert (answer.body, answer["x-tradewind-cluster"]) == (completion("middle"), "middle")
        assert here.attempts() == {("near", "bad_answer"): 1, ("middle", "served"): 1}


# Too large.


@pytest.mark.parametrize("path", [CHAT, "/v1/models"], ids=["call", "ASGI"])
@pytest.mark.parametrize("pieces", [1, 2, 50], ids=["one read", "two reads", "many reads"])
@pytest.mark.parametrize("earlier", [0, 1], ids=["first", "second"])
async def test_a_head_that_is_too_large_is_refused_however_it_comes(path: str, pieces: int, earlier: int) -> None:
    filler = [("X-A", "a" * 1000)] * 6
    request = post(path=path, headers=filler)
    async with stage(edge=SMALL) as here:
        client = await here.client()
        for _ in range(earlier):
            await client.send(post())
            await client.answer()
        step = -(-len(request) // pieces)
        for at in range(0, len(request), step):
            await client.send(request[at : at + step])
            await asyncio.sleep(0.001)
        answer = await client.answer()
        assert (answer.status, answer.code, answer["connection"]) == (431, "headers_too_large", "close")
        assert await client.ended() == b""
        assert len(here.near.requests) == earlier


async def test_a_header_without_end_is_refused_while_it_is_still_sent() -> None:
    async with stage(edge=SMALL) as here:
        client = await here.client()
        await client.send(f"POST {CHAT} HTTP/1.1\r\nHost: a\r\nX-A: ".encode())

        async def endless() -> None:
            for _ in range(1000):
                await client.send(b"a" * 1000)

        sending = asyncio.ensure_future(endless())
        answer = await client.answer()
        assert answer.status == 431
        await asyncio.wait_for(sending, 10)
        client.close()


@pytest.mark.parametrize("path", [CHAT, "/v1/models"], ids=["call", "ASGI"])
async def test_too_many_headers_are_refused(path: str) -> None:
    async with stage(edge=SMALL) as here:
        answer = await here.ask(post(path=path, headers=[("A", "b")] * 40))
        assert (answer.status, answer.code) == (431, "headers_too_large")
        assert (await here.ask(post(headers=[("A", "b")] * 20))).status == 200


async def test_a_small_head_is_not_taken_for_a_large_one_because_a_body_came_with_it() -> None:
    body = json.dumps({"model": MODEL, "prompt": "x" * 9_000}).encode()
    async with stage(edge=SMALL) as here:
        client = await here.client()
        request = post(body)
        await client.send(request * 5 + request[:100])
        await asyncio.sleep(0.01)
        await client.send(request[100:])
        for _ in range(6):
            assert (await client.answer()).status == 200


async def test_a_body_declared_too_large_is_refused_before_it_is_sent() -> None:
    async with stage(edge=SMALL) as here:
        client = await here.client()
        await client.send(lines("Host: a", "Content-Length: 10001"))
        answer = await client.answer()
        assert (answer.status, answer.code, answer["connection"]) == (413, "body_too_large", "close")
        assert await client.ended() == b""


@pytest.mark.parametrize("chunked", [False, True], ids=["declared", "chunked"])
async def test_a_client_that_sends_far_too_much_before_it_reads_still_gets_its_413(chunked: bool) -> None:
    body = b"x" * 3_000_000
    if chunked:
        request = lines("Host: a", "Transfer-Encoding: chunked", body=chunk(body) + b"0\r\n\r\n")
    else:
        request = lines("Host: a", f"Content-Length: {len(body)}", body=body)
    async with stage(edge=SMALL) as here:
        client = await here.client()
        await client.send(request)
        answer = await client.answer()
        assert (answer.status, answer.code) == (413, "body_too_large")
        assert await client.ended() == b""
        assert here.door.buffered_bytes == 0


async def test_bodies_of_all_calls_together_are_bounded() -> None:
    """Declared lengths promise nothing: what counts is what has arrived."""
    edge = EdgeSettings(body_bytes_max=10_000, buffered_bytes_max=20_000)
    async with stage(edge=edge) as here:
        clients = [await here.client() for _ in range(4)]
        for client in clients:
            await client.send(lines("Host: a", "Content-Length: 9000"))
            await asyncio.sleep(0.01)
        for client in clients:
            await client.send(b"x" * 6000)
            await asyncio.sleep(0.01)
        answer = await clients[3].answer()
        assert (answer.status, answer.code, answer["retry-after"]) == (503, "too_busy", "1")
        assert here.door.buffered_bytes == 18_000
        for client in clients[:3]:
            client.close()


async def test_a_prompt_is_not_counted_any_more_once_its_answer_has_begun() -> None:
    async with stage() as here:
        hangs = Hangs(STREAM_HEAD + chunk(sse("a")[0]), chunk(sse("a")[1]) + b"0\r\n\r\n")
        here.near.plays(hangs)
        client = await here.client()
        await client.send(post(stream=True, padding="x" * 100_000))
        await client.head()
        assert await client.chunk()
        assert here.door.buffered_bytes == 0
        hangs.go.set()
        assert await client.chunk() == sse("a")[1]


async def test_calls_beyond_the_bound_are_told_to_come_back() -> None:
    async with stage(edge=EdgeSettings(calls_max=2)) as here:
        hangs = Hangs(b"", head(200, {"content-length": "2"}) + b"{}")
        here.near.plays(hangs)
        clients = [await here.client() for _ in range(2)]
        for client in clients:
            await client.send(post())
        await here.near.received(2)
        answer = await here.ask(post())
        assert (answer.status, answer.code, answer["retry-after"]) == (503, "too_busy", "1")
        hangs.go.set()
        for client in clients:
            assert (await client.answer()).status == 200


# Too slow.


async def test_a_head_that_does_not_come_to_its_end_is_timed_out() -> None:
    async with stage(timeouts=SLOW) as here:
        client = await here.client()
        await client.send(post()[:30])
        answer = await client.answer()
        assert (answer.status, answer.code) == (408, "request_timeout")
        assert await client.ended() == b""


@pytest.mark.parametrize("earlier", [post(), get("/v1/models"), post(path="/v1/models")], ids=["call", "GET", "405"])
async def test_a_second_head_that_does_not_come_to_its_end_is_timed_out(earlier: bytes) -> None:
    async with stage(timeouts=SLOW) as here:
        client = await here.client()
        await client.send(earlier)
        await client.answer()
        await client.send(post()[:30])
        assert (await client.answer()).status == 408


async def test_a_body_that_does_not_come_to_its_end_is_timed_out() -> None:
    async with stage(timeouts=SLOW) as here:
        client = await here.client()
        await client.send(post()[:-3])
        answer = await client.answer()
        assert (answer.status, answer.code, answer["connection"]) == (408, "request_timeout", "close")
        assert await client.ended() == b""


async def test_a_body_for_asgi_that_does_not_come_to_its_end_is_timed_out() -> None:
    async with stage(timeouts=SLOW) as here:
        client = await here.client()
        await client.send(post(path=f"http://door{CHAT}")[:-3])
        answer = await client.answer()
        assert answer.status == 408
        assert await client.ended() == b""


async def test_a_connection_that_never_says_a_word_is_closed_without_one() -> None:
    async with stage(timeouts=SLOW) as here:
        client = await here.client()
        assert await client.ended() == b""


async def test_a_resting_connection_is_closed_after_its_time_and_a_busy_one_is_not() -> None:
    async with stage(timeouts=TimeoutSettings(keep_alive_s=0.2)) as here:
        client = await here.client()
        hangs = Hangs(b"", head(200, {"content-length": "2"}) + b"{}")
        here.near.plays(hangs)
        await client.send(post(b"{}") + post())  # The first, refused at once, must not set the clock for the second.
        assert (await client.answer()).status == 400
        await asyncio.sleep(0.4)
        hangs.go.set()
        assert (await client.answer()).status == 200
        assert await client.ended() == b""


async def test_an_empty_line_does_not_keep_a_resting_connection_alive() -> None:
    async with stage(timeouts=TimeoutSettings(keep_alive_s=0.2)) as here:
        client = await here.client()
        await client.send(post())
        await client.answer()
        await client.send(b"\r\n")
        assert await client.ended() == b""


# What must not be disturbed.


async def _undisturbed(here: Stage, extra: bytes) -> None:
    """A stream is under way when `extra` comes behind its request: the stream ends well, then the connection."""
    first, second, last = sse("a", "b")
    hangs = Hangs(STREAM_HEAD + chunk(first), chunk(second) + chunk(last) + b"0\r\n\r\n")
    here.near.plays(hangs)
    client = await here.client()
    await client.send(post(stream=True))
    await client.head()
    assert await client.chunk() == first
    await client.send(extra)
    await asyncio.sleep(0.3)  # Longer than the time-outs of these tests.
    hangs.go.set()
    assert await client.chunk() == second + last
    assert await client.chunk() is None


@pytest.mark.parametrize(
    "extra",
    [
        pytest.param(b"\x00\x01garbage\r\n\r\n", id="garbage"),
        pytest.param(post()[:40], id="half a head"),
        pytest.param(b"\r\n", id="an empty line"),
        pytest.param(lines("Host: a", "X: " + "a" * 9000), id="large head"),
        pytest.param(lines("Host: a", line="GET * HTTP/1.1"), id="bad path"),
        pytest.param(get("/v1/models", [("A", "b")] * 40), id="many headers"),
    ],
)
async def test_what_comes_behind_a_request_does_not_disturb_the_answer_under_way(extra: bytes) -> None:
    async with stage(timeouts=SLOW, edge=SMALL) as here:
        await _undisturbed(here, extra)


@pytest.mark.parametrize(
    ("extra", "status"),
    [
        pytest.param(post()[:-3], 408, id="half a body"),
        pytest.param(lines("Host: a", "Transfer-Encoding: chunked", body=b"zz\r\n"), 400, id="bad chunk"),
        pytest.param(lines("Host: a", "Content-Length: 10001"), 413, id="declared too large"),
        pytest.param(lines("Host: a", "Transfer-Encoding: chunked", body=chunk(b"x" * 10_001)), 413, id="too large"),
        pytest.param(lines("Content-Length: 2", body=b"{}"), 400, id="no host"),
    ],
)
async def test_an_error_of_a_request_in_the_pipeline_waits_for_its_turn(extra: bytes, status: int) -> None:
    async with stage(timeouts=SLOW, edge=SMALL) as here:
        first, last = sse("a")
        hangs = Hangs(STREAM_HEAD + chunk(first), chunk(last) + b"0\r\n\r\n")
        here.near.plays(hangs)
        client = await here.client()
        await client.send(post(stream=True) + extra)
        await client.head()
        assert await client.chunk() == first
        await asyncio.sleep(0.3)
        hangs.go.set()
        assert await client.chunk() == last
        assert await client.chunk() is None
        answer = await client.answer()
        assert (answer.status, answer["connection"]) == (status, "close")
        assert await client.ended() == b""


async def test_a_valid_request_before_the_garbage_is_still_answered() -> None:
    async with stage() as here:
        client = await here.client()
        await client.send(post() + get("/v1/models") + post() + b"\x00\r\n\r\n")
        for _ in range(3):
            assert (await client.answer()).status == 200
        assert await client.ended() == b""


async def test_a_broken_request_for_asgi_in_the_pipeline_does_not_disturb_the_answer_before_it() -> None:
    async with stage() as here:
        client = await here.client()
        broken = lines("Host: a", "Transfer-Encoding: chunked", body=b"zz\r\n", line="POST /v1/models HTTP/1.1")
        await client.send(post() + broken)
        assert (await client.answer()).body == completion("near")
        await client.ended()


async def test_a_client_that_half_closes_counts_as_gone() -> None:
    async with stage() as here:
        hangs = Hangs()
        here.near.plays(hangs)
        client = await here.client()
        await client.send(post())
        await here.near.received()
        client.writer.write_eof()
        await hangs.abandoned()
        assert await client.ended() == b""
        assert here.attempts() == {("near", "cancelled"): 1}


async def test_a_client_that_half_closes_while_it_does_not_read_counts_as_gone() -> None:
    """What was written and not taken must not keep its call alive."""
    async with stage() as here:

        async def endless(request: Request) -> None:
            await request.send(STREAM_HEAD)
            while True:
                await request.send(chunk(b"data: %s\n\n" % (b"x" * 10_000)))

        here.near.plays(endless)
        client = await here.client(receive_buffer=4096)
        await client.send(post(stream=True))
        await client.head()
        (exchange,) = here.door.active
        await until(lambda: exchange._paused, "the front door waits for its client")
        client.writer.write_eof()
        await until(lambda: here.near.open == 0, "the cluster stops working for nobody")
