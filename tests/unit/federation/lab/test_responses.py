"""The Responses API as the emulated model server speaks it, and what it keeps."""

import json
from typing import Any

import msgspec
import pytest

from federation.lab.request import BadRequest, Message
from federation.lab.responses import ResponsesFrames, ResponsesRequest, ResponseStore, Stored

USED = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7, "prompt_tokens_details": {"cached_tokens": 0}}


def request(**fields: object) -> ResponsesRequest:
    return msgspec.convert({"input": "Hi"} | fields, ResponsesRequest)


def frames(asked: ResponsesRequest, store: ResponseStore | None, call_id: str = "resp_1") -> ResponsesFrames:
    said = asked.said(store or ResponseStore())
    return ResponsesFrames(asked, call_id, 1, "m", said, store)


def events(data: bytes) -> list[dict[str, Any]]:
    found = []
    for event in data.split(b"\n\n")[:-1]:
        name, line = event.split(b"\n")
        fields = json.loads(line.removeprefix(b"data: "))
        assert name == b"event: " + fields["type"].encode()
        found.append(fields)
    return found


def test_answer_is_kept_and_the_next_call_goes_on_from_it() -> None:
    store = ResponseStore()
    body = frames(request(), store).whole([("Ho", "stop", None)], USED)
    assert store.get("resp_1").body == body
    following = request(previous_response_id="resp_1", input=[{"role": "user", "content": "And?"}])
    said = following.said(store)
    assert following.rendered(said) == "<user>Hi\n<assistant>Ho\n<user>And?\n<assistant>"


def test_instructions_are_for_one_answer_only() -> None:
    store = ResponseStore()
    first = request(instructions="Be brief.")
    assert first.rendered(first.said(store)).startswith("<system>Be brief.\n<user>Hi")
    frames(first, store).whole([("Ho", "stop", None)], USED)
    following = request(previous_response_id="resp_1")
    assert "brief" not in following.rendered(following.said(store))


def test_unknown_answer_is_not_found() -> None:
    with pytest.raises(BadRequest, match="'resp_9' not found") as caught:
        request(previous_response_id="resp_9").said(ResponseStore())
    assert (caught.value.status, caught.value.param) == (404, "previous_response_id")


def test_store_keeps_the_latest_and_forgets_what_is_deleted() -> None:
    store = ResponseStore(2)
    for name in "abc":
        store.put(name, Stored(name.encode(), (Message("user", name),)))
    with pytest.raises(BadRequest):
        store.get("a")
    assert store.get("c").body == b"c"
    assert json.loads(store.delete("c")) == {"id": "c", "object": "response", "deleted": True}
    with pytest.raises(BadRequest):
        store.delete("c")


@pytest.mark.parametrize(("finish", "status"), [("stop", "completed"), ("length", "incomplete")])
def test_stream_tells_the_same_as_the_whole_answer(finish: str, status: str) -> None:
    choice = ("ab", finish, None)
    store = ResponseStore()
    streamed = frames(request(), store)
    told = events(
        streamed.opening(0)
        + streamed.writer(0)("a")
        + streamed.last_event(0, "b", finish, None, None)
        + streamed.tail([choice], USED)
    )
    assert [fields["sequence_number"] for fields in told] == list(range(len(told)))
    assert told[0]["type"] == "response.created"
    assert "".join(fields["delta"] for fields in told if fields["type"] == "response.output_text.delta") == "ab"
    assert told[-1]["type"] == f"response.{status}"
    whole = json.loads(frames(request(), None).whole([choice], USED))
    assert told[-1]["response"] == whole | {"store": True}
    assert whole["status"] == status
    assert whole["output"][0]["content"][0]["text"] == "ab"
    assert json.loads(store.get("resp_1").body) == told[-1]["response"]
