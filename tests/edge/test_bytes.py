"""What reaches the cluster and what reaches the client, byte for byte."""

import asyncio
import json

import pytest

from tests.edge.harness import (
    CHAT,
    MODEL,
    STREAM_HEAD,
    Answer,
    Request,
    answers,
    chunk,
    completion,
    get,
    head,
    post,
    raw,
    sse,
    stage,
    streams,
    then_closes,
)

# Up.


async def test_the_body_reaches_the_cluster_byte_for_byte() -> None:
    body = b'{ "model" :\t"tiny",\r\n "unknown": [1e400, -0.0, "\\ud83d\\ude00", "\xc3\xa9"], "messages": []}  \n'
    async with stage() as here:
        assert (await here.ask(post(body))).status == 200
        assert here.near.requests[0].body == body


async def test_a_chunked_body_reaches_the_cluster_whole_and_with_its_length() -> None:
    body = json.dumps({"model": MODEL, "prompt": "x" * 300_000}).encode()
    pieces = b"".join(chunk(body[at : at + 7777]) for at in range(0, len(body), 7777))
    request = b"POST /v1/completions HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: chunked\r\n\r\n" + pieces + b"0\r\n\r\n"
    async with stage() as here:
        assert (await here.ask(request)).status == 200
        assert here.near.requests[0].line == "POST /v1/completions HTTP/1.1"
        assert here.near.requests[0].body == body
        assert "transfer-encoding" not in here.near.requests[0].headers


async def test_a_body_of_many_tiny_chunks_reaches_the_cluster_whole() -> None:
    body = json.dumps({"model": MODEL, "prompt": "ab" * 20_000}).encode()
    pieces = b"".join(chunk(body[at : at + 2]) for at in range(0, len(body), 2))
    request = b"POST /v1/completions HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: chunked\r\n\r\n" + pieces + b"0\r\n\r\n"
    async with stage() as here:
        assert (await here.ask(request)).status == 200
        assert here.near.requests[0].body == body


async def test_trailers_of_a_request_are_dropped() -> None:
    body = b'{"model":"tiny"}'
    request = (
        b"POST /v1/embeddings HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: chunked\r\n\r\n"
        + chunk(body)
        + b"0\r\nX-Tradewind-Origin: nowhere\r\nX-Late: 1\r\n\r\n"
    )
    async with stage() as here:
        assert (await here.ask(request)).status == 200
        assert here.near.requests[0].body == body
        assert "x-late" not in here.near.requests[0].headers


async def test_of_a_requests_headers_only_the_harmless_ones_go_up() -> None:
    sent = [
        ("Authorization", "Bearer secret"),
        ("X-API-Key", "secret"),
        ("Api-Key", "secret"),
        ("Cookie", "a=b"),
        ("X-Forwarded-For", "10.0.0.1"),
        ("Forwarded", "for=10.0.0.1"),
        ("Via", "1.1 someone"),
        ("X-Real-IP", "10.0.0.1"),
        ("X-Client-Region", "europe-west4"),
        ("X-Tradewind-Session", "s"),
        ("X-Tradewind-Cluster", "far"),
        ("X-Tradewind-Origin", "lies"),
        ("X-Envoy-Retry-On", "5xx"),
        ("X-Gateway-Destination-Endpoint", "10.0.0.9"),
        ("Proxy-Authorization", "Basic x"),
        ("Keep-Alive", "timeout=5"),
        ("TE", "trailers"),
        ("Upgrade", "h2c"),
        ("Connection", "keep-alive, X-Hop , X-Other"),
        ("X-Hop", "1"),
        ("X-Other", "2"),
        ("Accept-Encoding", "gzip"),
        ("Expect", "something-else"),
        ("Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ("Content-Type", "application/json"),
        ("Accept", "*/*"),
        ("X-Mine", "stays \xe9"),
        ("User-Agent", "me"),
    ]
    async with stage() as here:
        answer = await here.ask(post(headers=sent))
        (request,) = here.far.requests
        assert request.line == "POST /v1/chat/completions HTTP/1.1"
        assert request.headers == {
            "host": f"127.0.0.1:{here.far.port}",
            "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "content-type": "application/json",
            "accept": "*/*",
            "x-mine": "stays \xe9",
            "user-agent": "me",
            "x-request-id": answer["x-request-id"],
            "x-tradewind-origin": "europe-west4",
            "content-length": str(len(request.body)),
        }


async def test_a_clients_request_id_is_taken_over_and_an_unfit_one_replaced() -> None:
    async with stage() as here:
        given = await here.ask(post(headers=[("X-Request-Id", "mine/1:2.3_4-5")]))
        assert given["x-request-id"] == "mine/1:2.3_4-5" == here.near.requests[0].headers["x-request-id"]
        for unfit in ("two words", "x" * 129, 'quote"', ""):
            made = await here.ask(post(headers=[("X-Request-Id", unfit)]))
            assert made["x-request-id"].startswith("req_")
            assert here.near.requests[-1].headers["x-request-id"] == made["x-request-id"]
        assert len({request.headers["x-request-id"] for request in here.near.requests}) == 5


async def test_a_query_string_does_not_hide_an_inference_path_and_goes_up_with_it() -> None:
    async with stage() as here:
        assert (await here.ask(post(path=CHAT + "?api-version=1&a=%20"))).status == 200
        assert here.near.requests[0].line == "POST /v1/chat/completions?api-version=1&a=%20 HTTP/1.1"


@pytest.mark.parametrize("path", [f"http://door{CHAT}", "/%76%31/chat/completions"], ids=["absolute form", "escaped"])
async def test_another_spelling_of_an_inference_path_is_the_same_call(path: str) -> None:
    async with stage() as here:
        answer = await here.ask(post(path=path))
        assert (answer.status, answer["x-tradewind-cluster"]) == (200, "near")
        assert here.near.requests[0].line == "POST /v1/chat/completions HTTP/1.1"


# Down.


async def test_of_an_answers_headers_the_clusters_own_affairs_stay_behind_and_ours_are_set() -> None:
    given = {
        "content-type": "application/json",
        "set-cookie": "a=b",
        "server": "secret/1.0",
        "alt-svc": "h3",
        "connection": "keep-alive, x-hop",
        "keep-alive": "timeout=5",
        "x-hop": "1",
        "proxy-authenticate": "Basic",
        "trailer": "x-late",
        "x-request-id": "theirs",
        "x-tradewind-cluster": "lies",
        "x-tradewind-attempts": "99",
        "x-envoy-upstream-service-time": "3",
        "x-should-retry": "false",
        "x-model": "kept",
        "date": "Mon, 01 Jan 2024 00:00:00 GMT",
        "content-length": "2",
    }
    async with stage() as here:
        here.near.plays(raw(head(200, given) + b"{}"))
        answer = await here.ask(post(headers=[("x-request-id", "mine")]))
        assert answer.headers == [
            ("content-type", "application/json"),
            ("x-should-retry", "false"),
            ("x-model", "kept"),
            ("date", "Mon, 01 Jan 2024 00:00:00 GMT"),
            ("x-request-id", "mine"),
            ("x-tradewind-cluster", "near"),
            ("x-tradewind-region", "us-central1"),
            ("x-tradewind-decision", "nearest"),
            ("x-tradewind-attempts", "1"),
            ("content-length", "2"),
        ]


CHUNKED_JSON = head(200, {"content-type": "application/json", "transfer-encoding": "chunked"})


@pytest.mark.parametrize(
    ("sent", "body"),
    [
        pytest.param(head(200, {"content-length": "5"}) + b"hello", b"hello", id="content-length"),
        pytest.param(CHUNKED_JSON + chunk(b"hel") + chunk(b"lo") + b"0\r\n\r\n", b"hello", id="chunked"),
        pytest.param(CHUNKED_JSON + b"5;x=y\r\nhello\r\n0\r\nX-Late: 1\r\n\r\n", b"hello", id="extension and trailer"),
        pytest.param(head(200, {"content-length": "0"}), b"", id="empty"),
        pytest.param(CHUNKED_JSON + b"0\r\n\r\n", b"", id="empty chunked"),
        pytest.param(head(204), b"", id="no content"),
        pytest.param(b"HTTP/1.1 100 Continue\r\n\r\n" + head(200, {"content-length": "2"}) + b"ok", b"ok", id="100"),
        pytest.param(
            b"HTTP/1.1 103 Early Hints\r\nLink: x\r\ncontent-length: 7\r\n\r\n" * 3
            + head(200, {"content-length": "2"})
            + b"ok",
            b"ok",
            id="103 thrice",
        ),
        pytest.param(head(200, {"content-length": str(300_000)}) + b"x" * 300_000, b"x" * 300_000, id="long"),
        pytest.param(CHUNKED_JSON + chunk(b"y" * 300_000) + b"0\r\n\r\n", b"y" * 300_000, id="long chunked"),
    ],
)
async def test_any_framing_of_an_answer_gives_the_same_body_and_keeps_both_connections(
    sent: bytes, body: bytes
) -> None:
    async with stage() as here:
        here.near.plays(raw(sent))
        client = await here.client()
        for _ in range(3):
            await client.send(post())
            answer = await client.answer()
            assert (answer.body, answer.complete) == (body, True)
            assert "x-late" not in answer
            assert "link" not in answer
        assert here.near.connections == 1
        assert here.attempts() == {("near", "served"): 3}


async def test_an_answer_may_end_with_its_connection() -> None:
    async with stage() as here:
        here.near.plays(then_closes(head(200, {"content-type": "application/json"}) + b'{"a":1}'))
        client = await here.client()
        for number in (1, 2):
            await client.send(post())
            answer = await client.answer()
            assert (answer.status, answer.body, answer["content-length"]) == (200, b'{"a":1}', "7")
            assert here.near.connections == number


@pytest.mark.parametrize("said", [{"connection": "close"}, None], ids=["close", "HTTP/1.0"])
async def test_a_connection_that_its_cluster_ends_is_not_used_again(said: dict[str, str] | None) -> None:
    sent = head(200, {"content-length": "2", **(said or {})}) + b"{}"
    if said is None:
        sent = sent.replace(b"HTTP/1.1", b"HTTP/1.0")
    async with stage() as here:
        here.near.plays(raw(sent))
        for number in (1, 2):
            answer = await here.ask(post())
            assert answer["x-tradewind-attempts"] == "1"
            assert here.near.connections == number


async def test_bytes_behind_an_answer_are_not_passed_on_and_end_the_connection() -> None:
    smuggled = head(200, {"content-length": "6", "x-smuggled": "1"}) + b"second"
    async with stage() as here:
        here.near.plays(raw(head(200, {"content-length": "5"}) + b"first" + smuggled))
        client = await here.client()
        for number in (1, 2):
            await client.send(post())
            answer = await client.answer()
            assert answer.body == b"first"
            assert "x-smuggled" not in answer
            assert here.near.connections == number


async def test_garbage_behind_a_complete_answer_does_not_spoil_it() -> None:
    async with stage() as here:
        here.near.plays(raw(head(200, {"content-length": "5"}) + b"first" + b"\x00garbage\r\n\r\n"))
        for number in (1, 2):
            answer = await here.ask(post())
            assert (answer.body, answer["x-tradewind-cluster"]) == (b"first", "near")
            assert here.near.connections == number


async def test_a_clusters_redirect_and_its_clients_errors_are_passed_through_unchanged() -> None:
    async with stage() as here:
        for status in (302, 400, 409, 413, 422):
            here.near.plays(answers(b'{"error":"theirs"}', status, {"x-why": "because"}))
            answer = await here.ask(post())
            assert (answer.status, answer.body, answer["x-why"]) == (status, b'{"error":"theirs"}', "because")
            assert answer["x-tradewind-attempts"] == "1"
        assert here.standing("near").failures == 0


async def test_a_stream_is_passed_on_event_by_event_as_it_comes() -> None:
    event, more = sse("one", "two", done=False)
    go, proceed = asyncio.Event(), asyncio.Event()

    async def script(request: Request) -> None:
        await request.send(STREAM_HEAD + chunk(event + more[:10]))
        await go.wait()
        await request.send(chunk(more[10:]))
        await proceed.wait()
        await request.send(chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n")

    async with stage() as here:
        here.near.plays(script)
        client = await here.client()
        await client.send(post(stream=True))
        status, headers = await client.head()
        assert status == 200
        assert ("content-type", "text/event-stream") in headers
        assert ("x-accel-buffering", "no") in headers
        assert ("cache-control", "no-cache, no-transform") in headers
        assert await client.chunk() == event, "the half event waits"
        go.set()
        assert await client.chunk() == more
        proceed.set()
        assert await client.chunk() == b"data: [DONE]\n\n"
        assert await client.chunk() is None


async def test_the_media_type_of_a_stream_may_be_written_in_any_case() -> None:
    sent = head(200, {"content-type": "Text/Event-Stream; charset=utf-8", "transfer-encoding": "chunked"})
    async with stage() as here:
        here.near.plays(raw(sent + chunk(b"data: 1\n\n")))
        client = await here.client()
        await client.send(post(stream=True))
        assert (await client.head())[0] == 200
        assert await client.chunk() == b"data: 1\n\n"
        client.close()


async def test_an_event_cut_at_every_byte_arrives_whole() -> None:
    events = sse("one", "two")
    body = b"".join(events)
    async with stage() as here:

        async def trickles(request: Request) -> None:
            await request.send(STREAM_HEAD)
            for byte in body:
                await request.send(chunk(bytes([byte])))
                await asyncio.sleep(0)
            await request.send(b"0\r\n\r\n")

        here.near.plays(trickles)
        client = await here.client()
        await client.send(post(stream=True))
        await client.head()
        seen = b""
        while (part := await client.chunk()) is not None:
            assert part.endswith(b"\n\n")
            seen += part
        assert seen == body


# Clients of several kinds.


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH"])
async def test_another_method_on_an_inference_path_is_not_allowed(method: str) -> None:
    async with stage() as here:
        client = await here.client()
        await client.send(get(CHAT, method=method))
        answer = await client.answer(head_only=method == "HEAD")
        assert (answer.status, answer["allow"], answer["x-should-retry"]) == (405, "POST", "false")
        if method != "HEAD":
            assert answer.code == "method_not_allowed"
        await client.send(post())
        assert (await client.answer()).status == 200, "and the connection goes on"


async def test_an_unknown_path_is_told_in_the_shape_of_openai() -> None:
    async with stage() as here:
        answer = await here.ask(post(path="/v1/nothing"))
        assert (answer.status, answer.code) == (404, "not_found")


async def _old_client(wanted: bytes, *, stream: bool) -> Answer:
    async with stage() as here:
        here.near.plays(streams(*sse("a")) if stream else answers(completion()))
        client = await here.client()
        await client.send(post(version="1.0", headers=[("Connection", "keep-alive")], stream=stream))
        answer = await client.answer()
        assert answer["connection"] == "close"
        assert "transfer-encoding" not in answer
        assert answer.body == wanted
        assert await client.ended() == b""
        return answer


async def test_an_http_1_0_client_gets_a_plain_answer_and_a_closed_connection() -> None:
    answer = await _old_client(completion(), stream=False)
    assert answer["content-length"] == str(len(completion()))


async def test_an_http_1_0_client_gets_a_stream_that_ends_with_the_connection() -> None:
    assert "content-length" not in await _old_client(b"".join(sse("a")), stream=True)


async def test_a_client_that_expects_100_is_told_to_go_on_before_it_sends_its_body() -> None:
    request = post(headers=[("Expect", "100-continue")])
    headers, body = request.split(b"\r\n\r\n", 1)
    async with stage() as here:
        client = await here.client()
        await client.send(headers + b"\r\n\r\n")
        assert await client.head() == (100, [])
        await client.send(body)
        assert (await client.answer()).status == 200
        assert "expect" not in here.near.requests[0].headers


async def test_a_client_that_expects_100_and_is_refused_never_hears_it() -> None:
    async with stage() as here:
        client = await here.client()
        await client.send(b"POST %s HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n" % CHAT.encode())
        status, _ = await client.head()
        assert status == 400
        client.close()


async def test_the_official_client_reads_answers_and_streams() -> None:
    async with stage() as here, here.openai() as client:
        answer = await client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "?"}])
        assert answer.choices[0].message.content == "near"
        here.near.plays(streams(*sse("a", "b", "c")))
        parts = await client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "?"}], stream=True
        )
        assert [part.choices[0].delta.content async for part in parts] == ["a", "b", "c"]
