"""A body in pieces."""

from hypothesis import given
from hypothesis import strategies as st

from router.pieces import JOINED_BYTES, SMALL_BYTES, Pieces

SIZES = st.lists(st.sampled_from([0, 1, 7, SMALL_BYTES - 1, SMALL_BYTES, 70_000]), max_size=40)


def kept(*pieces: bytes) -> Pieces:
    found = Pieces()
    for piece in pieces:
        found.add(piece)
    return found


@given(SIZES)
def test_pieces_are_the_whole_in_order(sizes: list[int]) -> None:
    pieces = [bytes([index % 256]) * size for index, size in enumerate(sizes)]
    found = kept(*pieces)
    assert b"".join(found) == b"".join(pieces)
    assert len(found) == sum(sizes)
    assert list(found) == list(found)  # As often as wanted.


def test_large_pieces_are_not_copied() -> None:
    large = [b"a" * SMALL_BYTES, b"b" * 1_000_000]
    assert all(one is other for one, other in zip(kept(*large), large, strict=True))


def test_small_pieces_are_joined_a_few_at_a_time() -> None:
    found = list(kept(*[b"xy"] * 100_000))
    assert len(found) == -(-200_000 // JOINED_BYTES)
    assert max(map(len, found)) <= JOINED_BYTES + SMALL_BYTES


def test_nothing_is_nothing() -> None:
    assert (len(kept()), list(kept())) == (0, [])
