"""Event boundaries in a stream of bytes."""

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.edge.events import EVENT_BYTES_MAX, EventSplitter, last_boundary

BOUNDARY = re.compile(rb"(?:\n\n|\r\n\r\n|\r\r)\Z")


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    """The stream in chunks, cut at these places."""
    bounds = [0, *sorted(place % (len(stream) + 1) for place in places), len(stream)]
    return [stream[start:end] for start, end in pairwise(bounds)]


def passed_on(chunks: list[bytes]) -> tuple[list[bytes], bytes, int]:
    """Pieces passed on, the rest, and the count of events."""
    splitter = EventSplitter()
    pieces = [splitter.feed(chunk) for chunk in chunks]
    return [piece for piece in pieces if piece], splitter.rest(), splitter.events


def test_whole_events_pass_at_once() -> None:
    splitter = EventSplitter()
    chunk = b"data: 1\n\ndata: 2\n\n"
    assert splitter.feed(chunk) is chunk
    assert splitter.events == 2
    assert splitter.rest() == b""


def test_half_an_event_is_kept_until_it_is_whole() -> None:
    splitter = EventSplitter()
    assert splitter.feed(b"data: 1\n\nda") == b"data: 1\n\n"
    assert splitter.feed(b"ta: 2\n") == b""
    assert splitter.feed(b"\ndata: 3") == b"data: 2\n\n"
    assert splitter.events == 2
    assert splitter.rest() == b"data: 3"
    assert splitter.rest() == b""


@pytest.mark.parametrize("ending", [b"\n", b"\r\n", b"\r"])
def test_boundary_is_found_wherever_it_is_cut(ending: bytes) -> None:
    event = b"data: x" + ending + ending
    for place in range(len(event) + 1):
        pieces, rest, events = passed_on([event[:place], event[place:], event])
        assert b"".join(pieces) == event + event
        assert (rest, events) == (b"", 2)


@pytest.mark.parametrize("ending", [b"\n", b"\r\n", b"\r"])
def test_events_are_counted_in_every_line_ending(ending: bytes) -> None:
    stream = (b"data: x" + ending + ending) * 7
    assert passed_on([stream])[2] == 7
    assert passed_on([stream + b"data", b": y" + ending + ending])[2] == 8


def test_event_of_many_lines_stays_whole() -> None:
    event = b": comment\nevent: error\ndata: 1\ndata: 2\nid: 7\n\n"
    assert passed_on(cut(event, [5, 20]))[0] == [event]


def test_event_that_never_ends_is_passed_on_beyond_the_bound() -> None:
    splitter = EventSplitter()
    assert splitter.feed(b"x" * EVENT_BYTES_MAX) == b""
    assert splitter.feed(b"y") == b"x" * EVENT_BYTES_MAX + b"y"
    assert splitter.rest() == b""
    assert splitter.events == 0
    assert splitter.torn


def test_long_event_in_small_chunks_is_searched_once() -> None:
    """Each byte looked at anew with every chunk would make this 4 GB; it takes milliseconds."""
    splitter = EventSplitter()
    for _ in range(9_000):
        assert splitter.feed(b"x" * 100) == b""
    assert len(splitter.feed(b"\r\n\r")) == 0
    assert len(splitter.feed(b"\n")) == 900_004
    assert (splitter.events, splitter.rest(), splitter.torn) == (1, b"", False)


@pytest.mark.parametrize(
    ("buffered", "at"),
    [
        (b"", 0),
        (b"data", 0),
        (b"data\n", 0),
        (b"data\r\n", 0),
        (b"data\r\n\r", 0),
        (b"data\n\n", 6),
        (b"data\n\nmore", 6),
        (b"data\r\r", 6),
        (b"data\r\n\r\n", 8),
        (b"a\r\rb\n\nc\r\n\r\nd", 11),
        (b"a\r\n\r\nb\n\nc", 8),
    ],
)
def test_last_boundary_is_behind_the_last_blank_line(buffered: bytes, at: int) -> None:
    assert last_boundary(buffered) == at


fragments = st.lists(
    st.sampled_from([b"data: x", b"event: e", b":", b"\n", b"\r", b"\r\n", b"\n\n", b"\r\n\r\n", b"\r\r", b"", b"z"]),
    max_size=30,
)
places = st.lists(st.integers(0, 10**4), max_size=12)


@given(fragments.map(b"".join), places)
def test_nothing_is_lost_and_each_piece_ends_at_a_boundary(stream: bytes, where: list[int]) -> None:
    pieces, rest, events = passed_on(cut(stream, where))
    assert b"".join(pieces) + rest == stream
    assert all(BOUNDARY.search(piece) for piece in pieces)
    assert last_boundary(rest) == 0
    assert events >= len(pieces)


well_formed = st.lists(
    st.builds(
        lambda ending, lines: ending.join([*lines, b"", b""]),
        st.shared(st.sampled_from([b"\n", b"\r\n", b"\r"]), key="ending"),
        st.lists(st.sampled_from([b"data: 1", b"event: x", b"data: {}", b": ping"]), min_size=1, max_size=3),
    ),
    max_size=8,
)


@given(well_formed, places)
def test_every_event_is_passed_on_and_counted_once(written: list[bytes], where: list[int]) -> None:
    pieces, rest, events = passed_on(cut(b"".join(written), where))
    assert b"".join(pieces) == b"".join(written)
    assert (rest, events) == (b"", len(written))


@given(well_formed, places)
def test_piece_holds_whole_events_as_soon_as_they_are_whole(written: list[bytes], where: list[int]) -> None:
    stream, splitter, came, went = b"".join(written), EventSplitter(), 0, 0
    for chunk in cut(stream, where):
        came += len(chunk)
        went += len(splitter.feed(chunk))
        whole = 0
        for event in written:
            if whole + len(event) > came:
                break
            whole += len(event)
        assert went == whole
