"""The same exchange behind plain ASGI gives the same answers as the edge."""

import asyncio

import pytest

from router.settings import EdgeSettings
from tests.edge.harness import (
    CHAT,
    STREAM_HEAD,
    Answer,
    Hangs,
    Script,
    answers,
    chunk,
    completion,
    get,
    head,
    post,
    sse,
    stage,
    streams,
    then_resets,
    until,
)
from tests.edge.test_back_pressure import Flood

SMALL = EdgeSettings(body_bytes_max=20_000)
ID = [("x-request-id", "same")]
CHUNKED_JSON = head(200, {"content-type": "application/json", "transfer-encoding": "chunked"})


def _call(**fields: object) -> bytes:
    return post(headers=ID, **fields)


def _lines(*headers: str, body: bytes = b"") -> bytes:
    return "\r\n".join([f"POST {CHAT} HTTP/1.1", "Host: a", "x-request-id: same", *headers, "", ""]).encode() + body


TABLE = [
    pytest.param(answers(completion(), headers={"x-model": "m", "set-cookie": "a"}), _call(), id="answer"),
    pytest.param(streams(*sse("a", "b")), _call(stream=True), id="stream"),
    pytest.param(answers(b""), _call(), id="empty"),
    pytest.param(answers(b"x" * 300_000), _call(), id="long"),
    pytest.param(answers(b"{}", 201), _call(), id="201"),
    pytest.param(answers(b'{"error":1}', 400, {"x-why": "so"}), _call(), id="400"),
    pytest.param(answers(b"x", 429, {"retry-after": "3"}), _call(), id="429 everywhere"),
    pytest.param(answers(b"x", 500), _call(), id="500 everywhere"),
    pytest.param(answers(b"x", 503), _call(), id="503 everywhere"),
    pytest.param(answers(b"x", 404), _call(), id="404 everywhere"),
    pytest.param(then_resets(), _call(), id="reset everywhere"),
    pytest.param(then_resets(STREAM_HEAD + chunk(sse("a")[0])), _call(stream=True), id="broken stream"),
    pytest.param(answers(), post(b'{"model":"x"}', headers=ID), id="unknown model"),
    pytest.param(answers(), post(b'{"model":', headers=ID), id="bad JSON"),
    pytest.param(answers(), post(b"", headers=ID), id="no body"),
    pytest.param(answers(), post(headers=[*ID, ("x-tradewind-priority", "!")]), id="bad header"),
    pytest.param(answers(), post(headers=[*ID, ("x-tradewind-regions", "mars")]), id="no region"),
    pytest.param(
        answers(), post(headers=[*ID, ("x-tradewind-session", "a"), ("X-Tradewind-Session", "b")]), id="twice"
    ),
    pytest.param(answers(), _lines("Host: b", "Content-Length: 2", body=b"{}"), id="two hosts"),
    pytest.param(answers(), _lines("Content-Length: 20001"), id="declared too large"),
    pytest.param(answers(), _lines("Transfer-Encoding: chunked", body=chunk(b"x" * 20_001)), id="too large"),
    pytest.param(
        answers(), _lines("Transfer-Encoding: chunked", body=chunk(b'{"model":"tiny"}') + b"0\r\n\r\n"), id="te"
    ),
    pytest.param(answers(), get(CHAT), id="405"),
    pytest.param(answers(), get("/v1/models"), id="models"),
    pytest.param(answers(), get("/v1/none"), id="404"),
]


def _seen(answer: Answer) -> tuple[int, list[tuple[str, str]], bytes, bool]:
    framing = ("date", "server", "content-length", "transfer-encoding", "connection")
    return (
        answer.status,
        sorted(pair for pair in answer.headers if pair[0] not in framing),
        answer.body,
        answer.complete,
    )


@pytest.mark.parametrize(("script", "request_"), TABLE)
async def test_plain_asgi_answers_as_the_edge_does(script: Script, request_: bytes, no_errors: list[str]) -> None:
    seen = []
    outcomes = []
    for plain in (False, True):
        async with stage(edge=SMALL, plain=plain) as here:
            for cluster in here.clusters.values():
                cluster.plays(script)
            seen.append(_seen(await here.ask(request_)))
            outcomes.append((here.attempts(), here.calls()))
    assert seen[0] == seen[1]
    assert outcomes[0] == outcomes[1]


async def test_behind_asgi_a_long_answer_that_breaks_does_not_look_complete(expects_errors: None) -> None:
    for first in (CHUNKED_JSON + chunk(b"x" * 400_000), head(200, {"content-length": "800000"}) + b"x" * 400_000):
        async with stage(plain=True) as here:
            here.near.plays(then_resets(first))
            answer = await here.ask(post())
            assert answer.status == 200
            assert not answer.complete


@pytest.mark.parametrize("first", [b"", STREAM_HEAD + chunk(sse("a")[0])], ids=["waiting", "streaming"])
async def test_behind_asgi_a_client_that_leaves_ends_its_call(first: bytes) -> None:
    async with stage(plain=True) as here:
        hangs = Hangs(first)
        here.near.plays(hangs)
        client = await here.client()
        await client.send(post(stream=True))
        await hangs.began.wait()
        client.close()
        await hangs.abandoned()
        assert here.attempts() == {("near", "cancelled"): 1}


async def test_behind_asgi_a_client_that_does_not_read_stops_its_cluster() -> None:
    async with stage(plain=True) as here:
        flood = Flood()
        here.near.plays(flood)
        client = await here.client(receive_buffer=8192)
        await client.send(post(stream=True))
        before = await flood.stalls()
        while flood.sent < before + 3_000_000:
            assert await asyncio.wait_for(client.reader.read(1_000_000), 10)
        client.close()
        await until(lambda: here.near.open == 0, "the cluster is let go")


async def test_behind_asgi_a_client_that_leaves_before_its_body_is_complete_leaves_nothing_behind() -> None:
    async with stage(plain=True) as here:
        client = await here.client()
        await client.send(post()[:-3])
        await until(lambda: here.door.buffered_bytes, "the body comes in")
        client.close()
        await here.settled()
