"""The JSON of answers."""

import json

import pytest

from federation.lab.frames import Head, error_body, text_json, usage, with_usage


def event(raw: bytes) -> dict:
    assert raw.startswith(b"data: ")
    assert raw.endswith(b"\n\n")
    return json.loads(raw[6:])


@pytest.mark.parametrize(
    ("chat", "kind", "said"),
    [(True, "chat.completion.chunk", {"delta": {"content": 'é"\n'}}), (False, "text_completion", {"text": 'é"\n'})],
)
def test_a_token_is_framed_by_two_constants(chat, kind, said) -> None:
    head = Head(chat, 'id-""', 12, 'm""')
    before, after = head.token_frame(3)
    framed = event(before + text_json('é"\n') + after)
    assert framed == {
        "id": 'id-""',
        "object": kind,
        "created": 12,
        "model": 'm""',
        "choices": [{"index": 3, **said, "logprobs": None, "finish_reason": None}],
    }
    used = usage(5, 2, 1)
    assert event(with_usage(before + b'"x"' + after, used))["usage"] == used


def test_usage_adds_up() -> None:
    assert usage(5, 2, 4) == {
        "prompt_tokens": 5,
        "total_tokens": 7,
        "completion_tokens": 2,
        "prompt_tokens_details": {"cached_tokens": 4},
    }


def test_a_whole_answer_has_all_its_choices() -> None:
    choices = [("one", "stop", "x"), ("two", "length", None)]
    body = json.loads(Head(True, "id", 1, "m").whole(choices, usage(1, 2, 0)))
    assert body["object"] == "chat.completion"
    assert [choice["message"]["content"] for choice in body["choices"]] == ["one", "two"]
    assert [choice["stop_reason"] for choice in body["choices"]] == ["x", None]
    assert json.loads(Head(False, "id", 1, "m").whole(choices, {}))["choices"][1]["text"] == "two"


def test_the_first_event_of_a_chat_names_the_role() -> None:
    first = event(Head(True, "id", 1, "m").role_event(1))
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}


def test_the_last_event_says_why() -> None:
    last = event(Head(False, "id", 1, "m").last_event(0, "", "stop", "END", None))
    assert last["choices"][0]["finish_reason"] == "stop"
    assert last["choices"][0]["stop_reason"] == "END"
    assert "usage" not in last


def test_an_error_has_openais_shape() -> None:
    assert json.loads(error_body(404, "no such model", "model"))["error"] == {
        "message": "no such model",
        "type": "NotFoundError",
        "param": "model",
        "code": 404,
    }
    assert json.loads(error_body(500, "x"))["error"]["type"] == "InternalServerError"
