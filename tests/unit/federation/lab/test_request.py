"""Reading requests: what is understood, and what is refused with which words."""

import pytest

from federation.lab.request import (
    BadRequest,
    ChatRequest,
    CompletionRequest,
    EmbeddingRequest,
    TokenizeRequest,
    read,
    texts_of,
)

USER = '{"role": "user", "content": "hi"}'


def chat(fields: str) -> ChatRequest:
    return read(f'{{"messages": [{USER}]{fields}}}'.encode(), ChatRequest)


def test_unknown_fields_are_accepted_and_nulls_mean_the_default() -> None:
    request = chat(', "temperature": 0.3, "tools": [], "n": null, "stop": null, "seed": null, "max_tokens": null')
    assert request.choices() == 1
    assert request.stop_strings() == ()
    assert request.token_limit() is None


def test_max_completion_tokens_is_max_tokens_newer_name() -> None:
    assert chat(', "max_tokens": 5, "max_completion_tokens": 7').token_limit() == 7
    assert chat(', "max_tokens": 5').token_limit() == 5


def test_stop_may_be_one_string_or_several() -> None:
    assert chat(', "stop": "a"').stop_strings() == ("a",)
    assert chat(', "stop": ["a", "", "b"]').stop_strings() == ("a", "b")


@pytest.mark.parametrize(
    ("fields", "check", "param"),
    [
        pytest.param(', "n": 0', ChatRequest.choices, "n", id="no choices"),
        pytest.param(', "n": 1000', ChatRequest.choices, "n", id="too many choices"),
        pytest.param(', "max_tokens": 0', ChatRequest.token_limit, "max_tokens", id="no tokens"),
        pytest.param(f', "stop": {["x"] * 17}'.replace("'", '"'), ChatRequest.stop_strings, "stop", id="many stops"),
        pytest.param(', "stream_options": {}', ChatRequest.check_stream_options, "stream_options", id="not a stream"),
    ],
)
def test_what_cannot_be_is_refused_by_name(fields, check, param) -> None:
    with pytest.raises(BadRequest) as refused:
        check(chat(fields))
    assert (refused.value.status, refused.value.param) == (400, param)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"messages": 1}', b'{"prompt": "\xff"}', b"[" * 100_000])
def test_what_is_no_request_is_a_400(body) -> None:
    with pytest.raises(BadRequest):
        read(body, ChatRequest)


def test_a_conversation_is_rendered_up_to_where_the_assistant_speaks() -> None:
    parts = '[{"type": "text", "text": "look: "}, {"type": "image_url", "image_url": {"url": "x"}}]'
    body = f'{{"messages": [{{"role": "system", "content": null}}, {{"role": "user", "content": {parts}}}]}}'
    request = read(body.encode(), ChatRequest)
    assert request.conversation() == ("<system>\n<user>look: <image_url>\n<assistant>", "")
    request.add_generation_prompt = False
    assert request.conversation() == ("<system>\n<user>look: <image_url>\n", "")


def test_a_final_message_is_continued_where_it_breaks_off() -> None:
    partial = '{"role": "assistant", "content": "so far"}'
    fields = '"continue_final_message": true, "add_generation_prompt": false'
    request = read(f'{{"messages": [{USER}, {partial}], {fields}}}'.encode(), ChatRequest)
    assert request.conversation() == ("<user>hi\n<assistant>", "so far")
    request.add_generation_prompt = True
    with pytest.raises(BadRequest, match="Cannot set both"):
        request.conversation()
    with pytest.raises(BadRequest, match="final message"):
        chat(f", {fields}").conversation()
    with pytest.raises(BadRequest, match="at least one"):
        read(b'{"messages": []}', ChatRequest).conversation()


def test_a_prompt_has_four_forms() -> None:
    assert read(b'{"prompt": "a"}', CompletionRequest).prompts() == ["a"]
    assert read(b'{"prompt": ["a", "b"]}', CompletionRequest).prompts() == ["a", "b"]
    assert read(b'{"input": [1, 2]}', EmbeddingRequest).inputs() == [" 1 2"]
    assert texts_of([[1], [2, 3]], "prompt") == [" 1", " 2 3"]


@pytest.mark.parametrize("value", [[], ["a", 1], [[]], [["a"]], [True, "x"], ["x"] * 3_000])
def test_other_forms_of_a_prompt_are_refused(value) -> None:
    with pytest.raises(BadRequest, match="prompt must"):
        texts_of(value, "prompt")


def test_a_prompt_or_a_conversation_is_tokenized() -> None:
    assert TokenizeRequest(prompt="a b").pieces() == ["a", " b"]
    body = f'{{"messages": [{USER}], "add_generation_prompt": false}}'.encode()
    assert "".join(read(body, TokenizeRequest).pieces()) == "<user>hi\n"
    with pytest.raises(BadRequest, match="prompt and messages"):
        TokenizeRequest().pieces()
