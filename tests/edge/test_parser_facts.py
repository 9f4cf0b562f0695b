"""Facts about uvicorn and httptools that the edge leans on, or guards against.

A test that fails here after an upgrade says: look at the edge again. None of them is about
our own code.
"""

import asyncio
import inspect
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httptools
import pytest
import uvicorn
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from router.app import Server
from tests.edge.harness import RawClient


class Told:
    """What the request parser tells, in order."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)

    def on_message_begin(self) -> None:
        self.events.append("begin")

    def on_header(self, name: bytes, value: bytes) -> None:
        self.events.append((name, value))

    def on_headers_complete(self) -> None:
        self.events.append("head")

    def on_body(self, body: bytes) -> None:
        self.events.append(body)

    def on_message_complete(self) -> None:
        self.events.append("end")

    def read(self, data: bytes) -> list[Any]:
        self.parser.feed_data(data)
        return self.events


class ToldOfAnswer(Told):
    def __init__(self) -> None:
        self.events = []
        self.parser = httptools.HttpResponseParser(self)


def test_an_exception_in_a_callback_becomes_a_parser_error() -> None:
    class Fails(Told):
        def on_headers_complete(self) -> None:
            raise ZeroDivisionError

    with pytest.raises(httptools.HttpParserCallbackError) as caught:
        Fails().read(b"GET / HTTP/1.1\r\n\r\n")
    assert isinstance(caught.value, httptools.HttpParserError)


def test_the_parser_takes_what_we_refuse() -> None:
    for accepted in (
        b"POST / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
        b"POST / HTTP/1.1\r\n\r\n",
        b"POST / HTTP/1.1\r\nx: " + b"y" * 2_000_000 + b"\r\n\r\n",
        b"POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/2.0\r\n\r\n",
        b"POST / HTTP/0.9\r\n\r\n",
    ):
        assert Told().read(accepted)[-1] == "end", accepted[:60]


def test_the_parser_refuses_what_we_count_on_it_to_refuse() -> None:
    for refused in (
        b"POST / HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 1\r\n\r\nx",
        b"POST / HTTP/1.1\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\ncontent-length: 1\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\ntransfer-encoding: gzip\r\n\r\n",
        b"POST / HTTP/1.1\r\ncontent-length: +1\r\n\r\nx",
        b"POST / HTTP/1.1\r\ncontent-length : 1\r\n\r\nx",
        b"POST / HTTP/1.1\r\na: b\r\n c\r\n\r\n",
        b"POST / HTTP/1.1\r\na: b\0\r\n\r\n",
        b"POST / HTTP/1.1\na: b\n\n",
    ):
        with pytest.raises(httptools.HttpParserError):
            Told().read(refused)


def test_the_request_parser_takes_liberties_that_change_no_meaning() -> None:
    for accepted in (
        b"GET   /a   HTTP/1.1\r\nhost: a\r\n\r\n",
        b"\r\n\n\rGET /a HTTP/1.1\r\nhost: a\r\n\r\n",
        b"OPTIONS /a RTSP/1.0\r\nhost: a\r\n\r\n",
    ):
        assert Told().read(accepted)[-1] == "end", accepted


def test_the_request_parser_takes_a_line_without_a_version() -> None:
    told = Told()
    assert told.read(b"PUT /a\n\r\n")[-1] == "end"
    assert told.parser.get_http_version() == "0.9"


def test_white_space_behind_a_value_is_told_with_it() -> None:
    assert (b"a", b"b \t") in Told().read(b"GET / HTTP/1.1\r\na:  b \t\r\n\r\n")


def test_the_answer_parser_takes_what_we_refuse() -> None:
    for accepted in (
        b"HTTP/2.0 200 X\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.0 200 X\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 X\r\ntransfer-encoding: gzip\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    ):
        assert ToldOfAnswer().read(accepted)[-1] == "end", accepted


def test_the_answer_parser_passes_on_the_chunks_of_an_encoding_that_it_does_not_know() -> None:
    for encoding in (b"chunked\t", b"gzip"):
        events = ToldOfAnswer().read(b"HTTP/1.1 200 X\r\ntransfer-encoding: %s\r\n\r\n2\r\nhi\r\n" % encoding)
        assert b"2\r\nhi\r\n" in b"".join(event for event in events if isinstance(event, bytes))


def test_the_method_of_the_latest_request_is_told_until_another_is_read() -> None:
    told = Told()
    told.read(b"HEAD / HTTP/1.1\r\nhost: a\r\n\r\n")
    with pytest.raises(httptools.HttpParserError):
        told.read(b"\0")
    assert told.parser.get_method() == b"HEAD"


def test_an_upgrade_with_a_body_loses_the_body() -> None:
    told = Told()
    with pytest.raises(httptools.HttpParserUpgrade):
        told.read(b"POST / HTTP/1.1\r\nconnection: upgrade\r\nupgrade: h2c\r\ncontent-length: 3\r\n\r\nabc")
    assert b"abc" not in told.events


def test_trailers_are_told_like_headers() -> None:
    events = Told().read(b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0\r\nlate: 1\r\n\r\n")
    assert events[-2:] == [(b"late", b"1"), "end"]
    events = ToldOfAnswer().read(b"HTTP/1.1 200 X\r\ntransfer-encoding: chunked\r\n\r\n0\r\nlate: 1\r\n\r\n")
    assert events[-2:] == [(b"late", b"1"), "end"]


def test_empty_lines_before_a_request_begin_no_message() -> None:
    assert Told().read(b"\r\n\r\n") == []


def test_what_follows_connection_close_is_swallowed() -> None:
    told = Told()
    told.read(b"POST / HTTP/1.1\r\nconnection: close\r\ncontent-length: 0\r\n\r\nGET / HTTP/1.1\r\n\r\n")
    assert told.events.count("begin") == 1


def test_keep_alive_is_known_at_the_head_of_an_answer_and_forgotten_at_its_end() -> None:
    class Asks(ToldOfAnswer):
        def on_headers_complete(self) -> None:
            self.events.append(self.parser.should_keep_alive())

    told = Asks()
    told.read(b"HTTP/1.1 200 X\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
    assert False in told.events
    assert True in Asks().read(b"HTTP/1.1 200 X\r\ncontent-length: 0\r\n\r\n")
    assert False in Asks().read(b"HTTP/1.1 200 X\r\n\r\n"), "it ends with its connection"


def test_an_answer_without_a_length_is_never_told_complete() -> None:
    events = ToldOfAnswer().read(b"HTTP/1.1 200 X\r\n\r\nabc")
    assert events[-1] == b"abc"


def test_interim_answers_are_messages_of_their_own() -> None:
    events = ToldOfAnswer().read(b"HTTP/1.1 103 X\r\nlink: x\r\n\r\nHTTP/1.1 200 X\r\ncontent-length: 0\r\n\r\n")
    assert events.count("begin") == events.count("end") == 2


def test_the_names_that_we_override_and_use_exist() -> None:
    """The protocol is subclassed by these names; a rename would silently go past us."""
    asyncio_names = {"connection_made", "connection_lost", "eof_received", "data_received"}
    parser_names = {"on_url", "on_header", "on_headers_complete", "on_body", "on_message_begin", "on_message_complete"}
    own_names = {"pause_writing", "resume_writing", "on_response_complete", "_start_asgi_task", "shutdown"}
    assert asyncio_names | parser_names | own_names <= set(vars(HttpToolsProtocol))
    source = inspect.getsource(HttpToolsProtocol)
    for used in ("self.pipeline.appendleft((self.cycle, app))", "self.flow.pause_reading()", "self.cycle.more_body"):
        assert used in source, used
    assert set(inspect.signature(HttpToolsProtocol.__init__).parameters) == {
        "self",
        "config",
        "server_state",
        "app_state",
        "_loop",
    }
    assert "write_paused" in vars(FlowControl(None))  # type: ignore[arg-type]
    wanted = {"response_complete", "keep_alive", "disconnected", "message_event", "more_body", "body"}
    assert wanted <= set(RequestResponseCycle.__init__.__code__.co_names)


@asynccontextmanager
async def _plain(app: Any) -> AsyncIterator[RawClient]:
    """A client of uvicorn's own protocol."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    config = uvicorn.Config(app, http="httptools", ws="none", lifespan="off", log_config=None, access_log=False)
    server = Server(config)
    task = asyncio.ensure_future(server.serve([listener]))
    await server.listening.wait()
    client = RawClient(*await asyncio.open_connection(*listener.getsockname()))
    try:
        yield client
    finally:
        client.close()
        server.should_exit = True
        await asyncio.wait_for(task, 10)


async def test_uvicorn_disturbs_an_answer_under_way_when_garbage_follows_its_request() -> None:
    go = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
        await send({"type": "http.response.body", "body": b"ab", "more_body": True})
        await go.wait()
        await send({"type": "http.response.body", "body": b"cd"})

    async with _plain(app) as client:
        await client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        await client.head()
        assert await client.reader.readexactly(2) == b"ab"
        await client.send(b"\0garbage\r\n\r\n")
        assert (await client.ended()).startswith(b"HTTP/1.1 400")
        go.set()


async def test_uvicorn_takes_a_half_close_for_the_end() -> None:
    gone = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        gone.set()

    async with _plain(app) as client:
        await client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        client.writer.write_eof()
        await asyncio.wait_for(gone.wait(), 10)


async def test_uvicorn_breaks_the_connection_of_an_answer_that_its_app_leaves_unfinished(expects_errors: None) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ab", "more_body": True})

    async with _plain(app) as client:
        await client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        answer = await client.answer()
        assert (answer.body, answer.complete) == (b"ab", False)
