"""After the first byte nothing can be taken back: an honest end, never one that looks complete."""

import json

import httpx
import openai
import pytest

from router.settings import TimeoutSettings
from tests.edge.harness import (
    CHAT,
    MODEL,
    STREAM_HEAD,
    Answer,
    Hangs,
    Script,
    Stage,
    chunk,
    head,
    post,
    sse,
    stage,
    then_closes,
    then_resets,
)

FIRST, SECOND = sse("a", "b", done=False)
HALF = STREAM_HEAD + chunk(FIRST) + chunk(SECOND)


def _ends_in_error(answer: Answer, events: list[bytes]) -> None:
    """The events, then an error event in OpenAI's shape as the last, and a proper end of the answer."""
    assert answer.complete
    *before, last = answer.events
    assert [event + b"\n\n" for event in before] == events
    assert last.startswith(b"data: ")
    error = json.loads(last.removeprefix(b"data: "))["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["code"] == "stream_broken"
    assert b"[DONE]" not in answer.body


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(then_resets(HALF), id="reset"),
        pytest.param(then_closes(HALF), id="closed"),
        pytest.param(then_resets(HALF + chunk(b'data: {"half')), id="in an event"),
        pytest.param(then_resets(HALF + b"ff\r\ndata: {"), id="in a chunk"),
        pytest.param(then_closes(HALF, b"zz\r\n"), id="bad framing"),
    ],
)
async def test_a_stream_that_breaks_ends_with_an_error_event_and_is_not_begun_anew(script: Script) -> None:
    async with stage() as here:
        here.near.plays(script)
        client = await here.client()
        await client.send(post(stream=True))
        _ends_in_error(await client.answer(), [FIRST, SECOND])
        assert here.middle.requests == []
        assert here.attempts() == {("near", "broken"): 1}
        assert here.calls() == {"stream_broken": 1}
        assert here.standing("near").failures == 1.0
        here.near.plays(then_closes(head(200, {"content-length": "2"}) + b"{}"))
        await client.send(post())
        assert (await client.answer()).status == 200, "and the connection goes on"


async def test_the_official_client_raises_on_a_stream_that_breaks() -> None:
    async with stage() as here, here.openai() as client:
        here.near.plays(then_resets(HALF))
        stream = await client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "?"}], stream=True
        )
        seen: list[str | None] = []

        async def read() -> None:
            async for part in stream:
                seen.append(part.choices[0].delta.content)

        with pytest.raises(openai.APIError, match="broke off") as caught:
            await read()
        assert seen == ["a", "b"]
        assert caught.value.code == "stream_broken"


async def test_a_stream_that_falls_silent_is_given_up() -> None:
    async with stage(timeouts=TimeoutSettings(idle_s=0.2)) as here:
        hangs = Hangs(HALF)
        here.near.plays(hangs)
        _ends_in_error(await here.ask(post(stream=True)), [FIRST, SECOND])
        await hangs.abandoned()
        assert here.attempts() == {("near", "broken"): 1}


async def test_a_stream_to_an_http_1_0_client_ends_with_the_error_and_the_connection() -> None:
    async with stage() as here:
        here.near.plays(then_resets(HALF))
        _ends_in_error(await here.ask(post(stream=True, version="1.0")), [FIRST, SECOND])


async def test_an_event_too_long_to_hold_is_ended_before_the_error() -> None:
    """What was passed on of it must not swallow the error that follows."""
    async with stage() as here:
        here.near.plays(then_resets(STREAM_HEAD + chunk(FIRST) + chunk(b"data: " + b"x" * 1_200_000)))
        answer = await here.ask(post(stream=True))
        assert answer.complete
        assert json.loads(answer.events[-1].removeprefix(b"data: "))["error"]["code"] == "stream_broken"


# Long answers that are no streams.

LONG = 400_000


async def _long(here: Stage, script: Script, version: str = "1.1") -> tuple[Answer, bytes]:
    here.near.plays(script)
    client = await here.client()
    await client.send(post(version=version))
    answer = await client.answer()
    return answer, await client.ended()


@pytest.mark.parametrize("breaks", [then_resets, then_closes], ids=["reset", "closed"])
@pytest.mark.parametrize(
    "half",
    [
        head(200, {"content-length": str(2 * LONG)}) + b"x" * LONG,
        head(200, {"transfer-encoding": "chunked"}) + chunk(b"x" * LONG),
    ],
    ids=["content-length", "chunked"],
)
async def test_a_long_answer_that_breaks_never_looks_complete(half: bytes, breaks: type) -> None:
    async with stage() as here:
        answer, _ = await _long(here, breaks(half))
        assert answer.status == 200
        assert not answer.complete
        assert here.middle.requests == []
        assert here.attempts() == {("near", "broken"): 1}


async def test_a_long_answer_that_breaks_is_an_error_to_httpx() -> None:
    async with stage() as here, here.http() as client:
        here.near.plays(then_resets(head(200, {"transfer-encoding": "chunked"}) + chunk(b"x" * LONG)))
        with pytest.raises(httpx.HTTPError):
            await client.post(CHAT, json={"model": MODEL})


async def test_a_long_answer_that_falls_silent_is_broken_off() -> None:
    async with stage(timeouts=TimeoutSettings(idle_s=0.2)) as here:
        hangs = Hangs(head(200, {"content-length": str(2 * LONG)}) + b"x" * LONG)
        answer, _ = await _long(here, hangs)
        assert not answer.complete
        await hangs.abandoned()
