"""Rerank and score."""

import msgspec
import pytest

from federation.lab.ranking import RerankRequest, ScoreRequest
from federation.lab.request import BadRequest


def rerank(**fields: object) -> RerankRequest:
    return msgspec.convert({"query": "q", "documents": ["a", {"text": "q"}, "c"]} | fields, RerankRequest)


def test_documents_come_back_best_first() -> None:
    answer = rerank().answer("id", "m", 7)
    scores = [row["relevance_score"] for row in answer["results"]]
    assert scores == sorted(scores, reverse=True)
    assert (answer["results"][0]["index"], answer["results"][0]["document"]) == (1, {"text": "q"})
    assert answer["usage"] == {"prompt_tokens": 7, "total_tokens": 7}


def test_only_the_best_are_asked_for() -> None:
    assert [row["index"] for row in rerank(top_n=1).answer("id", "m", 1)["results"]] == [1]


def test_no_document_is_no_request() -> None:
    with pytest.raises(BadRequest, match="documents"):
        rerank(documents=[]).pairs()


@pytest.mark.parametrize(
    ("one", "other", "pairs"),
    [
        ("a", "b", [("a", "b")]),
        ("a", ["b", "c"], [("a", "b"), ("a", "c")]),
        (["a"], ["b", "c"], [("a", "b"), ("a", "c")]),
        (["a", "b"], ["c", "d"], [("a", "c"), ("b", "d")]),
    ],
)
def test_texts_are_paired(one: str | list[str], other: str | list[str], pairs: list[tuple[str, str]]) -> None:
    request = ScoreRequest(text_1=one, text_2=other)
    assert request.pairs() == pairs
    rows = request.answer("id", "m", 3)["data"]
    assert [row["index"] for row in rows] == list(range(len(pairs)))
    assert all(0 <= row["score"] <= 1 for row in rows)


@pytest.mark.parametrize(("one", "other"), [(["a", "b"], "c"), ([], "c"), ("a", [])])
def test_texts_that_cannot_be_paired_are_refused(one: str | list[str], other: str | list[str]) -> None:
    with pytest.raises(BadRequest):
        ScoreRequest(text_1=one, text_2=other).pairs()
