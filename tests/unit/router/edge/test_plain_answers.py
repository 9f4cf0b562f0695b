"""Answers that are read past the parser, and those that are left to it."""

import pytest

from router.edge.heads import downstream_headers, lines_of
from router.edge.plain_answers import PlainAnswers
from router.edge.plain_requests import LINES_REMEMBERED_MAX

USUAL = (b"date: Wed, 25 Nov 2026 02:00:00 GMT", b"server: uvicorn", b"Content-Type: application/json")


def head(*lines: bytes, length: int | None = 650, status: bytes = b"HTTP/1.1 200 OK") -> bytes:
    framing = [] if length is None else [b"content-length: %d" % length]
    return b"\r\n".join([status, *USUAL, *framing, *lines])


def test_headers_the_clients_lines_and_the_length() -> None:
    plain = PlainAnswers()
    for length in range(200):
        read = plain.read(head(b"x-trace: %d" % length, b"set-cookie: x=1", length=length))
        assert read is not None
        headers, lines, found = read
        assert found == length
        assert headers[2] == (b"content-type", b"application/json")
        assert lines == lines_of(downstream_headers(headers))
        assert b"cookie" not in lines


@pytest.mark.parametrize(
    "text",
    [
        head(length=None),
        head(b"transfer-encoding: chunked", length=None),
        head(b"transfer-encoding: chunked"),
        head(b"connection: close"),
        head(b"content-length: 650"),
        head(b"content-length: 5"),
        head(b"no colon"),
        head(b" folded"),
        head(b"x: a\x00"),
        head(status=b"HTTP/1.1 200 Fine"),
        head(status=b"HTTP/1.1 404 Not Found"),
        head(status=b"HTTP/1.0 200 OK"),
        head(*[b"x-%d: 1" % n for n in range(80)]),
        b"\r\n".join([b"HTTP/1.1 200 OK", b"content-length: -1"]),
        b"\r\n".join([b"HTTP/1.1 200 OK", b"content-length: 1 1"]),
        b"",
    ],
)
def test_anything_else_is_left_to_the_parser(text: bytes) -> None:
    assert PlainAnswers().read(text) is None


def test_what_is_remembered_is_bounded() -> None:
    plain = PlainAnswers()
    for number in range(2 * LINES_REMEMBERED_MAX):
        assert plain.read(head(b"x-%d: %d" % (number, number))) is not None
    assert len(plain._seen) <= LINES_REMEMBERED_MAX
