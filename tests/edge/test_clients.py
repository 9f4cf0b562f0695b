"""What goes wrong, as the official clients of each API raise it."""

from collections.abc import AsyncIterable
from typing import Any

import anthropic
import httpx
import openai
import pytest

from router.auth import ApiKeys
from tests.edge.harness import MODEL, STREAM_HEAD, WAIT_S, Stage, answers, chunk, head, stage, streams, then_resets
from tests.edge.test_paths import named

HI: list[anthropic.types.MessageParam] = [{"role": "user", "content": "Hi"}]
START = named(
    "message_start",
    message={
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": MODEL,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": 1, "output_tokens": 0},
    },
)
BEGIN = named("content_block_start", index=0, content_block={"type": "text", "text": ""})
DELTA = named("content_block_delta", index=0, delta={"type": "text_delta", "text": "so"})


def anthropic_client(here: Stage) -> anthropic.AsyncAnthropic:
    return anthropic.AsyncAnthropic(base_url=here.url, api_key="none", max_retries=0, timeout=WAIT_S)


async def types_of(stream: AsyncIterable[Any], seen: list[str]) -> None:
    async for event in stream:
        seen.append(event.type)


async def ask(here: Stage) -> object:
    async with anthropic_client(here) as client:
        return await client.messages.create(model=MODEL, messages=HI, max_tokens=9)


async def test_anthropic_without_a_good_key_raises_authentication() -> None:
    async with stage(keys=ApiKeys(())) as here:
        with pytest.raises(anthropic.AuthenticationError) as caught:
            await ask(here)
        assert (caught.value.type, caught.value.status_code) == ("authentication_error", 401)


@pytest.mark.parametrize(
    ("status", "raised", "told", "kind"),
    [
        (429, anthropic.RateLimitError, 429, "rate_limit_error"),
        (500, anthropic.InternalServerError, 502, "api_error"),
        (503, anthropic.InternalServerError, 502, "api_error"),
    ],
)
async def test_anthropic_raises_what_all_clusters_came_to(
    status: int, raised: type[anthropic.APIStatusError], told: int, kind: str
) -> None:
    async with stage() as here:
        for cluster in here.clusters.values():
            cluster.plays(answers(b"{}", status))
        with pytest.raises(raised) as caught:
            await ask(here)
        assert (caught.value.status_code, caught.value.type) == (told, kind)
        assert caught.value.request_id == caught.value.response.headers["x-request-id"]


async def test_anthropic_raises_overloaded_kind_when_nobody_is_there() -> None:
    async with stage() as here:
        for cluster in here.clusters.values():
            await cluster.refuse()
        with pytest.raises(anthropic.InternalServerError) as caught:
            await ask(here)
        assert (caught.value.status_code, caught.value.type) == (503, "overloaded_error")


async def test_anthropic_stream_that_breaks_raises() -> None:
    async with stage() as here, anthropic_client(here) as client:
        here.near.plays(then_resets(STREAM_HEAD + b"".join(map(chunk, (START, BEGIN, DELTA)))))
        stream = await client.messages.create(model=MODEL, messages=HI, max_tokens=9, stream=True)
        seen: list[str] = []
        with pytest.raises(anthropic.APIStatusError, match="broke off") as caught:
            await types_of(stream, seen)
        assert seen == ["message_start", "content_block_start", "content_block_delta"]
        assert caught.value.type == "api_error"


async def test_anthropic_stream_that_ends_well_raises_nothing() -> None:
    async with stage() as here, anthropic_client(here) as client:
        end = named("message_stop")
        here.near.plays(streams(START, BEGIN, DELTA, end))
        stream = await client.messages.create(model=MODEL, messages=HI, max_tokens=9, stream=True)
        assert [event.type async for event in stream][-1] == "message_stop"


async def test_openai_raises_when_a_stream_of_responses_breaks() -> None:
    created = named("response.created", sequence_number=0, response={"id": "resp_1", "object": "response"})
    async with stage() as here, here.openai() as client:
        here.near.plays(then_resets(STREAM_HEAD + chunk(created)))
        stream = await client.responses.create(model=MODEL, input="Hi", stream=True)
        seen: list[str] = []
        with pytest.raises(openai.APIError, match="broke off") as caught:
            await types_of(stream, seen)
        assert seen == ["response.created"]
        assert caught.value.code == "stream_broken"


async def test_openai_sends_files_and_moderations() -> None:
    async with stage() as here, here.openai() as client:
        here.near.plays(answers(b'{"text":"so"}'), answers(b'{"id":"m","model":"tiny","results":[]}'))
        answer = await client.audio.transcriptions.create(model=MODEL, file=("a.wav", b"RIFF" * 100_000))
        assert answer.text == "so"
        assert (await client.moderations.create(model=MODEL, input="x")).results == []


async def test_other_client_of_forms_is_understood() -> None:
    """httpx writes forms in its own way."""
    async with stage() as here, here.http() as client:
        answer = await client.post(
            "/v1/audio/transcriptions", data={"model": MODEL}, files={"file": ('a"b\\.wav', b"x" * 1_000, "audio/wav")}
        )
        assert (answer.status_code, answer.headers["x-tradewind-cluster"]) == (200, "near")
        assert isinstance(answer, httpx.Response)


async def test_head_of_a_refusal_by_the_cluster_is_the_clusters() -> None:
    async with stage() as here:
        body = b'{"type":"error","error":{"type":"invalid_request_error","message":"no"}}'
        plain = head(400, {"content-type": "application/json", "content-length": str(len(body)), "request-id": "up"})

        async def script(request: object) -> None:
            await here.near.requests[-1].send(plain + body)

        here.near.plays(script)
        with pytest.raises(anthropic.BadRequestError) as caught:
            await ask(here)
        assert caught.value.request_id == "up"
