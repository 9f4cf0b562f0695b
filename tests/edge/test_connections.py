"""Several requests on one connection: reuse, pipelines, segments cut anywhere."""

import asyncio

from tests.edge.harness import (
    CHAT,
    MODEL,
    STREAM_HEAD,
    Hangs,
    Request,
    answers,
    chunk,
    completion,
    get,
    head,
    post,
    sse,
    stage,
    streams,
    until,
)


async def echo_id(request: Request) -> None:
    """Answers with the request's own id, so that a mix-up shows."""
    await answers(request.headers["x-request-id"].encode())(request)


async def test_a_connection_serves_many_calls_over_one_connection_to_the_cluster() -> None:
    async with stage() as here:
        here.near.plays(echo_id)
        client = await here.client()
        for number in range(20):
            await client.send(post(headers=[("x-request-id", f"r{number}")]))
            answer = await client.answer()
            assert answer.body == f"r{number}".encode()
            assert "connection" not in answer
        assert (here.near.connections, len(here.near.requests)) == (1, 20)


async def test_pipelined_calls_are_answered_in_order() -> None:
    async with stage() as here:
        here.near.plays(echo_id)
        client = await here.client()
        await client.send(b"".join(post(headers=[("x-request-id", f"r{number}")]) for number in range(10)))
        for number in range(10):
            assert (await client.answer()).body == f"r{number}".encode()


async def test_pipelined_requests_of_both_kinds_are_answered_in_order() -> None:
    async with stage() as here:
        here.near.plays(echo_id)
        client = await here.client()
        models, call = get("/v1/models"), post(headers=[("x-request-id", "one")])
        await client.send(call + models + call + call + models + models + get("/healthz") + call)
        for kind in "cmccmmhc":
            answer = await client.answer()
            if kind == "c":
                assert answer.body == b"one"
            elif kind == "m":
                assert [entry["id"] for entry in answer.json["data"]] == [MODEL]
            else:
                assert answer.json == {"status": "ok"}


async def test_a_pipelined_call_waits_for_a_stream_before_it() -> None:
    hangs = Hangs(STREAM_HEAD + chunk(sse("a")[0]), chunk(sse("b")[1]) + b"0\r\n\r\n")
    async with stage() as here:
        here.near.plays(hangs, answers(b"second"))
        client = await here.client()
        await client.send(post(stream=True) + post())
        await hangs.began.wait()
        await client.head()
        assert await client.chunk() == sse("a")[0]
        assert len(here.near.requests) == 1
        hangs.go.set()
        assert await client.chunk() == sse("b")[1]
        assert await client.chunk() is None
        assert (await client.answer()).body == b"second"


async def test_hundreds_of_pipelined_refusals_are_all_told() -> None:
    """Each is answered without waiting for anything: they must not nest."""
    async with stage() as here:
        hangs = Hangs(b"", head(200, {"content-length": "5"}) + b"first")
        here.near.plays(hangs)
        client = await here.client()
        unknown = post(b'{"model":"x"}')
        await client.send(post() + unknown * 700)
        await hangs.began.wait()
        hangs.go.set()
        assert (await client.answer()).body == b"first"
        for _ in range(700):
            assert (await client.answer()).code == "model_not_found"


async def test_a_request_may_be_cut_at_every_byte() -> None:
    request = post(headers=[("x-request-id", "cut"), ("X-A", "b")])
    async with stage() as here:
        here.near.plays(echo_id)
        for at in range(1, len(request)):
            client = await here.client()
            await client.send(request[:at])
            await asyncio.sleep(0)
            await client.send(request[at:])
            assert (await client.answer()).body == b"cut"
            client.close()


async def test_a_request_may_come_byte_by_byte() -> None:
    async with stage() as here:
        client = await here.client()
        for byte in post() + get("/healthz"):
            await client.send(bytes([byte]))
            await asyncio.sleep(0)
        assert (await client.answer()).body == completion("near")
        assert (await client.answer()).json == {"status": "ok"}


async def test_the_first_request_of_a_segment_may_be_refused_and_the_second_served() -> None:
    async with stage() as here:
        client = await here.client()
        await client.send(post(b'{"model": 1}') + post())
        assert (await client.answer()).code == "bad_body"
        assert (await client.answer()).status == 200


async def test_what_follows_connection_close_is_not_served() -> None:
    async with stage() as here:
        client = await here.client()
        await client.send(post(headers=[("Connection", "close")]) + post() + get("/healthz"))
        answer = await client.answer()
        assert (answer.status, answer["connection"]) == (200, "close")
        assert await client.ended() == b""
        assert len(here.near.requests) == 1


async def test_nothing_is_begun_behind_an_answer_that_closes_the_connection() -> None:
    """The second request came in the segment whose first was refused for good."""
    async with stage() as here:
        client = await here.client()
        refused = b"POST %s HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}" % CHAT.encode()  # No Host.
        await client.send(refused + post() + get("/healthz"))
        answer = await client.answer()
        assert (answer.status, answer["connection"]) == (400, "close")
        assert await client.ended() == b""
        assert here.near.requests == []
        assert here.attempts() == {}


async def test_empty_lines_between_requests_are_ignored() -> None:
    async with stage() as here:
        client = await here.client()
        await client.send(post() + b"\r\n" + post() + b"\r\n")
        assert (await client.answer()).status == 200
        assert (await client.answer()).status == 200
        await client.send(post())
        assert (await client.answer()).status == 200


async def test_a_client_that_leaves_with_a_pipeline_leaves_nothing_behind() -> None:
    async with stage() as here:
        hangs = Hangs()
        here.near.plays(hangs)
        client = await here.client()
        await client.send(post() + get("/v1/models") + post() * 3 + post()[:-5])
        await here.near.received()
        client.close()
        await hangs.abandoned()
        await here.settled()
        await until(lambda: not here.server.server_state.connections, "the connection ends")


async def test_many_clients_at_once_get_each_their_own_answer() -> None:
    async with stage(slots=1000) as here:
        for cluster in here.clusters.values():
            cluster.plays(echo_id)

        async def one(number: int) -> None:
            client = await here.client()
            for round_ in range(5):
                name = f"c{number}-{round_}"
                await client.send(post(headers=[("x-request-id", name)], padding="x" * (number * 100)))
                answer = await client.answer()
                assert answer.body == name.encode() == answer["x-request-id"].encode()

        await asyncio.gather(*(one(number) for number in range(60)))
        assert here.attempts() == {("near", "served"): 300}


async def test_streams_side_by_side_do_not_mix() -> None:
    async with stage(slots=1000) as here:

        async def own_stream(request: Request) -> None:
            name = request.headers["x-request-id"]
            await streams(*(f"data: {name} {number}\n\n".encode() for number in range(50)))(request)

        here.near.plays(own_stream)

        async def one(number: int) -> None:
            answer = await here.ask(post(headers=[("x-request-id", f"s{number}")], stream=True))
            assert answer.events == [f"data: s{number} {index}".encode() for index in range(50)]

        await asyncio.gather(*(one(number) for number in range(40)))
