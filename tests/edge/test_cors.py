"""CORS on the way: calls in the edge, everything else in FastAPI, and the same behind plain ASGI."""

import pytest

from tests.edge.harness import (
    CHAT,
    STREAM_HEAD,
    answers,
    chunk,
    completion,
    get,
    post,
    sse,
    stage,
    streams,
    then_resets,
)

PAGE = "https://app.example.com"
FROM_PAGE = [("Origin", PAGE)]
ASKS = [*FROM_PAGE, ("Access-Control-Request-Method", "POST"), ("Access-Control-Request-Headers", "authorization")]
LISTED = (PAGE,)


@pytest.mark.parametrize("plain", [False, True], ids=["edge", "ASGI"])
@pytest.mark.parametrize(
    ("request_", "status"),
    [
        pytest.param(post(headers=FROM_PAGE), 200, id="answer"),
        pytest.param(post(headers=FROM_PAGE, stream=True), 200, id="stream"),
        pytest.param(post(b'{"model":"x"}', headers=FROM_PAGE), 404, id="refused"),
        pytest.param(post(b"{", headers=FROM_PAGE), 400, id="bad body"),
        pytest.param(post(headers=[*FROM_PAGE, ("Content-Encoding", "gzip")]), 415, id="encoded"),
        pytest.param(get("/v1/models", FROM_PAGE), 200, id="models"),
        pytest.param(get("/v1/none", FROM_PAGE), 404, id="unknown path"),
        pytest.param(get(CHAT, FROM_PAGE), 405, id="wrong method"),
    ],
)
async def test_every_kind_of_answer_can_be_read_by_a_listed_page_and_by_no_other(
    request_: bytes, status: int, plain: bool
) -> None:
    async with stage(cors_origins=LISTED, plain=plain) as here:
        if b'"stream": true' in request_:
            here.near.plays(streams(*sse("a")))
        answer = await here.ask(request_)
        assert answer.status == status
        assert answer["access-control-allow-origin"] == PAGE
        assert "x-tradewind-cluster" in answer["access-control-expose-headers"]
        assert answer["vary"] == "origin"
        other = await here.ask(request_.replace(PAGE.encode(), b"https://other.example.com"))
        assert other.status == status
        assert "access-control-allow-origin" not in other
        assert other["vary"] == "origin"


async def test_a_stream_that_breaks_is_read_to_its_error_event() -> None:
    async with stage(cors_origins=("*",)) as here:
        here.near.plays(then_resets(STREAM_HEAD + chunk(sse("a")[0])))
        answer = await here.ask(post(headers=FROM_PAGE, stream=True))
        assert answer["access-control-allow-origin"] == "*"
        assert b"stream_broken" in answer.body


async def test_a_cluster_has_no_say_in_who_reads() -> None:
    theirs = {"access-control-allow-origin": "*", "access-control-allow-credentials": "true"}
    async with stage(cors_origins=LISTED) as here:
        here.near.plays(answers(completion(), headers=theirs))
        answer = await here.ask(post(headers=FROM_PAGE))
        assert answer["access-control-allow-origin"] == PAGE
        assert "access-control-allow-credentials" not in answer
        assert "origin" not in here.near.requests[0].headers


@pytest.mark.parametrize("path", [CHAT, "/v1/models", "/v1/embeddings"])
async def test_a_preflight_needs_no_key_and_reaches_no_cluster(path: str) -> None:
    async with stage(cors_origins=LISTED) as here:
        client = await here.client()
        await client.send(get(path, ASKS, method="OPTIONS") + post())
        answer = await client.answer()
        assert (answer.status, answer["access-control-allow-headers"]) == (204, "authorization")
        assert "content-length" not in answer
        assert (await client.answer()).status == 200
        assert len(here.near.requests) == 1


async def test_without_the_setting_no_answer_names_a_page() -> None:
    async with stage() as here:
        for request in (post(headers=FROM_PAGE), get("/v1/models", FROM_PAGE), get(CHAT, ASKS, method="OPTIONS")):
            answer = await here.ask(request)
            assert not [name for name, _ in answer.headers if name.startswith("access-control") or name == "vary"]
