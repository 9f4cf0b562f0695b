"""A stream that breaks in one region goes on from another, and the client sees one stream.

The near cluster plays a real answer of the emulated model server up to a given byte and breaks;
the middle one is the emulated server itself, which goes on with a text exactly.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any

import pytest

from federation.ejection import ProbeResult
from federation.features import ASSISTANT_PREFILL, CONTINUE_FINAL_MESSAGE, STOP_WITHHELD
from federation.fold import ProbeSeen
from federation.lab.model_server import ModelServer, ModelServerSettings
from router.resume.budget import ResumeBudget
from router.resume.kept import BYTES_UNPACKED_MAX, PACKED_BYTES_MAX
from router.settings import EdgeSettings, TimeoutSettings
from tests.edge.harness import (
    CHAT,
    MODEL,
    STREAM_HEAD,
    Answer,
    Hangs,
    Request,
    Script,
    Stage,
    answers,
    chunk,
    flushed,
    post,
    sse,
    stage,
    streams,
    then_closes,
    then_resets,
    until,
)
from tests.edge.test_back_pressure import BUFFER_BYTES_MAX, Flood, unsent

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
    chat = path.startswith(CHAT)
    said = {"messages": [{"role": "user", "content": "Whither?"}]} if chat else {"prompt": "Whither?"}
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
        pytest.param(CHAT, {"max_tokens": 60, "stop": ["s", " t"]}, 11, id="chat, to a stop string"),
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
        outcomes = set(here.resumes())
        assert {"resumed"} <= outcomes <= {"resumed", "complete"}
        assert step > 1 or "complete" in outcomes, "some cut is behind everything but the end"


# What becomes of a stream that breaks, case by case. The near cluster begins it.


def begun(*texts: str) -> bytes:
    """A stream up to the middle of its text."""
    return STREAM_HEAD + b"".join(map(chunk, sse(*texts, done=False)))


def breaks_after(*texts: str) -> Script:
    return then_resets(begun(*texts))


def ends_honestly(answer: Answer, text: str) -> None:
    """What came stands; then an error, and nothing that looks like an end."""
    seen = read(answer)
    assert seen.text == text
    assert seen.error is not None
    assert seen.error["code"] == "stream_broken"
    assert not seen.done


def goes_on(answer: Answer, text: str) -> None:
    seen = read(answer)
    assert (seen.text, seen.error, seen.done) == (text, None, True)


COUNTED = answers(b'{"count":2,"tokens":[1,2]}')


async def test_a_stream_that_breaks_goes_on_and_is_counted() -> None:
    async with stage(features=FEATURES) as here:
        here.near.plays(breaks_after("one ", "two "))
        here.middle.plays(streams(*sse("three")))
        answer = await here.ask(asks())
        goes_on(answer, "one two three")
        assert answer["x-tradewind-cluster"] == "near", "where it began"
        assert here.attempts() == {("near", "broken"): 1, ("middle", "served"): 1}
        assert here.resumes() == {"resumed": 1}
        assert here.calls() == {"served": 1}
        assert here.registry.get_sample_value("tradewind_resume_gap_seconds_count") == 1
        assert here.registry.get_sample_value("tradewind_broken_streams_total") == 0


async def test_what_the_next_cluster_is_asked() -> None:
    async with stage(features=FEATURES) as here:
        here.near.plays(breaks_after("one ", "two "))
        here.middle.plays(COUNTED, streams(*sse("three")))
        headers = [("x-request-id", "mine"), ("x-tradewind-resume", "on"), ("traceparent", "00-1")]
        goes_on(await here.ask(asks(f"{CHAT}?beta=1", headers, max_tokens=10, messages=[HELLO])), "one two three")
        count, rest = here.middle.requests
        assert count.line == "POST /tokenize HTTP/1.1"
        said = {"prompt": "one two ", "content": "one two ", "add_special_tokens": False}
        assert json.loads(count.body) == {"model": MODEL, **said}
        assert rest.line == f"POST {CHAT}?beta=1 HTTP/1.1"
        assert json.loads(rest.body) == {
            "model": MODEL,
            "stream": True,
            **SAMPLED,
            "messages": [HELLO, {"role": "assistant", "content": "one two "}],
            "continue_final_message": True,
            "add_generation_prompt": False,
            "max_tokens": 8,
        }
        for request in (count, rest):
            assert request.headers["x-request-id"] == "mine"
            assert "x-tradewind-resume" not in request.headers
        assert count.connection == rest.connection


HELLO = {"role": "user", "content": "Hello?"}


async def test_where_neither_limit_nor_counts_matter_nothing_is_counted() -> None:
    async with stage(features=(ASSISTANT_PREFILL,)) as here:
        here.near.plays(breaks_after("one "))
        here.middle.plays(streams(*sse("two")))
        goes_on(await here.ask(asks()), "one two")
        [rest] = here.middle.requests
        assert "continue_final_message" not in json.loads(rest.body), "llama.cpp knows no such field"


async def test_a_call_that_broke_two_clusters_is_let_go() -> None:
    async with stage(features=FEATURES) as here:
        here.near.plays(breaks_after("one "))
        here.middle.plays(breaks_after("two "))
        ends_honestly(await here.ask(asks()), "one two ")
        assert here.far.requests == []
        assert here.resumes() == {"resumed": 1, "suspected": 1}
        assert here.calls() == {"stream_broken": 1}


def unreachable(here: Stage, cluster: str) -> None:
    """Probes find nobody at a cluster."""
    for _ in range(3):
        here.door.feed.put(ProbeSeen(cluster, ProbeResult.SILENT))
    here.door.feed.tick()


async def test_a_silent_stream_of_an_unreachable_cluster_goes_on_elsewhere_and_is_no_break() -> None:
    async with stage(features=FEATURES) as here:
        frozen = Hangs(begun("one "))
        here.near.plays(frozen)
        here.middle.plays(breaks_after("two "))
        here.far.plays(streams(*sse("three")))
        client = await here.client()
        await client.send(asks())
        await frozen.began.wait()
        await until(lambda: here.door.kept_bytes, "the stream has begun")
        unreachable(here, "near")
        goes_on(await client.answer(), "one two three")
        await frozen.abandoned()
        assert here.attempts() == {("near", "abandoned"): 1, ("middle", "broken"): 1, ("far", "served"): 1}
        assert here.resumes() == {"resumed": 2}


async def test_a_stream_that_still_comes_from_an_unreachable_cluster_is_left_alone() -> None:
    async with stage(features=FEATURES) as here:
        steady = Hangs(begun("one "), b"".join(map(chunk, sse("two"))) + b"0\r\n\r\n")
        here.near.plays(steady)
        client = await here.client()
        await client.send(asks())
        await until(lambda: here.door.kept_bytes, "the stream has begun")
        unreachable(here, "near")
        await asyncio.sleep(0.1)
        steady.go.set()
        goes_on(await client.answer(), "one two")
        assert here.resumes() == {}


async def test_a_stream_that_falls_silent_goes_on_elsewhere() -> None:
    async with stage(features=FEATURES, timeouts=TimeoutSettings(idle_s=0.2)) as here:
        hangs = Hangs(begun("one "))
        here.near.plays(hangs)
        here.middle.plays(streams(*sse("two")))
        goes_on(await here.ask(asks()), "one two")
        await hangs.abandoned()


@pytest.mark.parametrize("end", [b"0\r\n\r\n", chunk(b'data: {"choices":[{"del') + b"0\r\n\r\n"])
async def test_a_stream_that_ends_properly_in_the_middle_of_its_text_goes_on(end: bytes) -> None:
    async with stage(features=FEATURES) as here:
        here.near.plays(then_closes(begun("one ") + end))
        here.middle.plays(streams(*sse("two")))
        goes_on(await here.ask(asks()), "one two")
        assert here.attempts() == {("near", "broken"): 1, ("middle", "served"): 1}


TOOL_CALL = (
    b'data: {"id":"c","object":"o","created":0,"model":"m",'
    b'"choices":[{"index":0,"delta":{"tool_calls":[{"index":0}]},"finish_reason":null}]}\n\n'
)


async def test_a_tool_call_that_ends_properly_in_its_middle_ends_with_an_error() -> None:
    async with stage(features=FEATURES) as here:
        here.near.plays(streams(TOOL_CALL))
        ends_honestly(await here.ask(asks()), "")
        assert here.resumes() == {"unreadable": 1}


# When it is not to be gone on with.


@pytest.mark.parametrize(
    ("fields", "features", "why"),
    [
        pytest.param({"tools": [{"type": "function"}]}, FEATURES, "request: tools", id="tools"),
        pytest.param({"n": 2}, FEATURES, "request: n", id="two answers"),
        pytest.param({"x_new_option": 1}, FEATURES, "request: unknown field", id="unknown"),
        pytest.param({"stop": ["."]}, (CONTINUE_FINAL_MESSAGE,), "cluster", id="stop, not withheld"),
        pytest.param({}, (), "not_kept", id="no such feature"),
        pytest.param({}, (STOP_WITHHELD,), "not_kept", id="another feature"),
    ],
)
async def test_a_stream_that_cannot_be_gone_on_with_ends_with_the_honest_error(
    fields: dict[str, Any], features: tuple[str, ...], why: str
) -> None:
    async with stage(features=features) as here:
        here.near.plays(breaks_after("one "))
        ends_honestly(await here.ask(asks(**fields)), "one ")
        assert here.middle.requests == []
        assert here.resumes() == {why: 1}
        assert here.attempts() == {("near", "broken"): 1}


@pytest.mark.parametrize("value", ["off", "OFF"])
async def test_a_client_can_forbid_it(value: str) -> None:
    async with stage(features=FEATURES) as here:
        here.near.plays(breaks_after("one "))
        ends_honestly(await here.ask(asks(headers=[("x-tradewind-resume", value)])), "one ")
        assert here.middle.requests == []
        assert here.resumes() == {"not_kept": 1}


async def test_a_wish_that_is_not_understood_is_refused() -> None:
    async with stage(features=FEATURES) as here:
        answer = await here.ask(asks(headers=[("x-tradewind-resume", "perhaps")]))
        assert (answer.status, answer.code, answer.json["error"]["param"]) == (400, "bad_header", "x-tradewind-resume")
        assert here.near.requests == []


async def test_text_in_which_a_model_thinks_aloud_is_not_gone_on_with() -> None:
    async with stage(features=FEATURES) as here:
        here.near.plays(breaks_after("<think>", "hm "))
        ends_honestly(await here.ask(asks()), "<think>hm ")
        assert here.resumes() == {"unreadable": 1}


async def test_an_error_that_the_server_tells_is_the_end_of_it() -> None:
    async with stage(features=FEATURES) as here:
        here.near.plays(then_resets(begun("one ") + chunk(b'data: {"error":{"message":"CUDA"}}\n\n')))
        answer = await here.ask(asks())
        assert b"CUDA" in answer.body
        assert here.middle.requests == []


async def test_where_nobody_else_is_the_cluster_that_broke_is_asked_once_more() -> None:
    async with stage(names=("near",), features=FEATURES) as here:
        here.near.plays(breaks_after("one "), streams(*sse("two")))
        goes_on(await here.ask(asks()), "one two")
        assert here.resumes() == {"resumed": 1}
        assert here.attempts() == {("near", "broken"): 1, ("near", "served"): 1}


async def test_others_are_asked_before_the_cluster_that_broke() -> None:
    async with stage(names=("near", "middle"), features=FEATURES) as here:
        here.near.plays(breaks_after("one "), streams(*sse("two")))
        here.middle.plays(answers(b"", 503))
        goes_on(await here.ask(asks()), "one two")
        assert len(here.middle.requests) == 1


async def test_a_cluster_that_breaks_the_same_stream_again_is_not_asked_a_third_time() -> None:
    async with stage(names=("near",), features=FEATURES) as here:
        here.near.plays(breaks_after("one "), breaks_after("two "))
        ends_honestly(await here.ask(asks()), "one two ")
        assert here.resumes() == {"resumed": 1, "suspected": 1}


async def test_a_cluster_that_answered_this_very_call_with_an_error_is_not_asked_for_the_rest() -> None:
    async with stage(features=FEATURES) as here:
        here.near.plays(answers(b"", 500))
        here.middle.plays(breaks_after("one "))
        here.far.plays(streams(*sse("two")))
        goes_on(await here.ask(asks()), "one two")
        assert len(here.near.requests) == 1


async def test_a_stream_goes_on_at_an_ejected_cluster_rather_than_end() -> None:
    async with stage(names=("near", "middle"), features=FEATURES) as here:
        for _ in range(4):
            here.door.feed.put(ProbeSeen("middle", ProbeResult.UNWELL))
        here.door.feed.tick()
        here.near.plays(breaks_after("one "), answers(b"", 503))
        here.middle.plays(streams(*sse("two")))
        goes_on(await here.ask(asks()), "one two")


async def test_nobody_left_is_the_honest_error() -> None:
    async with stage(names=("near",), features=FEATURES) as here:
        here.near.plays(breaks_after("one "), answers(b"", 503))
        ends_honestly(await here.ask(asks()), "one ")
        assert here.resumes() == {"failed": 1}
        assert len(here.near.requests) == 2


async def test_beyond_the_budget_streams_end_with_the_error() -> None:
    async with stage(features=FEATURES) as here:
        here.door.resumes = ResumeBudget(at_once=1, tokens=1.0, refilled_at=here.door.now() + 1000)
        here.near.plays(breaks_after("one "))
        here.middle.plays(streams(*sse("two")))
        goes_on(await here.ask(asks()), "one two")
        ends_honestly(await here.ask(asks()), "one ")
        assert here.resumes() == {"resumed": 1, "budget": 1}


async def test_what_would_not_fit_is_not_kept() -> None:
    async with stage(features=FEATURES, edge=EdgeSettings(kept_bytes_max=10)) as here:
        here.near.plays(breaks_after("one "))
        ends_honestly(await here.ask(asks()), "one ")
        assert here.resumes() == {"not_kept": 1}


async def test_a_stream_is_let_go_when_all_together_keep_too_much() -> None:
    request = asks()
    length = len(request.split(b"\r\n\r\n", 1)[1])
    async with stage(features=FEATURES, edge=EdgeSettings(kept_bytes_max=length + 50)) as here:
        hangs = Hangs(begun(*(f"word {number} " for number in range(500))), chunk(sse("one more")[0]))
        here.near.plays(hangs)
        client = await here.client()
        await client.send(request)
        await until(lambda: here.door.kept_bytes, "the stream has begun")
        hangs.go.set()
        await until(lambda: not here.door.kept_bytes, "it is let go")
        assert here.door.active
        client.close()


async def test_a_stream_that_grows_too_long_is_let_go() -> None:
    rng = Random(1)
    async with stage(features=FEATURES) as here:
        texts = [rng.randbytes(BYTES_UNPACKED_MAX).hex() for _ in range(PACKED_BYTES_MAX // BYTES_UNPACKED_MAX + 2)]
        here.near.plays(breaks_after(*texts))
        ends_honestly(await here.ask(asks()), "".join(texts))
        assert here.resumes() == {"not_kept": 1}
        assert here.door.kept_bytes == 0


# When the next cluster fails too.


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(answers(b"", 503), id="503"),
        pytest.param(answers(b"", 500), id="500"),
        pytest.param(answers(b"", 429), id="429"),
        pytest.param(answers(b'{"error":{"message":"The model does not exist."}}', 404), id="404"),
        pytest.param(answers(b'{"choices":[]}'), id="no stream"),
        pytest.param(streams(), id="a stream of nothing"),
        pytest.param(streams(b": ping\n\n"), id="a stream of comments"),
    ],
)
@pytest.mark.parametrize("counts", [False, True], ids=["rest", "count first"])
async def test_a_cluster_that_fails_to_go_on_is_left_for_a_further_one(script: Script, counts: bool) -> None:
    async with stage(features=FEATURES) as here:
        here.near.plays(breaks_after("one "))
        here.middle.plays(*([COUNTED] if counts else []), script)
        here.far.plays(streams(*sse("two")))
        goes_on(await here.ask(asks(**({"max_tokens": 9} if counts else {}))), "one two")
        assert here.resumes() == {"resumed": 1}
        assert len(here.middle.requests) == (2 if counts else 1)
        [rest] = here.far.requests  # The text is the same, and was counted.
        assert json.loads(rest.body).get("max_tokens") == (7 if counts else None)


async def test_a_cluster_that_refuses_connections_is_left_for_a_further_one() -> None:
    async with stage(features=FEATURES) as here:
        here.near.plays(breaks_after("one "))
        await here.middle.refuse()
        here.far.plays(streams(*sse("two")))
        goes_on(await here.ask(asks()), "one two")


async def test_a_cluster_that_hangs_is_left_for_a_further_one() -> None:
    async with stage(features=FEATURES, timeouts=TimeoutSettings(first_byte_s=0.2)) as here:
        hangs = Hangs()
        here.near.plays(breaks_after("one "))
        here.middle.plays(hangs)
        here.far.plays(streams(*sse("two")))
        goes_on(await here.ask(asks(max_tokens=None)), "one two")
        await hangs.abandoned()


async def test_a_second_cluster_that_breaks_before_it_says_anything_is_the_second_broken() -> None:
    async with stage(features=FEATURES) as here:
        here.near.plays(breaks_after("one "))
        here.middle.plays(then_resets())
        ends_honestly(await here.ask(asks()), "one ")
        assert here.far.requests == []
        assert here.resumes() == {"failed": 1}


@pytest.mark.parametrize("status", [400, 422])
async def test_a_cluster_that_refuses_to_go_on_is_blamed_for_nothing(status: int) -> None:
    async with stage(features=FEATURES) as here:
        here.near.plays(breaks_after("one "))
        here.middle.plays(answers(b'{"error":{"message":"chat template"}}', status))
        ends_honestly(await here.ask(asks()), "one ")
        assert here.attempts() == {("near", "broken"): 1, ("middle", "passed_through"): 1}
        assert here.standing("middle").failures == 0


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(answers(b"{}", 404), id="no such path"),
        pytest.param(answers(b"{}", 400), id="refused"),
        pytest.param(answers(b"{}"), id="says nothing"),
        pytest.param(answers(b"<html>"), id="no JSON"),
    ],
)
async def test_a_server_that_cannot_count_ends_it_and_is_blamed_for_nothing(script: Script) -> None:
    async with stage(features=FEATURES) as here:
        here.near.plays(breaks_after("one "))
        here.middle.plays(script)
        ends_honestly(await here.ask(asks(max_tokens=9)), "one ")
        assert here.resumes() == {"failed": 1}
        assert here.standing("middle").failures == 0
        assert len(here.middle.requests) == 1


async def test_a_cluster_that_fails_to_count_is_left_for_a_further_one() -> None:
    async with stage(features=FEATURES) as here:
        here.near.plays(breaks_after("one "))
        here.middle.plays(answers(b"", 503))
        here.far.plays(COUNTED, streams(*sse("two")))
        goes_on(await here.ask(asks(max_tokens=9)), "one two")
        assert json.loads(here.far.requests[1].body)["max_tokens"] == 7


async def test_a_text_that_had_its_last_token_is_ended_without_asking_for_more() -> None:
    async with stage(features=FEATURES) as here:
        here.near.plays(breaks_after("one ", "two "))
        here.middle.plays(COUNTED)
        answer = await here.ask(asks(max_tokens=2))
        goes_on(answer, "one two ")
        assert read(answer).finish_reasons == ["length"]
        assert len(here.middle.requests) == 1


# Clients.


async def test_a_client_that_leaves_while_its_stream_goes_on_ends_it() -> None:
    async with stage(features=FEATURES) as here:
        hangs = Hangs()
        here.near.plays(breaks_after("one "))
        here.middle.plays(hangs)
        client = await here.client()
        await client.send(asks())
        await hangs.began.wait()
        client.close()
        await hangs.abandoned()
        await here.settled()
        assert here.attempts() == {("near", "broken"): 1, ("middle", "cancelled"): 1}
        assert here.door.kept_bytes == 0


async def test_a_client_that_leaves_while_its_stream_waits_for_its_turn_asks_nobody() -> None:
    async with stage(features=FEATURES) as here:
        now = here.door.now()
        while here.door.pace.wait_s("middle", now) < 0.5:
            pass
        here.near.plays(breaks_after("one "))
        client = await here.client()
        await client.send(asks())
        await until(lambda: here.door.in_flight == {("middle", MODEL): 1}, "it waits for its turn")
        client.close()
        await here.settled()
        await asyncio.sleep(0.6)
        assert here.middle.requests == []
        assert here.door.kept_bytes == 0


async def test_streams_go_on_one_after_the_other_once_there_are_many() -> None:
    async with stage(features=FEATURES) as here:
        now = here.door.now()
        while here.door.pace.wait_s("middle", now) < 0.3:
            pass
        here.near.plays(breaks_after("one "))
        here.middle.plays(streams(*sse("two")))
        goes_on(await here.ask(asks()), "one two")
        assert here.door.now() - now > 0.25


async def test_a_slow_reader_holds_back_also_the_cluster_that_goes_on() -> None:
    texts = ["x" * 8000 for _ in range(200)]
    async with stage(features=FEATURES) as here:
        flood = Flood(piece=chunk(sse("y" * 8000)[0]))
        here.near.plays(then_closes(begun(*texts)))
        here.middle.plays(flood)
        client = await here.client(receive_buffer=8192)
        await client.send(asks())
        while not flood.sent:
            assert await asyncio.wait_for(client.reader.read(100_000), 10)
        before = await flood.stalls()
        assert unsent(here) < BUFFER_BYTES_MAX
        while flood.sent < before + 3_000_000:
            assert await asyncio.wait_for(client.reader.read(1_000_000), 10)
        client.close()
        await until(lambda: here.middle.open == 0, "the cluster is let go")


@pytest.mark.parametrize("plain", [False, True], ids=["edge", "ASGI"])
async def test_the_official_client_reads_one_stream(model: Model, plain: bool) -> None:
    async with stage(features=FEATURES, plain=plain) as here:
        forgiving(here)

        async def ask() -> tuple[str, list[Any]]:
            async with here.openai() as client:
                stream = await client.chat.completions.create(
                    model=MODEL,
                    messages=[{"role": "user", "content": "Hello?"}],
                    max_tokens=40,
                    stream=True,
                    stream_options={"include_usage": True},
                )
                chunks = [part async for part in stream]
            return "".join(part.choices[0].delta.content or "" for part in chunks if part.choices), chunks

        async def cut_in_the_middle(request: Request) -> None:
            whole = await model.answer(request)
            await then_resets(whole[: len(whole) // 2])(request)

        here.near.plays(model)
        expected, before = await ask()
        here.near.plays(cut_in_the_middle)
        here.middle.plays(model)
        text, after = await ask()
        assert text == expected
        assert len({part.id for part in after}) == 1
        assert sum(bool(part.choices and part.choices[0].delta.role) for part in after) == 1
        assert [part.choices[0].finish_reason for part in after if part.choices][-1] == "length"
        for name in ("prompt_tokens", "completion_tokens", "total_tokens"):
            assert getattr(after[-1].usage, name) == getattr(before[-1].usage, name)
        assert here.resumes() == {"resumed": 1}


async def test_at_the_end_of_the_grace_period_nothing_is_gone_on_with() -> None:
    async with stage(features=FEATURES) as here:
        hangs = Hangs(begun("one "))
        here.near.plays(hangs)
        client = await here.client()
        await client.send(asks())
        await until(lambda: here.door.kept_bytes, "the stream has begun")
        here.door.cut_all()
        seen = read(await client.answer())
        assert seen.error is not None
        assert (seen.text, seen.error["code"], seen.done) == ("one ", "too_busy", False)
        await hangs.abandoned()
        assert here.middle.requests == []
        assert here.resumes() == {}


END = b"[DONE]\n\n\r\n0\r\n\r\n"


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        pytest.param(CHAT, {"max_tokens": 60, **USAGE}, id="chat, with a limit and counts"),
        pytest.param(CHAT, {"max_tokens": 60, **CONTINUOUS}, id="chat, with counts in every event"),
        pytest.param(COMPLETIONS, {"max_tokens": None}, id="completion, to its natural end"),
    ],
)
@pytest.mark.parametrize("share", [0.02, 0.5, 0.97])
async def test_a_stream_that_goes_on_twice_is_still_the_uninterrupted_one(
    model: Model, path: str, fields: dict[str, Any], share: float
) -> None:
    """The first break is one, the second a cluster that freezes."""
    async with stage(features=FEATURES) as here:
        expected, raw = await whole(here, model, asks(path, **fields))
        frozen = asyncio.Event()

        async def freezes(request: Request) -> None:
            answer = await model.answer(request)
            if not request.line.startswith(f"POST {path} "):
                await request.send(answer)
                return
            head, separator, body = answer.partition(b"\r\n\r\n")
            at = min(max(2000, int(len(body) * share)), len(body) - len(END))
            await request.send(head + separator + body[:at])
            frozen.set()
            await request.gone()
            raise ConnectionResetError

        here.near.plays(then_resets(raw[: len(raw) // 2]))
        here.middle.plays(freezes)
        here.far.plays(model)
        client = await here.client()
        await client.send(asks(path, **fields))
        await frozen.wait()
        await until(lambda: here.resumes() == {"resumed": 1}, "the middle one's first events have come")
        unreachable(here, "middle")
        seen = read(await client.answer())
        assert len(seen.ids) == 1
        seen.ids = expected.ids
        if "continuous_usage_stats" in str(fields):
            assert seen.usages[-1] == expected.usages[-1]
            seen.usages = expected.usages
        assert seen == expected
        assert here.resumes() in ({"resumed": 2}, {"resumed": 1, "complete": 1})
        assert here.door.kept_bytes == 0
