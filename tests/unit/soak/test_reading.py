"""What is wrong with an answer is seen and said."""

import json
from dataclasses import replace
from typing import Any

import pytest

from tests.soak.ask import Ask, Kind
from tests.soak.reading import mistake, read_answer, told

STREAM = Ask(Kind.CHAT_STREAM, "/v1/chat/completions", b"", stream=True, text="one two", tokens=2)
PLAIN = Ask(Kind.CHAT, "/v1/chat/completions", b"", text="one", tokens=1)


def chunk(text: str, **more: Any) -> dict[str, Any]:
    choice = {"delta": {"content": text} | more.pop("delta", {}), "finish_reason": more.pop("finish_reason", None)}
    return {"id": more.pop("id", "a"), "choices": [choice]} | more


def stream(*events: Any) -> bytes:
    return b"".join(b"data: %s\n\n" % (one if isinstance(one, bytes) else json.dumps(one).encode()) for one in events)


FIRST = chunk("one", delta={"role": "assistant"})
LAST = chunk(" two", finish_reason="length", usage={"completion_tokens": 2})


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (stream(FIRST, LAST, b"[DONE]"), ""),
        (b": waiting\n\n" + stream(FIRST, LAST, b"[DONE]"), ""),
        (stream(FIRST, LAST), "ended without its end"),
        (stream(FIRST, {"error": {"code": "stream_broken", "message": "it broke"}}), "stream_broken: it broke"),
        (stream(FIRST, FIRST, LAST, b"[DONE]"), "wrong shape: ids, roles, ends: (1, 2, 1) instead of (1, 1, 1)"),
        (stream(FIRST, LAST | {"id": "b"}, b"[DONE]"), "wrong shape: ids, roles, ends: (2, 1, 1) instead of (1, 1, 1)"),
        (
            stream(FIRST, chunk(" too", finish_reason="stop"), b"[DONE]"),
            "wrong text from character 5 of 7 on: 'oo'",
        ),
        (
            stream(FIRST, LAST | {"usage": {"completion_tokens": 3}}, b"[DONE]"),
            "wrong count: 3 tokens told instead of 2",
        ),
    ],
)
def test_stream(body: bytes, expected: str) -> None:
    assert mistake(STREAM, 200, read_answer(STREAM, 200, body)) == expected


def test_what_came_of_half_a_stream_is_read() -> None:
    said = read_answer(STREAM, 200, stream(FIRST) + b'data: {"id": "a", "cho')
    assert (said.text, said.whole) == ("one", False)


def test_text_that_is_too_long_is_wrong() -> None:
    body = json.dumps({"choices": [{"message": {"content": "one more"}}], "usage": {"completion_tokens": 1}}).encode()
    assert mistake(PLAIN, 200, read_answer(PLAIN, 200, body)) == "wrong text from character 3 of 3 on: ' more'"


def test_error_is_as_expected_or_not() -> None:
    body = b'{"error": {"code": "bad_body", "type": "t", "message": "not JSON"}}'
    bad = replace(PLAIN, kind=Kind.BAD, text=None, status=400)
    assert mistake(bad, 400, read_answer(bad, 400, body)) == ""
    assert mistake(bad, 502, read_answer(bad, 502, body)) == "502 instead of 400; bad_body: not JSON"
    assert mistake(PLAIN, 400, read_answer(PLAIN, 400, body)) == "400 instead of 200; bad_body: not JSON"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"type": "error", "error": {"type": "api_error", "message": "broke"}}', "api_error: broke"),
        (b'{"error": "no"}', '{"error": "no"}'),
        (b"Bad Gateway", "Bad Gateway"),
    ],
)
def test_errors_of_any_shape_are_told(body: bytes, expected: str) -> None:
    assert told(body) == expected
