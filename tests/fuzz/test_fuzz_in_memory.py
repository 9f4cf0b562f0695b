"""Seconds of what `make fuzz` does for long; and that its judges see what they are there to see."""

from collections.abc import Callable
from typing import Any

import pytest

from router.edge.cycle import EdgeCycle
from router.edge.heads import HeadReader
from router.edge.pool import ClusterPool
from router.edge.protocol import EdgeProtocol
from router.edge.upstream import UpstreamConnection
from tests.fuzz import answer_side, desync, request_side
from tests.fuzz.reference import Incomplete, Invalid, read_answer, read_request

SEED = 20_000


def test_requests_are_read_as_a_strict_reader_reads_them() -> None:
    assert request_side.run_cases(SEED, range(3_000)) == []


def test_answers_are_read_as_a_strict_reader_reads_them() -> None:
    assert answer_side.run_cases(SEED, range(3_000)) == []


def test_nobody_gets_a_byte_of_anyone_else() -> None:
    faults, counts = desync.run(SEED, range(60))
    assert faults == []
    assert counts.calls > 2_000
    assert counts.complete > 0.8 * counts.calls
    assert min(counts.broken, counts.errors, counts.cancelled, counts.streams) > 20, "a bit of everything"
    assert counts.upstream_connections < counts.calls / 2, "connections are used again"


def test_a_seed_gives_the_same_run_again() -> None:
    assert vars(desync.run(SEED, range(5))[1]) == vars(desync.run(SEED, range(5))[1])


# The judges: each planted fault must be found.


def test_a_second_host_that_is_let_through_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    read = HeadReader.read

    def lenient(self: HeadReader, headers: Any) -> Any:
        hosts = [pair for pair in headers if pair[0] == b"host"][:1] or [(b"host", b"")]
        return read(self, [pair for pair in headers if pair[0] != b"host"] + hosts)

    monkeypatch.setattr(HeadReader, "read", lenient)
    assert "hosts" in request_side.run_cases(SEED, range(3_000), shrinks=False)[0]


def test_a_body_of_which_a_byte_is_lost_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    take = EdgeCycle.take
    monkeypatch.setattr(EdgeCycle, "take", lambda self, chunk: take(self, chunk[:-1] or chunk))
    assert "body is" in request_side.run_cases(SEED, range(500), shrinks=False)[0]


def test_a_header_that_stays_behind_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    on_header = EdgeProtocol.on_header

    def forgetful(self: EdgeProtocol, name: bytes, value: bytes) -> None:
        if name.lower() != b"accept":
            on_header(self, name, value)

    monkeypatch.setattr(EdgeProtocol, "on_header", forgetful)
    assert "headers is" in request_side.run_cases(SEED, range(500), shrinks=False)[0]


def test_an_answer_that_is_cut_and_passes_for_complete_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    on_headers_complete = UpstreamConnection.on_headers_complete

    def trusting(self: UpstreamConnection) -> None:
        on_headers_complete(self)
        self._framed = False  # As if it ended with its connection.

    monkeypatch.setattr(UpstreamConnection, "on_headers_complete", trusting)
    assert "passed on as complete" in answer_side.run_cases(SEED, range(3_000), shrinks=False)[0]


def test_a_connection_given_to_two_calls_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    put_back = ClusterPool.put_back

    def twice(self: ClusterPool, connection: UpstreamConnection) -> None:
        put_back(self, connection)
        put_back(self, connection)

    monkeypatch.setattr(ClusterPool, "put_back", twice)
    assert "got bytes of" in desync.run(SEED, range(60))[0][0]


def test_answers_that_change_places_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    head_of: Callable[..., bytes] = EdgeCycle._head_of
    last: list[bytes] = [b""]

    def swapped(self: EdgeCycle, status: int, lines: bytes, framing: bytes) -> bytes:
        mine = lines.partition(b"x-request-id: ")[2].partition(b"\r\n")[0]
        other, last[0] = last[0] or mine, mine
        return head_of(self, status, lines.replace(mine, other), framing)

    monkeypatch.setattr(EdgeCycle, "_head_of", swapped)
    assert "got the head of" in desync.run(SEED, range(3))[0][0]


# The strict reader itself.

HEAD = b"POST /a HTTP/1.1\r\nHost: h\r\n"


@pytest.mark.parametrize(
    "data",
    [
        HEAD + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\nx",
        HEAD + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        HEAD + b"Content-Length: +1\r\n\r\nx",
        HEAD + b"A : b\r\n\r\n",
        HEAD + b"A: b\r\n c\r\n\r\n",
        HEAD + b"A: b\0\r\n\r\n",
        HEAD + b"A: b\nB: c\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n0x1\r\nx\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\nxy\r\n0\r\n\r\n",
        HEAD + b"Host: h\r\n\r\n",
        b"POST /a HTTP/1.1\r\n\r\n",
        b"POST /a HTTP/2.0\r\nHost: h\r\n\r\n",
        b"POST /a\r\nHost: h\r\n\r\n",
    ],
)
def test_the_strict_reader_refuses(data: bytes) -> None:
    with pytest.raises(Invalid):
        read_request(data)


def test_the_strict_reader_reads_a_request_and_knows_where_it_ends() -> None:
    data = HEAD + b"Transfer-Encoding: chunked\r\nX-A:  b \r\n\r\n2;a=b\r\nhi\r\n01\r\n!\r\n0\r\nLate: 1\r\n\r\n"
    message = read_request(data + b"GET")
    assert (message.method, message.target, message.body, message.end) == (b"POST", b"/a", b"hi!", len(data))
    assert message.one(b"x-a") == b"b"
    for cut in range(len(data)):
        with pytest.raises(Incomplete):
            read_request(data[:cut])


def test_the_strict_reader_reads_answers() -> None:
    data = b"HTTP/1.1 103 X\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
    assert (read_answer(data).body, read_answer(data).interim) == (b"hi", 1)
    assert read_answer(data, method=b"HEAD").end == len(data) - 2
    assert read_answer(b"HTTP/1.1 200\r\n\r\nhi", ended=True).body == b"hi"
    with pytest.raises(Incomplete):
        read_answer(b"HTTP/1.1 200\r\n\r\nhi")
