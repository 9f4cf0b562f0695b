"""One connection: bytes in, exchanges out, and back; over a scripted transport."""

import asyncio

import pytest

from federation.lab.http_protocol import MAX_BODY_BYTES, MAX_PIPELINED, MAX_UNSENT_BYTES, Exchange, HttpProtocol


class ScriptedTransport(asyncio.Transport):
    """Keeps what is written; says that `unsent` bytes wait."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = b""
        self.unsent = 0
        self.ended = ""

    def write(self, data: bytes) -> None:
        self.sent += data

    def is_closing(self) -> bool:
        return bool(self.ended)

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def close(self) -> None:
        self.ended = self.ended or "closed"

    def abort(self) -> None:
        self.ended = "reset"


class Connection:
    """A protocol on a scripted transport, and the exchanges that it handed over."""

    def __init__(self) -> None:
        self.exchanges: list[Exchange] = []
        self.transport = ScriptedTransport()
        self.all: set[HttpProtocol] = set()
        self.protocol = HttpProtocol(self.exchanges.append, self.all)
        self.protocol.connection_made(self.transport)

    def reads(self, data: bytes) -> None:
        self.protocol.data_received(data)


GET = b"GET /health?x=1 HTTP/1.1\r\nHost: h\r\n\r\n"


def test_a_request_in_pieces_is_one_exchange() -> None:
    connection = Connection()
    for byte in b"POST /v1/x HTTP/1.1\r\nX-Y: Z\r\ncontent-length: 3\r\n\r\nabc":
        connection.reads(bytes([byte]))
    (exchange,) = connection.exchanges
    assert (exchange.method, exchange.path, exchange.headers[b"x-y"], exchange.body) == ("POST", "/v1/x", b"Z", b"abc")
    exchange.respond(200, b"ok")
    assert connection.transport.sent.startswith(b"HTTP/1.1 200 OK\r\n")
    assert connection.transport.sent.endswith(b"content-length: 2\r\n\r\nok")
    assert not connection.transport.ended
    exchange.respond(200, b"again")  # over already
    assert b"again" not in connection.transport.sent


def test_a_stream_is_chunked_and_may_be_cut() -> None:
    connection = Connection()
    connection.reads(GET)
    exchange = connection.exchanges[0]
    exchange.begin_stream()
    exchange.write(b"data: x\n\n")
    assert connection.transport.sent.endswith(b"\r\n\r\n9\r\ndata: x\n\n\r\n")
    exchange.cut()
    assert connection.transport.ended == "closed"
    exchange.write(b"more")
    exchange.end()
    assert not connection.transport.sent.endswith(b"0\r\n\r\n")


def test_an_old_client_gets_its_stream_up_to_the_connections_end() -> None:
    connection = Connection()
    connection.reads(b"GET / HTTP/1.0\r\n\r\n")
    exchange = connection.exchanges[0]
    exchange.begin_stream()
    exchange.write(b"x")
    exchange.end()
    assert connection.transport.sent.endswith(b"connection: close\r\n\r\nx")
    assert connection.transport.ended == "closed"


def test_a_reader_that_takes_nothing_is_dropped() -> None:
    connection, left = Connection(), []
    connection.reads(GET)
    exchange = connection.exchanges[0]
    exchange.on_gone = lambda: left.append(True)
    exchange.begin_stream()
    connection.transport.unsent = MAX_UNSENT_BYTES
    exchange.write(b"x")
    assert not connection.transport.ended
    connection.transport.unsent += 1
    exchange.write(b"x")
    assert connection.transport.ended == "reset"
    connection.protocol.connection_lost(None)
    assert left == [True]
    assert not connection.all


def test_a_large_whole_answer_is_not_a_slow_reader() -> None:
    connection = Connection()
    connection.reads(GET)
    connection.transport.unsent = MAX_UNSENT_BYTES + 1
    connection.exchanges[0].respond(200, b"x")
    assert not connection.transport.ended


def test_who_answers_hears_once_that_the_client_left() -> None:
    connection, left = Connection(), []
    connection.reads(GET)
    exchange = connection.exchanges[0]
    exchange.on_gone = lambda: left.append(True)
    connection.protocol.connection_lost(None)
    assert left == [True]
    assert exchange.gone
    exchange.respond(200, b"")
    exchange.reset()
    assert connection.transport.sent == b""


async def test_pipelined_requests_wait_for_their_turn() -> None:
    connection = Connection()
    connection.reads(GET * 3)
    assert len(connection.exchanges) == 1
    for turn in (1, 2, 3):
        connection.exchanges[-1].respond(200, b"")
        await asyncio.sleep(0)
        assert len(connection.exchanges) == min(turn + 1, 3)


def test_a_pipeline_is_bounded() -> None:
    connection = Connection()
    connection.reads(GET * (MAX_PIPELINED + 2))
    assert connection.transport.ended == "reset"


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nx: " + b"y" * 70_000 + b"\r\n\r\n", 431),
        (b"POST / HTTP/1.1\r\ncontent-length: %d\r\n\r\n" % (MAX_BODY_BYTES + 1), 413),
        (b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1000001\r\n" + b"x" * (MAX_BODY_BYTES + 1), 413),
    ],
)
def test_what_cannot_be_read_is_refused_and_the_connection_ends(data: bytes, status: int) -> None:
    connection = Connection()
    connection.reads(data)
    connection.reads(b"more")
    assert connection.transport.sent.startswith(b"HTTP/1.1 %d " % status)
    assert connection.transport.ended == "closed"


def test_nonsense_behind_a_request_cuts_its_answer() -> None:
    connection = Connection()
    connection.reads(GET)
    connection.exchanges[0].begin_stream()
    connection.reads(b"\x00nonsense\r\n\r\n")
    assert connection.transport.ended == "reset"


def test_a_client_that_asks_first_is_told_to_go_on() -> None:
    connection = Connection()
    connection.reads(b"POST / HTTP/1.1\r\nexpect: 100-continue\r\ncontent-length: 1\r\n\r\n")
    assert connection.transport.sent == b"HTTP/1.1 100 Continue\r\n\r\n"
    connection.reads(b"x")
    assert connection.exchanges[0].body == b"x"


def test_a_head_request_gets_no_body() -> None:
    connection = Connection()
    connection.reads(b"HEAD / HTTP/1.1\r\n\r\n")
    connection.exchanges[0].respond(200, b"four")
    assert connection.transport.sent.endswith(b"content-length: 4\r\n\r\n")
