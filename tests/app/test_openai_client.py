"""A client written for OpenAI works unchanged."""

import openai
import pytest

from tests.app.fleet import MODEL, Fleet

QUESTION = [{"role": "user", "content": "Where do the winds blow?"}]


def test_chat_answers(fleet: Fleet) -> None:
    answer = fleet.openai().chat.completions.create(model=MODEL, messages=QUESTION, max_tokens=8)
    assert answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 8


def test_stream_gives_the_same_text_as_the_plain_answer(fleet: Fleet) -> None:
    client = fleet.openai()
    plain = client.chat.completions.create(model=MODEL, messages=QUESTION, max_tokens=30)
    stream = client.chat.completions.create(model=MODEL, messages=QUESTION, max_tokens=30, stream=True)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)
    assert text == plain.choices[0].message.content


def test_stream_with_usage_ends_with_the_count(fleet: Fleet) -> None:
    stream = fleet.openai().chat.completions.create(
        model=MODEL, messages=QUESTION, max_tokens=5, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 5
    assert chunks[-1].choices == []


def test_embeddings_answer(fleet: Fleet) -> None:
    answer = fleet.openai().embeddings.create(model=MODEL, input=["one", "two"])
    assert len(answer.data) == 2
    assert answer.data[0].embedding


def test_completions_answer(fleet: Fleet) -> None:
    assert fleet.openai().completions.create(model=MODEL, prompt="Once", max_tokens=4).choices[0].text


def test_models_are_the_union_over_clusters(fleet: Fleet) -> None:
    client = fleet.openai()
    assert [model.id for model in client.models.list()] == [MODEL]
    assert client.models.retrieve(MODEL).id == MODEL
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("no-such-model")


def test_unknown_model_is_told_with_the_known_ones(fleet: Fleet) -> None:
    with pytest.raises(openai.NotFoundError, match=MODEL) as caught:
        fleet.openai().chat.completions.create(model="no-such-model", messages=QUESTION)
    assert caught.value.code == "model_not_found"
    assert caught.value.response.headers["x-should-retry"] == "false"


def test_ten_megabytes_of_prompt_reach_the_model_server(fleet: Fleet) -> None:
    """The front door takes them; the model's own limit on the context answers, in its own words."""
    with pytest.raises(openai.BadRequestError, match="context length"):
        fleet.openai().chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "x" * 10_000_000}], max_tokens=1
        )


def test_a_body_beyond_the_limit_is_refused_with_its_size(fleet: Fleet) -> None:
    with pytest.raises(openai.APIStatusError, match="larger than") as caught:
        fleet.openai().chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "x" * 34_000_000}], max_tokens=1
        )
    assert caught.value.status_code == 413


def test_malformed_json_is_the_clients_error(fleet: Fleet) -> None:
    client = fleet.openai()
    with pytest.raises(openai.BadRequestError, match="could not parse") as caught:
        client.post("/chat/completions", cast_to=object, options={"headers": {}}, body=None, content=b'{"model": ')
    assert caught.value.code == "bad_body"


def test_the_answer_says_where_it_was_served_and_why(fleet: Fleet) -> None:
    raw = fleet.openai().chat.completions.with_raw_response.create(
        model=MODEL, messages=QUESTION, max_tokens=2, extra_headers={"x-request-id": "mine-1"}
    )
    assert raw.headers["x-request-id"] == "mine-1"
    assert raw.headers["x-tradewind-cluster"] == "us-central1-a"
    assert raw.headers["x-tradewind-decision"] == "nearest"
    assert raw.headers["x-tradewind-attempts"] == "1"


def test_responses_answer_whole_and_streamed(fleet: Fleet) -> None:
    client = fleet.openai()
    whole = client.responses.create(model=MODEL, input="Where do the winds blow?")
    assert whole.output_text
    assert whole.status == "completed"
    stream = client.responses.create(model=MODEL, input="Where do the winds blow?", stream=True)
    text, last = "", None
    for last in stream:
        text += last.delta if last.type == "response.output_text.delta" else ""
    assert text == whole.output_text
    assert last is not None
    assert last.type == "response.completed"
    assert last.response.usage is not None
    assert whole.usage is not None
    assert last.response.usage.output_tokens == whole.usage.output_tokens


def test_recordings_are_transcribed(fleet: Fleet) -> None:
    client = fleet.openai()
    texts = [
        client.audio.transcriptions.create(model=MODEL, file=("a.wav", content)).text
        for content in (b"RIFF\r\n" * 1_000, b"RIFF\r\n" * 1_000, b"RIFF\r\n" * 1_001)
    ]
    assert texts[0] == texts[1] != texts[2]


def test_large_recording_is_transcribed(fleet: Fleet) -> None:
    """More than any JSON body may hold."""
    content = b"0123456789abcdef" * (40 * 1024 * 1024 // 16)
    assert fleet.openai().audio.transcriptions.create(model=MODEL, file=("a.wav", content)).text


def test_documents_are_ranked_scored_and_texts_cut(fleet: Fleet) -> None:
    client = fleet.openai()
    ranked = client.post(
        "/rerank", cast_to=dict, body={"model": MODEL, "query": "sail", "documents": ["salt", "sail"], "top_n": 1}
    )
    assert ranked["results"][0]["index"] == 1
    scored = client.post("/score", cast_to=dict, body={"model": MODEL, "text_1": "sail", "text_2": ["sail", "salt"]})
    assert scored["data"][0]["score"] > scored["data"][1]["score"]
    root = client.with_options(base_url=fleet.url)
    cut = root.post("/tokenize", cast_to=dict, body={"model": MODEL, "prompt": " north wind"})
    back = root.post("/detokenize", cast_to=dict, body={"model": MODEL, "tokens": cut["tokens"][:1]})
    assert back["prompt"] == " north"


def test_response_goes_on_where_it_was_begun(fleet: Fleet) -> None:
    """Begun in a distant region, gone on with from ours: to answer here would be to answer without the beginning."""
    client = fleet.openai()
    far = {"x-tradewind-regions": "asia-northeast1"}
    begun = client.responses.with_raw_response.create(model=MODEL, input="Sail east.", extra_headers=far)
    assert begun.headers["x-tradewind-region"] == "asia-northeast1"
    first = begun.parse()
    following = client.responses.with_raw_response.create(model=MODEL, input="And then?", previous_response_id=first.id)
    assert following.headers["x-tradewind-region"] == "asia-northeast1"
    whole = client.responses.create(
        model=MODEL,
        input=[
            {"role": "user", "content": "Sail east."},
            {"role": "assistant", "content": first.output_text},
            {"role": "user", "content": "And then?"},
        ],
    )
    assert following.parse().output_text == whole.output_text


def test_response_that_nobody_keeps_is_not_found(fleet: Fleet) -> None:
    with pytest.raises(openai.NotFoundError, match="not kept by any cluster") as caught:
        fleet.openai().responses.create(model=MODEL, input="And?", previous_response_id="resp_0")
    assert caught.value.param == "previous_response_id"
