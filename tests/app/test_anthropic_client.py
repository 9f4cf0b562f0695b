"""A client written for Anthropic's messages works unchanged."""

import anthropic
import pytest

from tests.app.fleet import MODEL, Fleet

QUESTION: list[anthropic.types.MessageParam] = [{"role": "user", "content": "Where do the winds blow?"}]


def client_of(fleet: Fleet) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=fleet.url, api_key="none", max_retries=0, timeout=30.0)


def test_message_is_answered(fleet: Fleet) -> None:
    answer = client_of(fleet).messages.create(model=MODEL, messages=QUESTION, max_tokens=8)
    [block] = answer.content
    assert isinstance(block, anthropic.types.TextBlock)
    assert block.text
    assert (answer.role, answer.stop_reason, answer.usage.output_tokens) == ("assistant", "max_tokens", 8)


def test_stream_gives_the_same_message(fleet: Fleet) -> None:
    client = client_of(fleet)
    plain = client.messages.create(model=MODEL, messages=QUESTION, max_tokens=400, system="Be brief.")
    with client.messages.stream(model=MODEL, messages=QUESTION, max_tokens=400, system="Be brief.") as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    [block] = plain.content
    assert isinstance(block, anthropic.types.TextBlock)
    assert text == block.text
    assert (final.stop_reason, final.usage) == (plain.stop_reason, plain.usage)
    assert final.stop_reason == "end_turn"


def test_prefill_is_continued(fleet: Fleet) -> None:
    client = client_of(fleet)
    [whole] = client.messages.create(model=MODEL, messages=QUESTION, max_tokens=20).content
    assert isinstance(whole, anthropic.types.TextBlock)
    begun = whole.text[:15]
    prefilled: list[anthropic.types.MessageParam] = [*QUESTION, {"role": "assistant", "content": begun}]
    [rest] = client.messages.create(model=MODEL, messages=prefilled, max_tokens=20).content
    assert isinstance(rest, anthropic.types.TextBlock)
    assert (begun + rest.text).startswith(whole.text)


def test_tokens_are_counted(fleet: Fleet) -> None:
    client = client_of(fleet)
    counted = client.messages.count_tokens(model=MODEL, messages=QUESTION).input_tokens
    assert counted == client.messages.create(model=MODEL, messages=QUESTION, max_tokens=1).usage.input_tokens


def test_unknown_model_is_told_with_the_known_ones(fleet: Fleet) -> None:
    with pytest.raises(anthropic.NotFoundError, match=MODEL) as caught:
        client_of(fleet).messages.create(model="no-such-model", messages=QUESTION, max_tokens=1)
    assert caught.value.type == "not_found_error"
    assert caught.value.request_id == caught.value.response.headers["x-request-id"]


def test_refusal_of_the_model_server_comes_through(fleet: Fleet) -> None:
    with pytest.raises(anthropic.BadRequestError, match="max_tokens must be at least 1") as caught:
        client_of(fleet).messages.create(model=MODEL, messages=QUESTION, max_tokens=0)
    assert caught.value.type == "invalid_request_error"
