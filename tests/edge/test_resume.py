"""A stream that breaks in one region goes on from another, and the client sees one stream.

The near cluster plays a real answer of the emulated model server up to a given byte and breaks;
the middle one is the emulated server itself, which goes on with a text exactly.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest

from federation.features import CONTINUE_FINAL_MESSAGE, STOP_WITHHELD
from federation.lab.model_server import ModelServer, ModelServerSettings
from router.resume.budget import ResumeBudget
from tests.edge.harness import (
    CHAT,
    MODEL,
    Answer,
    Request,
    Stage,
    flushed,
    post,
    stage,
)

COMPLETIONS = "/v1/completions"
FEATURES = (CONTINUE_FINAL_MESSAGE, STOP_WITHHELD)
NO_EJECTION = 1e9
SAMPLED = {"temperature": 0.7}


@dataclass
class Model:
    """The emulated model server, at its endpoint."""

    port: int

    async def __call__(self, request: Request) -> None:
        """A script: pass the request on, and the answer back."""
        await request.send(await self.answer(request))

    async def answer(self, request: Request) -> bytes:
        """Everything that it answers to a request, framing included."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(request.head + b"\r\n" + request.body)
        answer = await reader.readuntil(b"\r\n\r\n")
        if b"transfer-encoding: chunked" in answer:
            while not answer.endswith(b"\r\n0\r\n\r\n"):
                answer += await reader.readuntil(b"\r\n")
        else:
            answer += await reader.readexactly(int(answer.split(b"content-length: ")[1].split(b"\r\n")[0]))
        writer.close()
        return answer

    async def cut_where_asked(self, request: Request) -> None:
        """A script: break off behind as many bytes of the answer as the request's id names."""
        at = int(request.headers["x-request-id"].removeprefix("cut-"))
        await request.send((await self.answer(request))[:at])
        if at % 2:
            await flushed(request.writer)
            request.reset()
        else:
            request.writer.close()
        raise ConnectionResetError


@pytest.fixture(scope="module")
def settings() -> ModelServerSettings:
    return ModelServerSettings(region="us-east4", cluster="middle", models=(MODEL,), replicas=1, speed=1000.0)


@pytest.fixture
async def model(settings: ModelServerSettings) -> AsyncIterator[Model]:
    server = ModelServer(settings, lambda: 1_700_000_000.0)
    addresses = await server.start()
    yield Model(int(addresses.endpoint.rsplit(":", 1)[1]))
    server.stop()
    await asyncio.sleep(0)


def forgiving(here: Stage) -> Stage:
    """Breaks are played by the hundred: they are to eject nobody, and to use nothing up."""
    here.door.feed.rules = replace(
        here.door.feed.rules, failures_in_row=NO_EJECTION, failure_share=2.0, refused_calls=1_000_000
    )
    here.door.resumes = ResumeBudget(at_once=1_000_000, tokens=1e6)
    return here


def asks(path: str = CHAT, headers: Sequence[tuple[str, str]] = (), **fields: Any) -> bytes:
    said = {"messages": [{"role": "user", "content": "Whither?"}]} if path == CHAT else {"prompt": "Whither?"}
    return post({"model": MODEL, "stream": True, **said, **SAMPLED, **fields}, path=path, headers=headers)


@dataclass
class Seen:
    """A stream as a client reads it."""

    text: str
    ids: set[str]
    roles: int
    finish_reasons: list[str]
    usages: list[dict[str, Any]]
    error: dict[str, Any] | None
    done: bool


def read(answer: Answer) -> Seen:
    seen = Seen("", set(), 0, [], [], None, False)
    assert answer.complete
    for event in answer.events:
        payload = event.removeprefix(b"data: ")
        assert not seen.done, "nothing comes after the end"
        if payload == b"[DONE]":
            seen.done = True
            continue
        part = json.loads(payload)
        if "error" in part:
            seen.error = part["error"]
            continue
        seen.ids.add((part["id"], part["object"], part["created"], part["model"]))
        for choice in part["choices"]:
            delta = choice.get("delta", {})
            seen.text += delta.get("content") or choice.get("text") or ""
            seen.roles += "role" in delta
            if choice["finish_reason"]:
                seen.finish_reasons.append(choice["finish_reason"])
        if part.get("usage"):
            usage = part["usage"]
            seen.usages.append({name: usage[name] for name in ("prompt_tokens", "completion_tokens", "total_tokens")})
    return seen


async def whole(here: Stage, model: Model, request: bytes) -> tuple[Seen, bytes]:
    """The uninterrupted stream, as the client sees it and as the cluster sends it."""
    raw: list[bytes] = []

    async def script(received: Request) -> None:
        raw.append(await model.answer(received))
        await received.send(raw[0])

    here.near.plays(script)
    answer = await here.ask(request)
    seen = read(answer)
    assert (seen.done, seen.error) == (True, None)
    return seen, raw[0]


USAGE = {"stream_options": {"include_usage": True}}
CONTINUOUS = {"stream_options": {"include_usage": True, "continuous_usage_stats": True}}


AT_ONCE = 12


@pytest.mark.parametrize(
    ("path", "fields", "step"),
    [
        pytest.param(CHAT, {"max_tokens": 4, **USAGE}, 1, id="chat, with a limit and counts"),
        pytest.param(CHAT, {"max_completion_tokens": 5}, 3, id="chat, with a limit"),
        pytest.param(CHAT, {"max_tokens": 4, **CONTINUOUS}, 3, id="chat, with counts in every event"),
        pytest.param(CHAT, {}, 11, id="chat, to its natural end"),
        pytest.param(CHAT, USAGE, 11, id="chat, to its natural end, with counts"),
        pytest.param(COMPLETIONS, {"max_tokens": 5, **USAGE}, 3, id="completion, with a limit and counts"),
        pytest.param(COMPLETIONS, {"max_tokens": None}, 11, id="completion, to its natural end"),
    ],
)
async def test_cut_at_every_byte_the_stream_is_the_uninterrupted_one(
    model: Model, path: str, fields: dict[str, Any], step: int
) -> None:
    async with stage(features=FEATURES) as here:
        forgiving(here)
        expected, raw = await whole(here, model, asks(path, **fields))
        here.middle.plays(model)
        here.near.plays(model.cut_where_asked)
        cuts = iter(range(1, len(raw), step))

        async def one_after_another() -> None:
            client = await here.client()
            for at in cuts:
                await client.send(asks(path, headers=[("x-request-id", f"cut-{at}")], **fields))
                seen = read(await client.answer())
                assert len(seen.ids) == 1, at
                seen.ids = expected.ids  # Each answer has its own.
                if "continuous_usage_stats" in str(fields):
                    assert seen.usages[-1] == expected.usages[-1], at
                    seen.usages = expected.usages  # How many tokens an event brings differs from run to run.
                assert seen == expected, at

        await asyncio.gather(*(one_after_another() for _ in range(AT_ONCE)))
        assert here.far.requests == []
        assert here.door.kept_bytes == 0
        assert set(here.resumes()) == {"resumed", "complete"}
