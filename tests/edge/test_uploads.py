"""Forms with files: their bytes pass untouched, their model is found, and they hold up nobody."""

import asyncio
from collections.abc import Iterator, Sequence

import pytest

from router.auth import ApiKeys
from router.edge import upload as sending
from router.edge.intake import TURN_BYTES
from router.edge.upload import STEP_BYTES, Upload
from router.form import FormBody
from router.pieces import Pieces
from router.settings import EdgeSettings, TimeoutSettings
from tests.edge.harness import (
    MODEL,
    STREAM_HEAD,
    ScriptedCluster,
    answers,
    chunk,
    completion,
    head,
    post,
    stage,
    then_resets,
    until,
)

AUDIO = "/v1/audio/transcriptions"
BOUNDARY = b"7d1f0c5e"
TYPE = ("content-type", f"multipart/form-data; boundary={BOUNDARY.decode()}")
MIB = 1024 * 1024


def field(name: str, value: bytes, file: str = "") -> bytes:
    more = f'; filename="{file}"\r\nContent-Type: audio/wav' if file else ""
    return b'--%s\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n' % (
        BOUNDARY,
        name.encode(),
        more.encode(),
        value,
    )


def form(content: bytes = b"RIFF\0\xff\r\n", model: str = MODEL, model_first: bool = False) -> bytes:
    parts = [field("file", content, "a.wav"), field("model", model.encode())]
    return b"".join(reversed(parts) if model_first else parts) + b"--%s--\r\n" % BOUNDARY


def upload(body: bytes, headers: Sequence[tuple[str, str]] = (TYPE,)) -> bytes:
    return post(body, AUDIO, headers)


def cut(body: bytes, size: int) -> Iterator[bytes]:
    for at in range(0, len(body), size):
        yield body[at : at + size]


@pytest.mark.parametrize("plain", [False, True], ids=["edge", "asgi"])
@pytest.mark.parametrize("model_first", [False, True])
@pytest.mark.parametrize("size", [0, 10, 70_000, 1_000_000])
async def test_file_reaches_the_cluster_untouched(size: int, model_first: bool, plain: bool) -> None:
    body = form(bytes(range(256)) * (size // 256), model_first=model_first)
    async with stage(plain=plain) as here:
        here.near.plays(answers(b'{"text":"so"}'))
        answer = await here.ask(upload(body))
        assert (answer.status, answer.body, answer["x-tradewind-cluster"]) == (200, b'{"text":"so"}', "near")
        [request] = here.near.requests
        assert request.line == f"POST {AUDIO} HTTP/1.1"
        assert request.headers["content-type"] == TYPE[1]
        assert request.headers["content-length"] == str(len(body))
        assert request.body == body


@pytest.mark.parametrize("plain", [False, True], ids=["edge", "asgi"])
async def test_chunked_form_is_sent_on_with_its_length(plain: bool) -> None:
    body = form(b"x" * 10_000)
    lines = [f"POST {AUDIO} HTTP/1.1", "Host: a", ": ".join(TYPE), "Transfer-Encoding: chunked", "", ""]
    async with stage(plain=plain) as here:
        client = await here.client()
        await client.send("\r\n".join(lines).encode() + b"".join(map(chunk, cut(body, 7))) + b"0\r\n\r\n")
        assert (await client.answer()).status == 200
        [request] = here.near.requests
        assert request.body == body


@pytest.mark.parametrize("plain", [False, True], ids=["edge", "asgi"])
@pytest.mark.parametrize(
    ("body", "headers", "sentence"),
    [
        pytest.param(b"{}", [("content-type", "application/json")], "takes a multipart", id="JSON"),
        pytest.param(form(), [], "takes a multipart", id="no type"),
        pytest.param(form(), [("content-type", "multipart/form-data")], "one boundary", id="no boundary"),
        pytest.param(form(), [TYPE, TYPE], "takes a multipart", id="two types"),
        pytest.param(field("file", b"x") + b"--%s--" % BOUNDARY, [TYPE], "must provide a model", id="no model"),
        pytest.param(field("model", b"a") + form(), [TYPE], "more than once", id="two models"),
        pytest.param(form()[:-10], [TYPE], "ends before", id="cut"),
        pytest.param(b"", [TYPE], "ends before", id="empty"),
        pytest.param(b"x" + form(), [TYPE], "does not begin with", id="preamble"),
    ],
)
async def test_broken_form_is_refused_with_a_sentence(
    body: bytes, headers: list[tuple[str, str]], sentence: str, plain: bool
) -> None:
    async with stage(plain=plain) as here:
        answer = await here.ask(upload(body, headers))
        assert (answer.status, answer.code) == (400, "bad_body")
        assert sentence in answer.json["error"]["message"]
        assert not here.near.requests


async def test_nobody_uploads_without_a_key() -> None:
    """Refused at the head: not after two hundred megabytes."""
    async with stage(keys=ApiKeys(())) as here:
        client = await here.client()
        await client.send(upload(form(b"x" * 1000))[:-500])
        answer = await client.answer()
        assert (answer.status, answer.code, answer["connection"]) == (401, "invalid_api_key", "close")


@pytest.mark.parametrize("plain", [False, True], ids=["edge", "asgi"])
async def test_files_have_a_bound_of_their_own(plain: bool) -> None:
    edge = EdgeSettings(body_bytes_max=1_000, upload_bytes_max=100_000)
    async with stage(edge=edge, plain=plain) as here:
        assert (await here.ask(upload(form(b"x" * 50_000)))).status == 200
        answer = await here.ask(upload(form(b"x" * 100_000)))
        assert (answer.status, answer.code) == (413, "body_too_large")
        assert "100000 bytes" in answer.json["error"]["message"]
        assert (await here.ask(post({"model": MODEL, "input": "x" * 2_000}))).status == 413


@pytest.mark.parametrize("plain", [False, True], ids=["edge", "asgi"])
async def test_file_is_sent_again_elsewhere(plain: bool) -> None:
    body = form(b"\0\1\2\3" * 500_000)
    async with stage(plain=plain) as here:
        here.near.plays(then_resets())
        answer = await here.ask(upload(body))
        assert (answer.status, answer["x-tradewind-cluster"], answer["x-tradewind-attempts"]) == (200, "middle", "2")
        assert here.near.requests[0].body == here.middle.requests[0].body == body


async def test_cluster_that_answers_before_it_has_the_file_gets_no_other_call_on_that_connection() -> None:
    """Unread bytes of the file would be read as the next request."""

    async def refuses(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(head(413, {"content-type": "text/plain", "content-length": "3"}) + b"big")
        await writer.drain()
        await until(writer.is_closing, "the front door ends the connection")
        raise ConnectionResetError

    async with stage(names=["near"]) as here:
        here.near.on_connect = refuses
        answer = await here.ask(upload(form(b"x" * 30 * MIB)))
        assert (answer.status, answer.body) == (413, b"big")
        here.near.on_connect = None
        assert (await here.ask(post())).body == completion("near")
        assert here.near.connections == 2


async def test_slow_upload_is_let_go_on_while_it_goes_on() -> None:
    """A time-out meant for prompts would end every upload over a slow line."""
    async with stage(timeouts=TimeoutSettings(body_s=0.3)) as here:
        client = await here.client()
        data = upload(form(b"x" * 200_000))
        await client.send(data[:100_000])  # Worth a second and a half at the slowest speed that counts.
        await asyncio.sleep(0.6)
        await client.send(data[100_000:])
        assert (await client.answer()).status == 200
        await client.send(data[:1_000])
        answer = await client.answer()
        assert (answer.status, answer.code) == (408, "request_timeout")


async def test_client_that_leaves_in_the_middle_leaves_nothing_behind() -> None:
    async with stage() as here:
        client = await here.client()
        await client.send(upload(form(b"x" * 5 * MIB))[: 3 * MIB])
        await until(lambda: here.door.buffered_bytes > 2 * MIB, "the upload comes in")
        client.close()
        await here.settled()
        assert not here.near.requests


async def test_client_that_leaves_while_the_cluster_takes_the_file_ends_that() -> None:
    stop = asyncio.Event()

    async def takes_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await stop.wait()
        raise ConnectionResetError

    async with stage(names=["near"]) as here:
        here.near.on_connect = takes_nothing
        client = await here.client()
        await client.send(upload(form(b"x" * 20 * MIB)))
        await until(lambda: here.near.connections == 1 and not here.near.requests, "the cluster is called")
        client.close()
        await here.settled()
        await until(lambda: here.door.pools["near"].open == 0, "the cluster's connection is ended")
        stop.set()


# No step may hold up the loop.


class Drain:
    """A cluster that reads a request without keeping it."""

    def __init__(self, cluster: ScriptedCluster) -> None:
        self.received = 0
        cluster.on_connect = self

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
        [length] = [int(line.split(b": ")[1]) for line in lines if line.startswith(b"content-length: ")]
        while self.received < length:
            self.received += len(await reader.read(MIB))
        writer.write(head(200, {"content-length": "2"}) + b"{}")


async def test_no_step_moves_much_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted in bytes handed over between two turns of the loop: a busy machine cannot change that."""
    steps: list[int] = []
    go_on = Upload.go_on

    def counted(self: Upload) -> None:
        before = len(written)
        go_on(self)
        steps.append(sum(written[before:]))

    written: list[int] = []

    class Counting:
        def __init__(self, transport: asyncio.Transport) -> None:
            self._transport = transport

        def writelines(self, lines: list[bytes]) -> None:
            written.append(sum(map(len, lines)))
            self._transport.writelines(lines)

        def is_closing(self) -> bool:
            return self._transport.is_closing()

    begin = Upload.__init__

    def begun(self: Upload, transport: asyncio.Transport, body: object) -> None:
        begin(self, Counting(transport), body)  # type: ignore[arg-type]

    monkeypatch.setattr(Upload, "__init__", begun)
    monkeypatch.setattr(Upload, "go_on", counted)
    body = form(b"x" * 40 * MIB)
    async with stage(names=["near"]) as here:
        drain = Drain(here.near)
        answer = await here.ask(upload(body))
        assert answer.status == 200
        assert drain.received == sum(steps) == len(body)
        assert max(steps) <= STEP_BYTES + 256 * 1024  # One read of the client's is the unit.


async def test_no_turn_takes_much_of_one_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """One turn of the loop reads up to 32 times from a client that is fast enough."""
    taken = [0]
    take = FormBody.take

    def counted(self: FormBody, piece: bytes) -> None:
        taken[-1] += len(piece)
        take(self, piece)

    monkeypatch.setattr(FormBody, "take", counted)
    loop = asyncio.get_running_loop()
    turning = True

    def turn() -> None:
        taken.append(0)
        if turning:
            loop.call_soon(turn)

    body = form(b"x" * 40 * MIB)
    async with stage(names=["near"]) as here:
        drain = Drain(here.near)
        loop.call_soon(turn)
        assert (await here.ask(upload(body))).status == 200
        turning = False
        assert drain.received == sum(taken) == len(body)
        assert max(taken) <= TURN_BYTES + 256 * 1024


async def test_large_body_is_let_go_in_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[int] = []
    over = asyncio.Event()
    go_on = sending._let_go_on

    def counted(doomed: list[bytes]) -> None:
        before = len(doomed)
        go_on(doomed)
        steps.append(before - len(doomed))
        if not doomed:
            over.set()

    monkeypatch.setattr(sending, "_let_go_on", counted)
    body = Pieces()
    for _ in range(200):
        body.add(bytes(100_000))
    sending.let_go(body)
    async with asyncio.timeout(10):
        await over.wait()
    assert sum(steps) == 200
    assert max(steps) * 100_000 <= sending.LET_GO_BYTES + 100_000


async def test_cluster_that_answers_before_it_has_the_file_still_gets_all_of_it() -> None:
    """The answer begins, so that nobody else will need the body: what is on its way stays."""
    whole = asyncio.Event()

    async def answers_at_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
        [length] = [int(line.split(b": ")[1]) for line in lines if line.startswith(b"content-length: ")]
        writer.write(STREAM_HEAD + chunk(b"data: 1\n\n"))
        await began.wait()
        assert len(await reader.readexactly(length)) == length
        whole.set()
        writer.write(chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n")

    began = asyncio.Event()
    async with stage(names=["near"]) as here:
        here.near.on_connect = answers_at_once
        client = await here.client()
        await client.send(upload(form(b"x" * 30 * MIB)))
        status, _ = await client.head()
        assert (status, await client.chunk()) == (200, b"data: 1\n\n")
        began.set()
        assert await client.chunk() == b"data: [DONE]\n\n"
        assert whole.is_set()
