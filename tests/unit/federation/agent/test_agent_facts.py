"""How the list of models is read."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.agent.facts import MODELS_MAX, READY, ScrapeResult, Served, ServerFacts, read_models


def body(*models: dict[str, object]) -> bytes:
    return json.dumps({"object": "list", "data": list(models)}).encode()


def test_adapters_stand_under_the_model_they_adapt() -> None:
    served = read_models(
        body({"id": "llama", "parent": None}, {"id": "sql", "parent": "llama"}, {"id": "chat", "parent": "llama"})
    )
    assert served == Served(("llama",), {"llama": ("chat", "sql")})


def test_a_model_whose_parent_is_not_listed_stands_for_itself() -> None:
    assert read_models(body({"id": "a", "parent": "gone"}, {"id": "b", "parent": "b"})) == Served(("a", "b"), {})


def test_names_that_cannot_be_used_are_passed_over() -> None:
    assert read_models(body({"id": ""}, {"id": "x" * 257}, {"id": "m"}, {"id": "m"})) == Served(("m",), {})


def test_no_more_models_than_a_heartbeat_may_name() -> None:
    served = read_models(body(*({"id": f"m{n}"} for n in range(1000))))
    assert served is not None
    assert len(served.models) == MODELS_MAX


@pytest.mark.parametrize("answer", [b"", b"{}", b"[]", b'{"data": [{"name": "x"}]}', b"<html>", b"[" * 100_000])
def test_what_is_no_list_is_none(answer: bytes) -> None:
    assert read_models(answer) is None


@given(st.binary(max_size=200))
def test_bytes_of_any_kind_never_raise(answer: bytes) -> None:
    read_models(answer)


def test_only_two_results_are_ready() -> None:
    assert {r for r in ScrapeResult if ServerFacts("u", r, Served()).ready} == READY
