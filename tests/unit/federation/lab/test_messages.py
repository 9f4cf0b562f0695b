"""Anthropic's messages as the emulated model server speaks them."""

import json
from typing import Any

import msgspec
import pytest

from federation.lab.messages import MessagesFrames, MessagesRequest, messages_error
from federation.lab.request import BadRequest

USED = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}


def request(**fields: object) -> MessagesRequest:
    asked = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 3} | fields
    return msgspec.convert(asked, MessagesRequest)


def events(data: bytes) -> list[tuple[str, dict[str, Any]]]:
    found = []
    for event in data.split(b"\n\n")[:-1]:
        name, line = event.split(b"\n")
        found.append((name.removeprefix(b"event: ").decode(), json.loads(line.removeprefix(b"data: "))))
    assert all(name == fields["type"] for name, fields in found)
    return found


def test_system_and_content_parts_are_part_of_the_conversation() -> None:
    parts = [{"type": "text", "text": "Hi"}]
    asked = request(system="Be brief.", messages=[{"role": "user", "content": parts}])
    assert asked.conversation() == ("<system>Be brief.\n<user>Hi\n<assistant>", "")
    assert asked.tokens() > request().tokens()


def test_last_message_of_the_assistant_is_continued() -> None:
    asked = request(messages=[{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "We"}])
    assert asked.conversation() == ("<user>Hi\n<assistant>", "We")


def test_limits_are_those_of_every_path() -> None:
    generation = request(stop_sequences=["x"], stream=True).generation()
    assert (generation.token_limit(), generation.stop_strings(), generation.stream) == (3, ("x",), True)
    with pytest.raises(BadRequest, match="max_tokens"):
        request(max_tokens=0).generation()


@pytest.mark.parametrize(
    ("finish", "stop", "told"),
    [("stop", None, ("end_turn", None)), ("length", None, ("max_tokens", None)), ("stop", "x", ("stop_sequence", "x"))],
)
def test_whole_and_streamed_answers_say_the_same(finish: str, stop: str | None, told: tuple[str, str | None]) -> None:
    frames = MessagesFrames("msg_1", "m", 5)
    choice = ("ab", finish, stop)
    whole = json.loads(frames.whole([choice], USED))
    assert (whole["content"], whole["usage"]) == (
        [{"type": "text", "text": "ab"}],
        {"input_tokens": 5, "output_tokens": 2},
    )
    assert (whole["stop_reason"], whole["stop_sequence"]) == told
    stream = events(
        frames.opening(0)
        + frames.writer(0)("a")
        + frames.last_event(0, "b", finish, stop, None)
        + frames.tail([choice], USED)
    )
    assert [name for name, _ in stream] == [
        "message_start",
        "content_block_start",
        "ping",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert "".join(fields["delta"]["text"] for name, fields in stream if name == "content_block_delta") == "ab"
    assert stream[0][1]["message"]["id"] == whole["id"] == "msg_1"
    delta = stream[-2][1]
    assert (delta["delta"]["stop_reason"], delta["usage"]["output_tokens"]) == (told[0], 2)


def test_end_without_text_brings_no_empty_delta() -> None:
    assert [name for name, _ in events(MessagesFrames("i", "m", 1).last_event(0, "", "stop", None, None))] == [
        "content_block_stop"
    ]


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, "invalid_request_error"), (404, "not_found_error"), (429, "rate_limit_error"), (500, "api_error")],
)
def test_errors_are_anthropics(status: int, kind: str) -> None:
    assert json.loads(messages_error(status, "x")) == {"type": "error", "error": {"type": kind, "message": "x"}}
