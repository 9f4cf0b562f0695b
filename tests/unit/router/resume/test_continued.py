"""The requests that go on with a broken stream."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.features import ASSISTANT_PREFILL, CONTINUE_FINAL_MESSAGE, with_derived
from router.resume.continued import continued, count_request, counted, wanted
from router.resume.delivered import Delivered
from router.resume.eligible import CHAT_PATH, COMPLETION_PATH

VLLM = with_derived([CONTINUE_FINAL_MESSAGE])
LLAMA_CPP = with_derived([ASSISTANT_PREFILL])
USER = {"role": "user", "content": "Whither?"}


def body(**fields: Any) -> bytes:
    return json.dumps({"model": "m", "stream": True} | fields).encode()


def go_on(path: str, has: Delivered, tokens: int | None, features: frozenset[str] = VLLM, **fields: Any) -> Any:
    said = {"messages": [USER]} if path == CHAT_PATH else {"prompt": "Whither?"}
    return json.loads(continued(path, body(**said, **fields), has, tokens, features))


def test_a_message_is_continued_as_vllm_and_sglang_want_it() -> None:
    assert go_on(CHAT_PATH, Delivered(text="To the "), None) == {
        "model": "m",
        "stream": True,
        "messages": [USER, {"role": "assistant", "content": "To the "}],
        "continue_final_message": True,
        "add_generation_prompt": False,
    }


def test_a_message_is_continued_as_llama_cpp_wants_it() -> None:
    assert go_on(CHAT_PATH, Delivered(text="To the "), None, LLAMA_CPP) == {
        "model": "m",
        "stream": True,
        "messages": [USER, {"role": "assistant", "content": "To the "}],
    }


def test_a_completion_is_continued_by_a_longer_prompt() -> None:
    asked = go_on(COMPLETION_PATH, Delivered(text=" To the "), 3, max_tokens=10)
    assert asked == {"model": "m", "stream": True, "prompt": "Whither? To the ", "max_tokens": 7}


def test_what_the_client_said_itself_of_continuing_is_overruled() -> None:
    asked = go_on(CHAT_PATH, Delivered(text="a"), None, continue_final_message=False, add_generation_prompt=True)
    assert (asked["continue_final_message"], asked["add_generation_prompt"]) == (True, False)


@given(st.text(min_size=1))
def test_every_character_of_the_text_arrives(text: str) -> None:
    assert go_on(CHAT_PATH, Delivered(text=text), None)["messages"][-1]["content"] == text
    assert go_on(COMPLETION_PATH, Delivered(text=text), None)["prompt"] == "Whither?" + text


@pytest.mark.parametrize(
    ("limits", "tokens", "expected"),
    [
        pytest.param({"max_tokens": 10}, 4, {"max_tokens": 6}, id="one name"),
        pytest.param({"max_completion_tokens": 10}, 4, {"max_completion_tokens": 6}, id="the other"),
        pytest.param(
            {"max_tokens": 10, "max_completion_tokens": 8},
            4,
            {"max_tokens": 6, "max_completion_tokens": 4},
            id="both",
        ),
        pytest.param({"max_tokens": None}, 4, {"max_tokens": None}, id="no limit"),
        pytest.param({"max_tokens": 10}, 10, {"max_tokens": 1}, id="at least one"),
        pytest.param({"max_tokens": 10}, 99, {"max_tokens": 1}, id="at least one, however many came"),
        pytest.param({"max_tokens": 10}, None, {"max_tokens": 10}, id="not counted"),
    ],
)
def test_limits_are_reduced_by_what_was_delivered(limits: Any, tokens: int | None, expected: Any) -> None:
    asked = go_on(CHAT_PATH, Delivered(text="a b"), tokens, **limits)
    assert {name: asked[name] for name in asked if name.startswith("max_")} == expected


def test_of_a_text_that_had_ended_only_the_counts_are_asked_for() -> None:
    has = Delivered(text="a b", finish_reason="stop")
    asked = go_on(CHAT_PATH, has, 2, max_completion_tokens=100, max_tokens=90)
    assert asked["max_tokens"] == 1
    assert "max_completion_tokens" not in asked


def test_where_nothing_was_delivered_the_request_is_the_clients_own() -> None:
    said = b'{ "model":"m",  "messages":[ {"role":"user","content":"a"} ], "x": 1.0e3 }'
    assert continued(CHAT_PATH, said, Delivered(role=True), None, VLLM) is said


def test_all_other_fields_keep_their_bytes() -> None:
    odd = b'{"a" : [1.0e3,\t1E400, 123456789012345678901234567890],"caf\\u00e9":"\\u00e9"}'
    message = b'{"content" : "\\u0041\\/", "role":"user", "name":"\xc3\xa9"}'
    said = b'{"x_new": %s, "model":"m","messages":[ %s ],"logit_bias":{ "5" : -1.50 }}' % (odd, message)
    asked = continued(CHAT_PATH, said, Delivered(text="a"), None, VLLM)
    for part in (odd, message, b'{ "5" : -1.50 }'):
        assert part in asked


@pytest.mark.parametrize(
    ("fields", "tokens_max", "usage"),
    [
        pytest.param({}, None, False, id="nothing"),
        pytest.param({"max_tokens": 5}, 5, False, id="limit"),
        pytest.param({"max_tokens": 5, "max_completion_tokens": 7}, 7, False, id="both: the newer"),
        pytest.param({"stream_options": {"include_usage": True}}, None, True, id="counts"),
        pytest.param({"stream_options": {"include_usage": False}}, None, False, id="no counts"),
        pytest.param({"stream_options": None}, None, False, id="null"),
    ],
)
def test_what_of_a_request_matters(fields: Any, tokens_max: int | None, usage: bool) -> None:
    found = wanted(body(**fields))
    assert (found.model, found.tokens_max, found.usage) == ("m", tokens_max, usage)


def test_a_limit_of_another_form_is_refused() -> None:
    with pytest.raises(msgspec.DecodeError):
        wanted(body(max_tokens="many"))


@given(st.text())
def test_a_count_is_asked_for_under_both_names(text: str) -> None:
    asked = json.loads(count_request("m", text))
    assert asked == {"model": "m", "prompt": text, "content": text, "add_special_tokens": False}


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        pytest.param(b'{"count":3,"max_model_len":9,"tokens":[1,2,3]}', 3, id="vLLM"),
        pytest.param(b'{"tokens":[1,2]}', 2, id="llama.cpp"),
        pytest.param(b'{"tokens":[{"id":1,"piece":"a"}]}', 1, id="llama.cpp with pieces"),
        pytest.param(b'{"count":0}', 0, id="none"),
        pytest.param(b"{}", None, id="says nothing"),
        pytest.param(b'{"count":"many"}', None, id="another form"),
        pytest.param(b"", None, id="empty"),
        pytest.param(b"<html>", None, id="no JSON"),
        pytest.param(b'{"tokens":[', None, id="torn"),
        pytest.param(b'{"count":\xff}', None, id="invalid"),
    ],
)
def test_a_count_is_read_of_whatever_server(answer: bytes, expected: int | None) -> None:
    assert counted(answer) == expected
