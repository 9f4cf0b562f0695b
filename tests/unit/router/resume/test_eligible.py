"""Which requests can be gone on with elsewhere; whatever is not known is an obstacle."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.resume.eligible import CHAT_PATH, COMPLETION_PATH, UNKNOWN, obstacle, stops

USER = {"role": "user", "content": "Whither?"}


def chat(**fields: Any) -> str | None:
    return obstacle(CHAT_PATH, json.dumps({"model": "m", "stream": True, "messages": [USER]} | fields).encode())


def completion(**fields: Any) -> str | None:
    said = {"model": "m", "stream": True, "prompt": "Whither?", "max_tokens": 9} | fields
    return obstacle(COMPLETION_PATH, json.dumps(said).encode())


def test_a_plain_request_can_be_gone_on_with() -> None:
    assert chat() is None
    assert completion() is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        pytest.param("tools", [{"type": "function"}], id="tools"),
        pytest.param("tool_choice", "auto", id="tool choice"),
        pytest.param("functions", [{"name": "f"}], id="functions"),
        pytest.param("function_call", "auto", id="function call"),
        pytest.param("logprobs", True, id="logprobs"),
        pytest.param("logprobs", 0, id="logprobs of the chosen"),
        pytest.param("logprobs", 1, id="logprobs of some"),
        pytest.param("prompt_logprobs", 0, id="logprobs of the prompt"),
        pytest.param("top_logprobs", 5, id="top logprobs"),
        pytest.param("n", 2, id="several answers"),
        pytest.param("best_of", 3, id="the best of several"),
        pytest.param("response_format", {"type": "json_object"}, id="JSON"),
        pytest.param("response_format", {"type": "json_schema", "json_schema": {}}, id="a schema"),
        pytest.param("frequency_penalty", 0.5, id="frequency penalty"),
        pytest.param("presence_penalty", -0.5, id="presence penalty"),
        pytest.param("repetition_penalty", 1.1, id="repetition penalty"),
        pytest.param("seed", 7, id="seed"),
        pytest.param("min_tokens", 5, id="least tokens"),
        pytest.param("reasoning_effort", "high", id="reasoning effort"),
        pytest.param("include_reasoning", True, id="reasoning output"),
        pytest.param("chat_template_kwargs", {"enable_thinking": True}, id="thinking on"),
        pytest.param("chat_template_kwargs", {"documents": []}, id="words for a template"),
        pytest.param("continue_final_message", True, id="the client continues"),
        pytest.param("add_generation_prompt", False, id="no generation prompt"),
        pytest.param("echo", True, id="echo"),
        pytest.param("suffix", "end", id="suffix"),
        pytest.param("use_beam_search", True, id="beams"),
        pytest.param("return_token_ids", True, id="token ids"),
        pytest.param("modalities", ["text", "audio"], id="sound"),
    ],
)
def test_what_makes_the_rest_depend_on_more_than_the_text_is_an_obstacle(name: str, value: Any) -> None:
    assert chat(**{name: value}) == name
    assert completion(**{name: value}) == name


@pytest.mark.parametrize("name", ["guided_json", "structured_outputs", "stop_token_ids", "logit_processors", "x" * 999])
def test_a_field_that_is_not_known_is_an_obstacle_and_its_name_is_not_told(name: str) -> None:
    assert chat(**{name: 1}) == UNKNOWN
    assert chat(**{name: None}) is None, "null asks for nothing"


@given(st.text(min_size=1), st.integers(1) | st.just("x"))
def test_an_obstacle_is_one_of_a_few_words(name: str, value: int | str) -> None:
    told = chat(**{name: value})
    assert told is None or len(told) < 30


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n", 1),
        ("tools", []),
        ("tools", None),
        ("tool_choice", "none"),
        ("logprobs", False),
        ("logprobs", None),
        ("top_logprobs", 0),
        ("frequency_penalty", 0),
        ("frequency_penalty", 0.0),
        ("repetition_penalty", 1.0),
        ("min_tokens", 0),
        ("response_format", {"type": "text"}),
        ("reasoning_effort", "none"),
        ("chat_template_kwargs", {"enable_thinking": False}),
        ("continue_final_message", False),
        ("add_generation_prompt", True),
        ("modalities", ["text"]),
        ("seed", None),
        ("temperature", 0.7),
        ("top_p", 0.9),
        ("logit_bias", {"5": -100}),
        ("stop", ["\n"]),
        ("max_completion_tokens", 20),
        ("stream_options", {"include_usage": True}),
        ("user", "u"),
        ("metadata", {"a": "b"}),
        ("ignore_eos", True),
    ],
)
def test_values_that_ask_for_nothing_are_harmless(name: str, value: Any) -> None:
    assert chat(**{name: value}) is None


def test_a_seed_is_harmless_where_nothing_is_drawn() -> None:
    assert chat(seed=7, temperature=0) is None
    assert chat(seed=7, temperature=0.0) is None
    assert chat(seed=7, temperature=0.1) == "seed"


def test_escaped_spellings_are_the_same_field() -> None:
    body = b'{"model":"m","messages":[{"role":"user","content":"a"}],"\\u006e":2}'
    assert obstacle(CHAT_PATH, body) == "n"


@pytest.mark.parametrize(
    "messages",
    [
        pytest.param([USER, {"role": "assistant", "content": "So"}], id="the client has a message continued"),
        pytest.param([], id="none"),
    ],
)
def test_messages_that_end_with_the_assistants_are_an_obstacle(messages: list[Any]) -> None:
    assert chat(messages=messages) == "messages"


def test_earlier_messages_of_the_assistant_are_none() -> None:
    assert chat(messages=[USER, {"role": "assistant", "content": "So"}, USER]) is None


@pytest.mark.parametrize(
    "prompt", [["a"], ["a", "b"], [1, 2], [[1, 2]], None], ids=["list", "texts", "ids", "lists of ids", "null"]
)
def test_a_prompt_that_is_no_single_text_is_an_obstacle(prompt: Any) -> None:
    assert completion(prompt=prompt) == "prompt"


def test_a_completion_without_a_limit_has_the_servers_own_which_would_count_anew() -> None:
    body = b'{"model":"m","prompt":"a"}'
    assert obstacle(COMPLETION_PATH, body) == "max_tokens"
    assert completion(max_tokens=None) is None


@pytest.mark.parametrize("path", ["/v1/responses", "/v1/messages", "/v1/embeddings", "/v1/chat/completions/x", ""])
def test_other_apis_are_an_obstacle(path: str) -> None:
    assert obstacle(path, b"{}") == "path"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        b'{"messages":[{"content":"no role"}]}',
        b'{"messages":"x"}',
        b'{"tools":' + b"[" * 5000,
        b'{"user":"\xff","messages":[{"role":"\xff"}]}',
    ],
    ids=["empty", "list", "torn", "no role", "no messages", "deep", "invalid UTF-8"],
)
def test_a_body_that_cannot_be_read_is_an_obstacle(body: bytes) -> None:
    assert obstacle(CHAT_PATH, body) == "body"


@pytest.mark.parametrize(
    ("stop", "expected"),
    [(None, False), ("", False), ([], False), ("\n", True), (["a", "b"], True)],
)
def test_stop_strings_are_seen(stop: Any, expected: bool) -> None:
    assert stops(json.dumps({"stop": stop}).encode()) is expected
    assert not stops(b"{}")
