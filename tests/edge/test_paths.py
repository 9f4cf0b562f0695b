"""Every inference path: bytes untouched both ways, candidates only where it is served, errors in its API's shape."""

import json
from typing import Any

import pytest

from router.dialect import Dialect
from router.paths import TABLE, Form
from tests.edge.harness import (
    CHAT,
    STREAM_HEAD,
    Answer,
    answers,
    chunk,
    get,
    head,
    post,
    stage,
    then_closes,
    then_resets,
)

JSON_PATHS = [path for path, route in TABLE.items() if route.form is Form.JSON]
FOO = "/v1/foo"
MESSAGES = "/v1/messages"
RESPONSES = "/v1/responses"


def named(event: str, **fields: Any) -> bytes:
    """An event as Anthropic's and the Responses API's streams name them."""
    return b"event: %s\ndata: %s\n\n" % (event.encode(), json.dumps({"type": event, **fields}).encode())


@pytest.mark.parametrize("plain", [False, True], ids=["edge", "asgi"])
@pytest.mark.parametrize("path", JSON_PATHS)
async def test_bytes_pass_untouched_both_ways(path: str, plain: bool) -> None:
    body = b'{ "model":"tiny",  "strange" : [1e3, "\\u00e9"], "input": "x"}'
    said = b'{"odd":   [ 1, 2 ]}\n'
    async with stage(plain=plain) as here:
        here.near.plays(answers(said, headers={"x-model-server": "so"}))
        answer = await here.ask(post(body, path, headers=[("content-type", "application/json")]))
        assert (answer.status, answer.body, answer["x-model-server"]) == (200, said, "so")
        assert answer["x-tradewind-cluster"] == "near"
        [request] = here.near.requests
        assert (request.line, request.body) == (f"POST {path} HTTP/1.1", body)


@pytest.mark.parametrize("plain", [False, True], ids=["edge", "asgi"])
async def test_query_reaches_the_cluster(plain: bool) -> None:
    async with stage(plain=plain) as here:
        await here.ask(post(path=f"{CHAT}?api-version=2024-10-21&x=%20y"))
        [request] = here.near.requests
        assert request.line == f"POST {CHAT}?api-version=2024-10-21&x=%20y HTTP/1.1"


@pytest.mark.parametrize("plain", [False, True], ids=["edge", "asgi"])
async def test_declared_path_goes_only_where_it_is_declared(plain: bool) -> None:
    async with stage(plain=plain, paths={"middle": [FOO], "far": [FOO]}) as here:
        here.middle.plays(answers(b"m", 503), answers(b"m"))
        answer = await here.ask(post(path=FOO))
        assert (answer.status, answer["x-tradewind-cluster"], answer["x-tradewind-attempts"]) == (200, "far", "2")
        answer = await here.ask(post(path=FOO))
        assert (answer["x-tradewind-cluster"], answer["x-tradewind-decision"]) == ("middle", "nearest")
        assert not here.near.requests


@pytest.mark.parametrize("plain", [False, True], ids=["edge", "asgi"])
async def test_failover_ends_where_the_path_does(plain: bool) -> None:
    async with stage(plain=plain, paths={"middle": [FOO]}) as here:
        here.middle.plays(then_resets())
        answer = await here.ask(post(path=FOO))
        assert answer.status == 502
        assert not here.near.requests
        assert not here.far.requests


async def test_path_that_nobody_declares_is_not_found() -> None:
    async with stage() as here:
        answer = await here.ask(post(path=FOO))
        assert (answer.status, answer.code) == (404, "not_found")


async def test_path_of_the_table_can_be_narrowed_by_declaring_it() -> None:
    async with stage(paths={"far": ["/v1/rerank"]}) as here:
        assert (await here.ask(post(path="/v1/rerank")))["x-tradewind-cluster"] == "far"
        assert (await here.ask(post(path="/v1/score")))["x-tradewind-cluster"] == "near"


async def test_declared_path_is_not_found_for_a_model_that_others_serve() -> None:
    async with stage(paths={"far": [FOO]}) as here:
        answer = await here.ask(post(path=FOO, headers=[("x-tradewind-regions", "us-central1,us-east4")]))
        assert (answer.status, answer.code) == (503, "no_cluster")  # The region is the client's wish.
        answer = await here.ask(post({"model": "none"}, FOO))
        assert (answer.status, answer.code) == (404, "model_not_found")


# Anthropic's shape.


@pytest.mark.parametrize("plain", [False, True], ids=["edge", "asgi"])
@pytest.mark.parametrize(
    ("request_bytes", "status", "kind"),
    [
        pytest.param(post(b'{"model":', MESSAGES), 400, "invalid_request_error", id="bad JSON"),
        pytest.param(post(b'{"model":"x"}', MESSAGES), 404, "not_found_error", id="unknown model"),
        pytest.param(post({"model": "x"}, f"{MESSAGES}/count_tokens"), 404, "not_found_error", id="count_tokens"),
        pytest.param(post(path=MESSAGES, headers=[("Host", "b")]), 400, "invalid_request_error", id="two hosts"),
        pytest.param(get(MESSAGES, [("x-request-id", "mine")]), 405, "invalid_request_error", id="405"),
        pytest.param(get(f"{MESSAGES}/batches", [("x-request-id", "mine")]), 404, "not_found_error", id="404"),
    ],
)
async def test_messages_are_refused_in_anthropic_shape(
    request_bytes: bytes, status: int, kind: str, plain: bool
) -> None:
    async with stage(plain=plain) as here:
        answer = await here.ask(request_bytes)
        assert (answer.status, answer.anthropic_type) == (status, kind)
        assert answer["request-id"] == answer["x-request-id"]


@pytest.mark.parametrize("plain", [False, True], ids=["edge", "asgi"])
async def test_messages_that_fail_everywhere_are_told_in_anthropic_shape(plain: bool) -> None:
    async with stage(plain=plain) as here:
        for cluster in here.clusters.values():
            cluster.plays(answers(b"x", 429, {"retry-after": "3"}))
        answer = await here.ask(post(path=MESSAGES))
        assert (answer.status, answer.anthropic_type, answer["retry-after"]) == (429, "rate_limit_error", "3")


@pytest.mark.parametrize("plain", [False, True], ids=["edge", "asgi"])
async def test_broken_message_stream_ends_with_an_error_event(plain: bool) -> None:
    start = named("message_start", message={})
    async with stage(plain=plain) as here:
        here.near.plays(then_resets(STREAM_HEAD + chunk(start)))
        answer = await here.ask(post(path=MESSAGES, stream=True))
        first, last = answer.events
        assert first + b"\n\n" == start
        name, data = last.split(b"\n")
        assert name == b"event: error"
        told = json.loads(data.removeprefix(b"data: "))
        assert (told["type"], told["error"]["type"]) == ("error", "api_error")
        assert told["request_id"] == answer["x-request-id"]


@pytest.mark.parametrize("plain", [False, True], ids=["edge", "asgi"])
async def test_broken_responses_stream_ends_with_its_own_error_event(plain: bool) -> None:
    events = [named("response.created", sequence_number=0), named("response.in_progress", sequence_number=1)]
    async with stage(plain=plain) as here:
        here.near.plays(then_resets(STREAM_HEAD + b"".join(map(chunk, events))))
        answer = await here.ask(post(path=RESPONSES, stream=True))
        name, data = answer.events[-1].split(b"\n")
        assert name == b"event: error"
        told = json.loads(data.removeprefix(b"data: "))
        assert (told["type"], told["code"], told["sequence_number"]) == ("error", "stream_broken", 2)
        assert told["error"]["code"] == "stream_broken"


@pytest.mark.parametrize(
    ("path", "last"),
    [
        (MESSAGES, named("message_stop")),
        (RESPONSES, named("response.completed", response={})),
        (RESPONSES, named("response.incomplete", response={})),
    ],
)
async def test_stream_without_a_length_ends_well_with_its_last_event(path: str, last: bytes) -> None:
    async with stage() as here:
        first = named("some", text="x")
        unframed = head(200, {"content-type": "text/event-stream"})
        here.near.plays(then_closes(unframed + first, last), then_closes(unframed + first))
        answer = await here.ask(post(path=path, stream=True))
        assert (answer.body, answer.complete) == (first + last, True)
        answer = await here.ask(post(path=path, stream=True))
        assert b"event: error" in answer.events[-1]


async def test_the_page_lists_every_path() -> None:
    async with stage(paths={"far": [FOO]}) as here:
        answer: Answer = await here.ask(get("/openapi.json"))
        listed = {path for path, methods in answer.json["paths"].items() if "post" in methods}
        assert listed == {*TABLE, FOO}
        for path in listed:
            [media] = answer.json["paths"][path]["post"]["requestBody"]["content"]
            form = TABLE[path].form if path in TABLE else Form.JSON
            assert media == {Form.JSON: "application/json", Form.MULTIPART: "multipart/form-data"}[form]


def test_dialects_are_all_in_use() -> None:
    assert {route.dialect for route in TABLE.values()} == set(Dialect)
