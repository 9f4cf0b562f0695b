"""The second stream, as a client sees it that has the first."""

import json
from typing import Any

import msgspec
import pytest

from router.resume.delivered import Delivered
from router.resume.stitch import Stitcher, done, last_chunk

FIRST = {"id": "first", "object": "chat.completion.chunk", "created": 1, "model": "m"}
SECOND = {"id": "second", "object": "chat.completion.chunk", "created": 2, "model": "other", "system_fingerprint": "f"}


def raw(**fields: Any) -> dict[str, msgspec.Raw]:
    return {name: msgspec.Raw(json.dumps(value).encode()) for name, value in fields.items()}


def has(text: str = "To ", role: bool = True, finish_reason: str | None = None) -> Delivered:
    return Delivered(text=text, head=raw(**FIRST), role=role, finish_reason=finish_reason, says_something=True)


def event(**fields: Any) -> bytes:
    return b"data: %s\n\n" % json.dumps(SECOND | fields).encode()


def choice(delta: dict[str, Any], finish_reason: str | None = None, index: int = 0) -> dict[str, Any]:
    return {"index": index, "delta": delta, "finish_reason": finish_reason}


def says(text: str, **fields: Any) -> bytes:
    return event(choices=[choice({"content": text})], **fields)


def read(stream: bytes) -> list[Any]:
    return [json.loads(part.removeprefix(b"data: ")) for part in stream.split(b"\n\n") if part]


ROLE = event(choices=[choice({"role": "assistant", "content": ""})])
DONE = b"data: [DONE]\n\n"


def usage(prompt: int, completion: int) -> dict[str, Any]:
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": 16},
    }


def test_every_event_carries_the_head_of_the_first_stream() -> None:
    seen = read(Stitcher(has(), 0).events(says("the ") + says("sea") + event(choices=[])))
    for part in seen:
        assert part | FIRST == part
        assert "system_fingerprint" not in part, "the first stream told of none"
    assert [part["choices"][0]["delta"]["content"] for part in seen[:2]] == ["the ", "sea"]


def test_where_the_first_stream_had_no_head_that_of_the_second_stands() -> None:
    [seen] = read(Stitcher(Delivered(), 0).events(says("a")))
    assert seen | SECOND == seen


def test_the_role_is_told_once() -> None:
    stitcher = Stitcher(has(), 0)
    assert stitcher.events(ROLE) == b""
    [seen] = read(stitcher.events(says("a")))
    assert seen["choices"] == [choice({"content": "a"})]


def test_the_role_is_dropped_also_beside_text() -> None:
    [seen] = read(Stitcher(has(), 0).events(event(choices=[choice({"role": "assistant", "content": "a"})])))
    assert seen["choices"] == [choice({"content": "a"})]


def test_a_role_that_was_not_told_yet_passes() -> None:
    seen = read(Stitcher(has(text="", role=False), 0).events(ROLE + says("a")))
    assert [part["choices"][0]["delta"] for part in seen] == [
        {"role": "assistant", "content": ""},
        {"content": "a"},
    ]


def test_the_role_of_another_answer_beside_passes() -> None:
    other = event(choices=[choice({"role": "assistant", "content": ""}, index=1)])
    [seen] = read(Stitcher(has(text=""), 0).events(ROLE + other))
    assert seen["choices"] == [choice({"role": "assistant", "content": ""}, index=1)]


def test_an_end_without_text_passes() -> None:
    [seen] = read(Stitcher(has(), 0).events(event(choices=[choice({}, "stop")])))
    assert seen["choices"] == [choice({}, "stop")]


def test_text_of_completions_passes() -> None:
    [seen] = read(Stitcher(has(role=False), 0).events(event(choices=[{"index": 0, "text": "a"}])))
    assert seen["choices"] == [{"index": 0, "text": "a"}]


def test_choices_keep_their_bytes_once_the_streams_are_joined() -> None:
    stitcher = Stitcher(has(), 0)
    stitcher.events(says("a"))
    odd = b'[ {"index":0, "delta":{"content":"\\u00e9"}, "x":1.0e3} ]'
    assert odd in stitcher.events(b'data: {"id":"s","choices":%s}\n\n' % odd)


def test_counts_are_those_of_both_parts() -> None:
    [seen] = read(Stitcher(has(), 30).events(event(choices=[], usage=usage(40, 5))))
    assert seen["usage"] == usage(10, 35)


def test_counts_in_every_event_go_on_where_they_were() -> None:
    seen = read(Stitcher(has(), 30).events(says("a", usage=usage(40, 1)) + says("b", usage=usage(40, 2))))
    assert [part["usage"]["completion_tokens"] for part in seen] == [31, 32]
    assert {part["usage"]["prompt_tokens"] for part in seen} == {10}


def test_null_counts_stay_null_and_a_template_that_trims_makes_no_negative_ones() -> None:
    seen = read(Stitcher(has(), 30).events(says("a", usage=None) + event(choices=[], usage=usage(20, 1))))
    assert [part["usage"] for part in seen] == [None, usage(0, 31)]


def test_counts_that_nobody_asked_for_are_not_told_wrongly() -> None:
    [seen] = read(Stitcher(has(), 0).events(says("a", usage=usage(40, 1))))
    assert "usage" not in seen


def test_counts_of_a_stream_that_began_anew_are_its_own() -> None:
    [seen] = read(Stitcher(has(text=""), 0).events(event(choices=[], usage=usage(10, 5))))
    assert seen["usage"] == usage(10, 5)


@pytest.mark.parametrize(("reason", "completion"), [("length", 30), ("stop", 31)])
def test_of_a_text_that_had_ended_only_the_counts_are_told(reason: str, completion: int) -> None:
    stitcher = Stitcher(has(finish_reason=reason), 30, only_usage=True)
    stream = ROLE + says("x", usage=usage(40, 1)) + event(choices=[choice({}, "length")])
    assert stitcher.events(stream) == b""
    last = stitcher.events(event(choices=[], usage=usage(40, 1)) + DONE)
    assert last.endswith(DONE)
    [seen] = read(last.removesuffix(DONE))
    assert seen["usage"] == usage(10, completion)


def test_the_end_passes() -> None:
    assert Stitcher(has(), 0).events(DONE) == DONE == done()


@pytest.mark.parametrize(
    "stream",
    [
        pytest.param(b'data: {"error":{"message":"out of memory"}}\n\n', id="error"),
        pytest.param(b"event: error\nid: 4\ndata: out of memory\n\n", id="named, and no JSON"),
        pytest.param(b"data: {\ndata: torn\n\n", id="several lines"),
        pytest.param(b'data: {"id":"x","choices":"none"}\n\n', id="choices of another form"),
        pytest.param(b'data: {"id":"x","choices":[{"delta":"none"}]}\n\n', id="delta of another form"),
        pytest.param(b'data: {"id":"x","usage":{"tokens":1}}\n\n', id="usage of another form"),
        pytest.param(b'data: {"choices":[{"delta":{"content":"\\ud800"}}]}\n\n', id="half a character"),
        pytest.param(b"data: " + b"[" * 5000 + b"\n\n", id="nested deeply"),
    ],
)
def test_what_is_no_chunk_of_an_answer_passes_as_it_is(stream: bytes) -> None:
    assert Stitcher(has(), 3).events(stream) == stream


def test_comments_are_dropped_and_line_endings_made_equal() -> None:
    stream = b": ping\r\n\r\n" + says("a").replace(b"\n", b"\r\n") + says("b").replace(b"\n", b"\r") + b":\n\n"
    seen = read(Stitcher(has(), 0).events(stream))
    assert [part["choices"][0]["delta"]["content"] for part in seen] == ["a", "b"]


def test_an_event_in_several_lines_is_one() -> None:
    [seen] = read(Stitcher(has(), 0).events(b'data: {"id":"x",\ndata: "choices":[]}\n\n'))
    assert (seen["id"], seen["choices"]) == ("first", [])


@pytest.mark.parametrize(("chat", "said"), [(True, {"delta": {}}), (False, {"text": ""})])
def test_a_text_that_had_all_its_tokens_is_ended_by_us(chat: bool, said: dict[str, Any]) -> None:
    [seen] = read(last_chunk(has(), chat=chat))
    assert seen == FIRST | {"choices": [{"index": 0, **said, "logprobs": None, "finish_reason": "length"}]}
