"""What went out on a stream comes out of what was kept, in a fraction of its size."""

import json
import random

from hypothesis import given
from hypothesis import strategies as st

from router.resume.kept import BYTES_UNPACKED_MAX, CHUNKS_UNPACKED_MAX, PACKED_BYTES_MAX, Kept


@given(st.lists(st.tuples(st.binary(max_size=400), st.booleans()), max_size=80))
def test_what_went_in_comes_out(chunks: list[tuple[bytes, bool]]) -> None:
    kept = Kept()
    for chunk, pack in chunks:
        kept.add(chunk)
        if pack:
            kept.pack()
    everything = b"".join(chunk for chunk, _ in chunks)
    assert kept.events() == everything
    assert kept.events() == everything, "reading takes nothing away"


def test_it_is_time_to_pack_when_there_are_many_chunks_or_many_bytes() -> None:
    kept = Kept()
    assert [kept.add(b"x") for _ in range(CHUNKS_UNPACKED_MAX)] == [False] * (CHUNKS_UNPACKED_MAX - 1) + [True]
    kept.pack()
    assert not kept.add(b"x")
    assert kept.add(b"x" * BYTES_UNPACKED_MAX)
    kept.pack()
    assert not kept.add(b"x")


def test_packing_tells_its_bytes() -> None:
    kept = Kept()
    kept.add(b"one")
    first = kept.pack()
    kept.add(b"two" * 1000)
    second = kept.pack()
    assert kept.packed_bytes == first + second


def events(count: int) -> list[bytes]:
    """Chunks as a model server sends them, of varied text."""
    rng = random.Random(5)
    words = [" " + "".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(2, 7))) for _ in range(300)]
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1_700_000_000, "model": "m"}
    return [
        b"data: %s\n\n"
        % json.dumps(
            head | {"choices": [{"index": 0, "delta": {"content": rng.choice(words)}, "finish_reason": None}]}
        ).encode()
        for _ in range(count)
    ]


def test_a_token_takes_a_few_bytes() -> None:
    kept = Kept()
    for chunk in events(1000):
        if kept.add(chunk):
            kept.pack()
    assert kept.packed_bytes < 20 * 1000
    assert not kept.is_too_long


def test_a_stream_beyond_the_bound_says_so() -> None:
    kept = Kept()
    rng = random.Random(1)
    while kept.packed_bytes <= PACKED_BYTES_MAX:
        assert not kept.is_too_long
        kept.add(rng.randbytes(BYTES_UNPACKED_MAX))
        kept.pack()
    assert kept.is_too_long
