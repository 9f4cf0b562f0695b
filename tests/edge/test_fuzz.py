"""Random requests, cut at random: never a mix-up, never a hang, never a traceback."""

import asyncio
import json
import random
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from router.settings import EdgeSettings, TimeoutSettings
from tests.edge.harness import MODEL, Request, Stage, chunk, get, head, post, sse, stage, until

EXAMPLES = 200
PHASES = (Phase.explicit, Phase.generate)  # A failing example is printed as it is; sockets do not shrink well.


async def echo(request: Request) -> None:
    """Says the request's id and body's length, framed as the body asks."""
    wish = json.loads(request.body)
    said = f"{request.headers['x-request-id']} {len(request.body)}".encode()
    match wish["answer"]:
        case "chunked":
            framed = head(200, {"transfer-encoding": "chunked"}) + chunk(said[:3]) + chunk(said[3:]) + b"0\r\n\r\n"
        case "stream":
            framed = head(200, {"content-type": "text/event-stream", "transfer-encoding": "chunked"})
            framed += chunk(b"data: " + said + b"\n\n" + sse()[0]) + b"0\r\n\r\n"
        case "closed":
            await request.send(head(200) + said)
            request.writer.close()
            raise ConnectionResetError
        case "rejected":
            framed = head(422, {"content-length": str(len(said))}) + said
        case "full":
            framed = head(429, {"content-length": "0"})
        case _:
            framed = head(200, {"content-length": str(len(said))}) + said
    for piece in _cut(framed, wish["cuts"]):
        await request.send(piece)
        await asyncio.sleep(0)


def _cut(data: bytes, seed: int) -> list[bytes]:
    rng = random.Random(seed)
    places = sorted({0, len(data), *(rng.randrange(len(data)) for _ in range(rng.choice((0, 1, 2, 8))))})
    return [data[start:end] for start, end in pairwise(places)]


calls = st.fixed_dictionaries(
    {
        "answer": st.sampled_from(["plain", "chunked", "stream", "closed", "rejected", "full"]),
        "size": st.sampled_from([0, 1, 100, 5_000, 70_000]),
        "chunked": st.booleans(),
        "cuts": st.integers(0, 2**32),
    }
)
requests = st.lists(st.one_of(calls, st.sampled_from(["models", "unknown", "bad", "method"])), min_size=1, max_size=8)


def _spelled(name: str, wish: dict[str, object] | str) -> bytes:
    mark = [("x-request-id", name)]
    match wish:
        case "models":
            return get("/v1/models", mark)
        case "unknown":
            return post({"model": name}, headers=mark)
        case "bad":
            return post(b"[1]", headers=mark)
        case "method":
            return get("/v1/chat/completions", mark)
    assert isinstance(wish, dict)
    size = wish["size"]
    assert isinstance(size, int)
    body = json.dumps({"model": MODEL, "pad": "x" * size, **wish}).encode()
    if not wish["chunked"]:
        return post(body, headers=mark)
    lines = f"POST /v1/completions HTTP/1.1\r\nHost: a\r\nx-request-id: {name}\r\nTransfer-Encoding: chunked\r\n\r\n"
    return lines.encode() + b"".join(chunk(body[at : at + 997]) for at in range(0, len(body), 997)) + b"0\r\n\r\n"


async def _converse(here: Stage, wishes: list[dict[str, object] | str], seed: int) -> None:
    names = [f"{seed}-{number}" for number in range(len(wishes))]
    client = await here.client()
    whole = b"".join(_spelled(name, wish) for name, wish in zip(names, wishes, strict=True))

    async def send() -> None:
        for piece in _cut(whole, seed):
            await client.send(piece)
            await asyncio.sleep(0)

    sending = asyncio.ensure_future(send())
    for name, wish in zip(names, wishes, strict=True):
        answer = await client.answer()
        assert answer.complete
        if isinstance(wish, str):
            assert answer.status == {"models": 200, "unknown": 404, "bad": 400, "method": 405}[wish]
            if wish == "unknown":
                assert name in answer.body.decode()
            continue
        assert answer["x-request-id"] == name
        assert answer.status == {"rejected": 422, "full": 429}.get(str(wish["answer"]), 200)
        if wish["answer"] != "full":
            assert name in answer.body.decode()
    await sending
    client.close()


async def test_random_pipelines_cut_at_random_are_answered_in_order() -> None:
    async with stage(slots=100_000) as here:
        here.door.budget.tokens = here.door.budget.tokens_max = 1e9
        for cluster in here.clusters.values():
            cluster.plays(echo)
        loop = asyncio.get_running_loop()

        @settings(
            max_examples=EXAMPLES, deadline=None, phases=PHASES, database=None, suppress_health_check=list(HealthCheck)
        )
        @given(st.lists(st.tuples(requests, st.integers(0, 2**32)), min_size=1, max_size=3))
        def several_clients(conversations: list[tuple[list[dict[str, object] | str], int]]) -> None:
            async def all_at_once() -> None:
                await asyncio.gather(*(_converse(here, wishes, seed) for wishes, seed in conversations))

            asyncio.run_coroutine_threadsafe(asyncio.wait_for(all_at_once(), 30), loop).result(40)

        await asyncio.to_thread(several_clients)


ALPHABET = [
    b"POST /v1/chat/completions HTTP/1.1\r\n",
    b"GET /v1/models HTTP/1.1\r\n",
    b"Host: a\r\n",
    b"Content-Length: 16\r\n",
    b"Content-Length: 5\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Expect: 100-continue\r\n",
    b"Connection: close\r\n",
    b"Connection: upgrade\r\nUpgrade: h2c\r\n",
    b"\r\n",
    b'{"model":"tiny"}',
    b"10\r\n",
    b"0\r\n\r\n",
    b"\0",
    b"\xff\xfe",
    b" ",
    b"HTTP/1.0\r\n",
    post(b'{"model":"tiny","answer":"plain","cuts":1}'),
    get("/healthz"),
]


@pytest.mark.parametrize("half_close", [False, True], ids=["reset", "half close"])
async def test_random_garbage_ends_its_connection_and_nothing_else(half_close: bool) -> None:
    bounds = TimeoutSettings(body_s=0.05, keep_alive_s=0.05)
    async with stage(slots=100_000, timeouts=bounds, edge=EdgeSettings(headers_bytes_max=4096)) as here:
        for cluster in here.clusters.values():
            cluster.plays(_shrug)
        loop = asyncio.get_running_loop()
        pieces = st.lists(st.one_of(st.sampled_from(ALPHABET), st.binary(max_size=40)), max_size=14)

        @settings(
            max_examples=EXAMPLES // 2,
            deadline=None,
            phases=PHASES,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(st.lists(st.tuples(pieces, st.integers(0, 2**32)), min_size=1, max_size=8))
        def several_clients(conversations: list[tuple[list[bytes], int]]) -> None:
            async def one(data: bytes, seed: int) -> None:
                client = await here.client()
                try:
                    for piece in _cut(data + b" ", seed):
                        await client.send(piece)
                        await asyncio.sleep(0)
                    if half_close:
                        client.writer.write_eof()
                except ConnectionError:
                    pass
                rest = await client.ended()  # It ends: by an error, a time-out or our leaving.
                assert rest == b"" or rest.startswith(b"HTTP/1.1 "), rest[:100]
                assert b"HTTP/1.1 500" not in rest
                client.close()

            async def all_at_once() -> None:
                await asyncio.gather(*(one(b"".join(parts), seed) for parts, seed in conversations))

            asyncio.run_coroutine_threadsafe(asyncio.wait_for(all_at_once(), 30), loop).result(40)

        await asyncio.to_thread(several_clients)
        await until(lambda: not here.door.active, "no call is left")
        assert (await here.ask(get("/healthz"))).status == 200


async def _shrug(request: Request) -> None:
    await request.send(head(200, {"content-length": "2"}) + b"{}")
