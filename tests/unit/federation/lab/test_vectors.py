"""Texts as vectors."""

import pytest

from federation.lab.vectors import embedding, similarity


@pytest.mark.parametrize("size", [1, 16, 17, 100])
def test_vector_is_a_function_of_the_text_and_of_length_one(size: int) -> None:
    vector = embedding("a", size)
    assert vector == embedding("a", size)
    assert len(vector) == size
    assert sum(number * number for number in vector) == pytest.approx(1.0)
    assert vector != embedding("b", size) or size == 1


def test_similarity_is_between_nothing_and_equality() -> None:
    assert similarity("a", "a") == pytest.approx(1.0)
    assert similarity("a", "b") == similarity("b", "a")
    assert all(0.0 <= similarity("a", str(number)) < 0.999 for number in range(100))
