"""What is read past the parser is what parser and HeadReader make of the same bytes; the rest is left to them."""

from collections.abc import Sequence
from random import Random

import httptools
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.edge.heads import BadHead, Headers, HeadReader
from router.edge.plain_requests import BEGINNINGS_MAX, LINES_REMEMBERED_MAX, VALUES_REMEMBERED_MAX, PlainRequests
from router.edge.request_head import RequestHead
from router.paths import routes

LINE = b"POST /v1/chat/completions HTTP/1.1"
USUAL = (
    b"Host: api.example.com",
    b"Accept: application/json",
    b"Content-Type: application/json",
    b"User-Agent: AsyncOpenAI/Python 3.57.0",
    b"Authorization: Bearer tw_1",
    b"X-Stainless-Lang: python",
    b"Connection: keep-alive",
)


def reader(headers_max: int = 100) -> PlainRequests:
    return PlainRequests(HeadReader("x-client-region"), routes(()), headers_max)


class Parsed:
    """A head as the full parser reads it."""

    def __init__(self, head: bytes) -> None:
        self.target = b""
        self.headers: Headers = []
        self.complete = False
        self.parser = httptools.HttpRequestParser(self)
        self.parser.feed_data(head + b"\r\n\r\n")

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self.complete = True


def by_the_parser(head: bytes) -> tuple[bytes, RequestHead]:
    parsed = Parsed(head)
    assert parsed.complete
    assert parsed.parser.get_method() == b"POST"
    assert parsed.parser.get_http_version() == "1.1"
    assert parsed.parser.should_keep_alive()
    assert not parsed.parser.should_upgrade()
    return parsed.target, HeadReader("x-client-region").read(parsed.headers)


def agrees(plain: PlainRequests, head: bytes) -> bool:
    """Whether it was read; then, that the parser reads the same."""
    read = plain.read(head)
    if read is None:
        return False
    route, target, found, length = read
    expected_target, expected = by_the_parser(head)
    assert target == expected_target == route.path.encode()
    assert msgspec.structs.asdict(found) == msgspec.structs.asdict(expected)
    assert expected.content_length is not None
    assert length == int(expected.content_length)
    return True


def head(*lines: bytes, length: int = 12) -> bytes:
    return b"\r\n".join([LINE, *USUAL, *lines, b"Content-Length: %d" % length])


def test_a_usual_head_is_read_again_and_again_as_the_parser_reads_it() -> None:
    plain = reader()
    for number in range(300):
        changing = b"traceparent: 00-%032x-%016x-01" % (number, number)
        assert agrees(plain, head(changing, b"X-Request-Id: r%d" % number, length=number))
        assert agrees(plain, head(length=7))


def test_a_known_beginning_says_nothing_of_what_follows() -> None:
    plain = reader()
    for number in range(VALUES_REMEMBERED_MAX * 2):
        assert agrees(plain, head(b"traceparent: 00-%032x-01" % number))
    assert not agrees(plain, head(b"traceparent: 00-ff-01", b"Host: other"))
    assert not agrees(plain, head(b"traceparent: 00-ff-01", b"Authorization: Bearer tw_2"))
    assert not agrees(plain, head(b"traceparent: 00-ff-01", b"Transfer-Encoding: chunked"))
    assert not agrees(plain, head(b"traceparent: 00-f\x00f-01"))
    assert not agrees(plain, head(b"traceparent:  two spaces"))
    assert agrees(plain, head(b"traceparent: 00-ff-01", b"x-tradewind-deadline-ms: 5"))


@pytest.mark.parametrize(
    "line",
    [
        b"Transfer-Encoding: chunked",
        b"Expect: 100-continue",
        b"Upgrade: h2c",
        b"Connection: close",
        b"Connection: x-hop",
        b"TE: trailers",
        b"Host: again",
        b"Content-Length: 12",
        b"Authorization: Bearer tw_2",
        b" folded",
        b"No-Colon",
        b"Sp ace: x",
        b"Name : x",
        b": x",
        b"X: a\x00b",
        b"X: a\rb",
        b"X: a\nb",
        b"X: a\x7fb",
        b"X:  x",
        b"X: x ",
        b"X:\tx",
    ],
)
def test_what_is_unusual_is_left_to_the_parser(line: bytes) -> None:
    assert reader().read(head(line)) is None


@pytest.mark.parametrize(
    "text",
    [
        LINE,
        LINE + b"\r\nHost: x",
        b"GET /v1/models HTTP/1.1\r\nHost: x\r\nContent-Length: 0",
        b"POST /v1/unknown HTTP/1.1\r\nHost: x\r\nContent-Length: 0",
        b"POST /v1/chat/completions?x=1 HTTP/1.1\r\nHost: x\r\nContent-Length: 0",
        b"POST /v1/chat/completions HTTP/1.0\r\nHost: x\r\nContent-Length: 0",
        b"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: x\r\nContent-Length: 0",
        LINE + b"\r\nContent-Length: 0",
        LINE + b"\r\nHost: x\r\nContent-Length: -1",
        LINE + b"\r\nHost: x\r\nContent-Length: 1_0",
        LINE + b"\r\nHost: x\r\nContent-Length: " + b"9" * 20,
    ],
)
def test_another_request_is_left_to_the_parser(text: bytes) -> None:
    assert reader().read(text) is None


def test_more_lines_than_are_allowed_are_left_to_the_parser() -> None:
    plain = reader(headers_max=10)
    for number in range(VALUES_REMEMBERED_MAX + 2):
        assert agrees(plain, head(b"X-A: %d" % number, b"X-B: 1")) is True
    assert not agrees(plain, head(b"X-A: 1", b"X-B: 1", b"X-C: 1"))


def test_what_is_remembered_is_bounded() -> None:
    plain = reader()
    rng = Random(1)
    for number in range(3 * LINES_REMEMBERED_MAX):
        agrees(
            plain, head(b"X-%d: %d" % (number, number), b"X-Y: %d" % number, b"X-Long: " + b"x" * rng.randrange(400))
        )
    assert len(plain._seen) <= LINES_REMEMBERED_MAX
    assert len(plain._beginnings) <= BEGINNINGS_MAX


NAMES = b"X-A x-a Accept Connection Host Authorization X-Request-Id X-Client-Region TE Origin Content-Encoding".split()
NAMES += [b"Via", b"x-tradewind-session", b"X A", b""]
VALUES = [b"1", b"keep-alive", b"close", b"", b"a b", b"\xff", b"a\tb", b" x", b"x ", b"a\x00", b"gzip, x", b"ok"]


@st.composite
def heads(draw: st.DrawFn) -> bytes:
    lines: list[bytes] = [LINE, *USUAL[: draw(st.integers(0, len(USUAL)))]]
    pairs: Sequence[tuple[bytes, bytes]] = draw(
        st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(VALUES)), max_size=6)
    )
    separator = draw(st.sampled_from([b": ", b":", b":  ", b" :"])) if draw(st.booleans()) else b": "
    lines += [name + separator + value for name, value in pairs]
    lines.insert(draw(st.integers(1, len(lines))), b"Content-Length: %d" % draw(st.integers(0, 2000)))
    return b"\r\n".join(lines)


@settings(max_examples=400, deadline=None)
@given(st.lists(heads(), min_size=1, max_size=12))
def test_whatever_is_read_the_parser_reads_likewise(some: list[bytes]) -> None:
    plain = reader()
    for text in [*some, *some]:
        try:
            agrees(plain, text)
        except (BadHead, httptools.HttpParserError) as error:
            raise AssertionError(f"the full parser refuses {text!r}") from error
