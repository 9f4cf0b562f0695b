"""The small client against scripted servers."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from router.replay.client import Client, encode_headers, error_message
from router.replay.tally import Answer

HEAD = (
    b"HTTP/1.1 200 OK\r\nx-tradewind-region: eu\r\nx-tradewind-decision: overflow\r\ntransfer-encoding: chunked\r\n\r\n"
)


def chunk(text: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(text), text)


EVENTS = [chunk(b'data: {"a": %d}\n\n' % number) for number in range(3)]
END = chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"


async def read_request(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    return head + await reader.readexactly(length)


@asynccontextmanager
async def served(
    *answers: bytes, requests: list[bytes] | None = None, opened: list[int] | None = None
) -> AsyncIterator[str]:
    """A server that gives these bytes, call by call; b"" hangs up instead. Yields its URL."""
    left = list(answers)
    handling: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        handling.add(task)
        if opened is not None:
            opened.append(1)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while left:
                request = await read_request(reader)
                if requests is not None:
                    requests.append(request)
                answer = left.pop(0)
                if not answer:
                    break
                for byte in range(0, len(answer), 7):  # In pieces that end anywhere.
                    writer.write(answer[byte : byte + 7])
                    await writer.drain()
                    await asyncio.sleep(0)
            else:
                await reader.read()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        if handling:
            await asyncio.wait(handling, timeout=5)


async def call(client: Client, *, stream: bool = True, headers: bytes = b"") -> Answer:
    settled: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
    client.send(b"{}", headers, stream=stream, done=settled.set_result)
    async with asyncio.timeout(5):
        return await settled


@asynccontextmanager
async def client_of(url: str, timeout_s: float = 5.0, path: str = "/v1/x") -> AsyncIterator[Client]:
    client = Client(url, path, [("authorization", "Bearer k")], timeout_s)
    try:
        yield client
    finally:
        await client.close()
        assert client.in_flight == 0


async def test_a_stream_is_counted_by_its_events() -> None:
    async with served(HEAD + b"".join(EVENTS) + END) as url, client_of(url) as client:
        answer = await call(client)
    assert (answer.failure, answer.status, answer.events) == (None, 200, 3)
    assert (answer.region, answer.decision) == ("eu", "overflow")
    assert answer.ttft_s is not None
    assert answer.tpot_s is not None


async def test_a_request_carries_path_headers_and_body() -> None:
    requests: list[bytes] = []
    async with served(HEAD + END, requests=requests) as url, client_of(url) as client:
        await call(client, headers=encode_headers([("x-client-region", "eu")]))
    head, _, body = requests[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /v1/x HTTP/1.1\r\nhost: 127.0.0.1:")
    assert b"authorization: Bearer k" in head
    assert b"x-client-region: eu" in head
    assert body == b"{}"


async def test_a_connection_is_used_again() -> None:
    opened: list[int] = []
    whole = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"
    async with served(whole, HEAD + END, whole, opened=opened) as url, client_of(url) as client:
        for stream in (False, True, False):
            assert (await call(client, stream=stream)).failure is None
    assert len(opened) == 1


@pytest.mark.parametrize(
    ("served_bytes", "failure", "words"),
    [
        pytest.param(b"", "connection lost", "before the answer was complete", id="hung up"),
        pytest.param(HEAD + EVENTS[0] + b"!", "bad answer", "not HTTP", id="garbage in the stream"),
        pytest.param(HEAD + EVENTS[0] + b"0\r\n\r\n", "cut short", "without [DONE]", id="a bare end"),
        pytest.param(
            HEAD + EVENTS[0] + chunk(b'data: {"error": {"message": "gone", "type": "x"}}\n\n') + b"0\r\n\r\n",
            "error event",
            "gone",
            id="an error in the stream",
        ),
        pytest.param(
            b'HTTP/1.1 503 No\r\ncontent-length: 42\r\n\r\n{"error": {"message": "nobody serves it"}}',
            "status 503",
            "nobody serves it",
            id="an error for an answer",
        ),
        pytest.param(
            b"HTTP/1.1 502 Bad\r\nconnection: close\r\ncontent-length: 4\r\n\r\noops",
            "status 502",
            "oops",
            id="no JSON",
        ),
    ],
)
async def test_failures_have_a_kind_and_a_message(served_bytes: bytes, failure: str, words: str) -> None:
    async with served(served_bytes) as url, client_of(url) as client:
        answer = await call(client)
    assert answer.failure == failure
    assert words in answer.message


async def test_nobody_there() -> None:
    async with served() as url:
        pass
    async with client_of(url) as client:
        assert (await call(client)).failure == "connect"


async def test_an_answer_that_does_not_come_in_time() -> None:
    async with served(HEAD + EVENTS[0]) as url, client_of(url, timeout_s=0.1) as client:
        answer = await call(client)
    assert answer.failure == "timeout"
    assert answer.first_at is not None


async def test_closing_ends_what_is_under_way() -> None:
    answers: list[Answer] = []
    async with served(HEAD + EVENTS[0], HEAD + EVENTS[0]) as url, client_of(url) as client:
        for _ in range(2):
            client.send(b"{}", b"", stream=True, done=answers.append)
        await client.close()
        assert client.quiet.is_set()
    assert [answer.failure for answer in answers] == ["not finished"] * 2


def test_a_header_cannot_end_its_line() -> None:
    with pytest.raises(ValueError, match="line ends"):
        encode_headers([("x-client-region", "eu\r\nx: y")])


def test_error_messages_come_from_the_error_object_or_as_they_are() -> None:
    assert error_message(b'{"error": {"message": "no room"}}') == "no room"
    assert error_message(b"<html>\nlong") == "<html>"
