"""What a client has of a stream, read from the events that went out."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.resume.delivered import Delivered, Unreadable, delivered, in_mid_text, payloads, shows_reasoning

HEAD = {"id": "c-1", "object": "chat.completion.chunk", "created": 17, "model": "m"}
ENDINGS = pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"], ids=["lf", "crlf", "cr"])


def event(ending: str = "\n", **fields: Any) -> bytes:
    return f"data: {json.dumps(HEAD | fields)}{ending}{ending}".encode()


def choice(index: int = 0, finish_reason: str | None = None, **said: Any) -> dict[str, Any]:
    return {"index": index, "finish_reason": finish_reason} | said


def says(text: str | None, ending: str = "\n", **fields: Any) -> bytes:
    return event(ending, choices=[choice(delta={"content": text})], **fields)


def ends(reason: str = "stop") -> bytes:
    return event(choices=[choice(finish_reason=reason, delta={})])


ROLE = event(choices=[choice(delta={"role": "assistant", "content": ""})])
DONE = b"data: [DONE]\n\n"


@ENDINGS
def test_the_text_is_that_of_all_events_in_every_line_ending(ending: str) -> None:
    found = delivered(says("one ", ending) + says("two\r\n", ending) + says("three", ending))
    assert found.text == "one two\r\nthree"
    assert (found.role, found.finish_reason, found.done, found.says_something) == (False, None, False, True)


@given(st.lists(st.text(max_size=20), max_size=10))
def test_any_text_comes_out_as_it_went_in(parts: list[str]) -> None:
    stream = b"".join(says(part) for part in parts)
    assert delivered(stream).text == "".join(parts)
    unescaped = b"".join(
        b"data: " + json.dumps({"choices": [choice(text=part)]}, ensure_ascii=False).encode() + b"\n\n"
        for part in parts
    )
    assert delivered(unescaped).text == "".join(parts)


def test_nothing_was_delivered() -> None:
    assert delivered(b"") == Delivered()
    assert delivered(b": a comment\n\n: another\n\n") == Delivered()


def test_comments_and_other_lines_say_nothing() -> None:
    stream = b": ping\n\nevent: x\nid: 1\nretry: 10\n" + says("a") + b":data: {}\n\n" + says("b") + b": waiting\n\n"
    assert delivered(stream).text == "ab"


def test_the_head_is_that_of_the_first_event_that_has_one() -> None:
    found = delivered(b'data: {"choices":[]}\n\n' + says("a", system_fingerprint="f") + event(id="other", choices=[]))
    assert {name: json.loads(bytes(value)) for name, value in found.head.items()} == HEAD | {"system_fingerprint": "f"}


def test_role_end_and_done_are_told() -> None:
    found = delivered(ROLE + says("a") + ends("length") + DONE)
    assert (found.role, found.finish_reason, found.done, found.text) == (True, "length", True, "a")


@pytest.mark.parametrize(
    ("stream", "completion_tokens", "final"),
    [
        pytest.param(says("a"), None, False, id="none"),
        pytest.param(says("a", usage=None), None, False, id="null"),
        pytest.param(says("a", usage={"prompt_tokens": 3, "completion_tokens": 1}), 1, False, id="with the text"),
        pytest.param(says("a") + event(choices=[], usage={"completion_tokens": 2}), 2, True, id="behind the text"),
        pytest.param(
            says("a", usage={"completion_tokens": 1}) + says("b", usage={"completion_tokens": 4}), 4, False, id="last"
        ),
    ],
)
def test_usage_is_the_last_one_told(stream: bytes, completion_tokens: int | None, final: bool) -> None:
    found = delivered(stream)
    assert (found.usage.completion_tokens if found.usage is not None else None) == completion_tokens
    assert found.usage_is_final is final


@pytest.mark.parametrize(
    "stream",
    [
        pytest.param(event(choices=[choice(1, delta={"content": "a"})]), id="a second answer"),
        pytest.param(event(choices=[choice(delta={"reasoning": "hm"})]), id="reasoning"),
        pytest.param(event(choices=[choice(delta={"reasoning_content": "hm"})]), id="reasoning content"),
        pytest.param(event(choices=[choice(delta={"tool_calls": [{"index": 0}]})]), id="tool calls"),
        pytest.param(event(choices=[choice(delta={"function_call": {"name": "f"}})]), id="a function call"),
        pytest.param(event(choices=[choice(delta={"audio": {"data": "AAA"}})]), id="sound"),
        pytest.param(event(choices=[choice(delta={"refusal": "no"})]), id="a refusal"),
        pytest.param(b'data: {"error":{"message":"out of memory"}}\n\n', id="an error"),
        pytest.param(b'data: {"error":"out of memory"}\n\n', id="an error in words"),
        pytest.param(b"data: hello\n\n", id="no JSON"),
        pytest.param(b"data: [1]\n\n", id="no object"),
        pytest.param(b'data: {"choices":null}\n\n', id="no choices"),
        pytest.param(b'data: {"choices":[{"delta":{"content":["a"]}}]}\n\n', id="content in parts"),
        pytest.param(b'data: {"choices":[{"delta":{"content":"\\ud800"}}]}\n\n', id="half a character"),
        pytest.param(b'data: {"choices":[{"delta":{"content":"\xff"}}]}\n\n', id="invalid UTF-8"),
        pytest.param(b'data: {"choices":\ndata: []}\n\n', id="data in several lines"),
        pytest.param(b"data: " + b"[" * 5000 + b"\n\n", id="nested deeply"),
    ],
)
def test_what_cannot_be_gone_on_with_is_said_to_be_unreadable(stream: bytes) -> None:
    with pytest.raises(Unreadable):
        delivered(says("a") + stream)


@pytest.mark.parametrize(
    "delta",
    [
        {"reasoning": None, "reasoning_content": "", "tool_calls": [], "function_call": None, "audio": {}},
        {"refusal": None, "content": "a"},
        {"content": None},
        {"something_new": 1},
    ],
)
def test_fields_that_are_empty_or_not_known_do_no_harm(delta: dict[str, Any]) -> None:
    assert delivered(event(choices=[choice(delta=delta)])).text == (delta.get("content") or "")


def test_a_character_in_two_escapes_is_one() -> None:
    assert delivered(b'data: {"choices":[{"text":"\\ud83d\\udea2"}]}\n\n').text == "🚢"


def test_payloads_are_stripped() -> None:
    assert list(payloads(b"data:a\n\ndata:  b \n\n")) == [b"a", b"b"]


@pytest.mark.parametrize(
    ("stream", "unfinished"),
    [
        pytest.param(b"", False, id="nothing"),
        pytest.param(b": ping\n\n", False, id="a comment"),
        pytest.param(ROLE, True, id="role"),
        pytest.param(says("a"), True, id="text"),
        pytest.param(says("a text with [DONE] in it"), True, id="text that looks like an end"),
        pytest.param(event(choices=[choice(text="a")]), True, id="completion"),
        pytest.param(event(choices=[choice(delta={"tool_calls": [{"index": 0}]})]), True, id="tool call"),
        pytest.param(event(choices=[choice(1, delta={"content": "a"})]), True, id="a second answer"),
        pytest.param(says("a") + ends(), False, id="finish reason"),
        pytest.param(event(choices=[], usage={"completion_tokens": 1}), False, id="usage"),
        pytest.param(says("a") + DONE, False, id="done"),
        pytest.param(b'data: {"error":{"message":"x"}}\n\n', False, id="error"),
        pytest.param(says("a") + b'data: {"error":{"message":"x"}}\n\n', False, id="text and error"),
        pytest.param(b"data: hello\n\n", False, id="another kind of stream"),
        pytest.param(b'data: {"type":"response.created"}\n\n', False, id="events of another API"),
    ],
)
def test_a_stream_is_in_mid_text_while_a_choice_has_no_end(stream: bytes, unfinished: bool) -> None:
    assert in_mid_text(stream) is unfinished


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<think>", True),
        ("\n<think>\nLet me", True),
        ("Let me</think>So", True),
        ("a <think> tag", False),
        ("plain", False),
        ("", False),
    ],
)
def test_thinking_aloud_is_seen(text: str, expected: bool) -> None:
    assert shows_reasoning(text) is expected
