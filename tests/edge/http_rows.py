"""What is answered to what, row by row: the table of docs/http.md, each row with the bytes that show it.

`python -m tests.edge.http_rows` writes the table into the page; a test plays every row and
compares the page with it.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from router.settings import EdgeSettings, TimeoutSettings
from tests.edge.harness import (
    CHAT,
    STREAM_HEAD,
    Answer,
    Hangs,
    RawClient,
    Request,
    Script,
    Stage,
    chunk,
    completion,
    get,
    head,
    post,
    raw,
    sse,
    streams,
    then_closes,
    then_resets,
    until,
)

PAGE = Path(__file__).parents[2] / "docs/http.md"
BOUNDS = EdgeSettings(body_bytes_max=10_000, headers_bytes_max=4096, headers_max=30)
TIMES = TimeoutSettings(body_s=0.3, first_byte_s=0.5, keep_alive_s=20)
PAGE_ORIGIN = "https://app.example.com"

Play = Callable[[Stage], Awaitable[str]]


@dataclass(frozen=True)
class Row:
    """One kind of request, or of an answer of a cluster; what comes of it; and how to see that."""

    what: str
    answered: str
    play: Play
    cors: bool = False  # With `cors_origins`.
    roomy: bool = False  # With the bounds of production.

    @property
    def edge(self) -> EdgeSettings:
        return EdgeSettings() if self.roomy else BOUNDS

    @property
    def cors_origins(self) -> tuple[str, ...]:
        return (PAGE_ORIGIN,) if self.cors else ()

    @property
    def line(self) -> str:
        return f"| {self.what} | {self.answered} |"


# Requests.


def lines(*headers: str, body: bytes = b"", line: str = f"POST {CHAT} HTTP/1.1") -> bytes:
    return "\r\n".join([line, *headers, "", ""]).encode("latin-1") + body


GOOD = b'{"model":"tiny"}'
CHUNKED = chunk(GOOD) + b"0\r\n\r\n"
LENGTH = "Content-Length: 16"
DONE = "data: [DONE]"


def sent(*requests: bytes, method: str = "POST") -> Play:
    """Each on a connection of its own, with another request behind it; all must be answered alike."""

    async def play(here: Stage) -> str:
        seen = {await _answer_to(here, request, method) for request in requests}
        assert len(seen) == 1, seen
        return seen.pop()

    return play


async def _answer_to(here: Stage, request: bytes, method: str) -> str:
    before = len(here.near.requests)
    client = await here.client()
    await client.send(request + get("/healthz"))
    answer = await client.answer(head_only=method == "HEAD")
    said = _told(answer, head_only=method == "HEAD")
    if answer.status == 200 and len(here.near.requests) > before:
        said = "served"
    return f"{said}, {await _connection(client)}"


def _told(answer: Answer, head_only: bool = False) -> str:
    if answer.status < 400:
        return str(answer.status)
    return str(answer.status) if head_only else f"{answer.status} `{answer.code}`"


async def _connection(client: RawClient) -> str:
    """Whether the request behind is answered."""
    try:
        behind = await client.answer()
    except asyncio.IncompleteReadError as error:
        return "connection closed" if not error.partial else f"connection closed behind {error.partial!r}"
    assert behind.json == {"status": "ok"}
    return "connection kept"


async def expects(here: Stage) -> str:
    headers, body = post(headers=[("Expect", "100-continue")]).split(b"\r\n\r\n", 1)
    client = await here.client()
    await client.send(headers + b"\r\n\r\n")
    status, _ = await client.head()
    await client.send(body + get("/healthz"))
    assert (await client.answer()).status == 200
    return f"{status}, then served, {await _connection(client)}"


async def pipelined(here: Stage) -> str:
    client = await here.client()
    await client.send(post() + get("/v1/models") + post() + get("/healthz"))
    assert (await client.answer()).body == completion("near")
    assert (await client.answer()).json["object"] == "list"
    assert (await client.answer()).body == completion("near")
    return f"answered in order, {await _connection(client)}"


async def old_stream(here: Stage) -> str:
    here.near.plays(streams(*sse("a")))
    client = await here.client()
    await client.send(post(version="1.0", stream=True))
    answer = await client.answer()
    assert answer.body == b"".join(sse("a"))
    assert "transfer-encoding" not in answer
    return "served, ends with the connection"


async def silent_client(here: Stage) -> str:
    client = await here.client()
    assert await client.ended() == b""
    return "connection closed without a word"


def slow(first: bytes) -> Play:
    async def play(here: Stage) -> str:
        client = await here.client()
        await client.send(first)
        answer = await client.answer()
        assert await client.ended() == b""
        return f"{_told(answer)}, connection closed"

    return play


async def fin_while_waiting(here: Stage) -> str:
    hangs = Hangs()
    here.near.plays(hangs)
    client = await here.client()
    await client.send(post())
    await here.near.received()
    client.writer.write_eof()
    await hangs.abandoned()
    assert await client.ended() == b""
    assert here.attempts() == {("near", "cancelled"): 1}
    return "gone: the cluster's work is aborted, connection closed"


async def garbage_behind(here: Stage) -> str:
    first, last = sse("a")
    hangs = Hangs(STREAM_HEAD + chunk(first), chunk(last) + b"0\r\n\r\n")
    here.near.plays(hangs)
    client = await here.client()
    await client.send(post(stream=True))
    await client.head()
    assert await client.chunk() == first
    await client.send(b"\x00\x01 garbage\r\n\r\n" + get("/healthz"))
    await asyncio.sleep(0.05)
    hangs.go.set()
    assert await client.chunk() == last
    assert await client.chunk() is None
    assert await client.ended() == b""
    return "the answer under way is finished undisturbed, then connection closed"


async def headers_that_stay(here: Stage) -> str:
    private = ["Authorization", "X-API-Key", "Cookie", "Forwarded", "X-Forwarded-For", "Proxy-Authorization", "TE"]
    private += ["Keep-Alive", "X-Tradewind-Origin", "X-Real-IP", "Via", "Origin", "X-Hop"]
    headers = [(name, "secret") for name in private] + [("Connection", "keep-alive, X-Hop"), ("X-Mine", "1")]
    said = await _answer_to(here, post(headers=headers), "POST")
    got = here.near.requests[0].headers
    assert "secret" not in got.values()
    assert got["x-mine"] == "1"
    return f"{said}; none of them goes to a cluster"


async def trailers_up(here: Stage) -> str:
    body = chunk(GOOD) + b"0\r\nX-Late: 1\r\nX-Tradewind-Origin: lies\r\n\r\n"
    said = await _answer_to(here, lines("Host: a", "Transfer-Encoding: chunked", body=body), "POST")
    assert here.near.requests[0].body == GOOD
    assert "x-late" not in here.near.requests[0].headers
    return f"{said}; the trailers are dropped"


async def preflight_allowed(here: Stage) -> str:
    asked = [("Origin", PAGE_ORIGIN), ("Access-Control-Request-Method", "POST")]
    asked += [("Access-Control-Request-Headers", "authorization,content-type")]
    client = await here.client()
    await client.send(get(CHAT, asked, method="OPTIONS") + get("/healthz"))
    answer = await client.answer()
    assert answer["access-control-allow-origin"] == PAGE_ORIGIN
    assert "POST" in answer["access-control-allow-methods"]
    assert answer["access-control-allow-headers"] == "authorization,content-type"
    assert "access-control-allow-credentials" not in answer
    return f"{answer.status} with what the page may do, {await _connection(client)}"


async def cross_origin_call(here: Stage) -> str:
    answer = await here.ask(post(headers=[("Origin", PAGE_ORIGIN)]))
    refused = await here.ask(post(b"{}", headers=[("Origin", PAGE_ORIGIN)]))
    stranger = await here.ask(post(headers=[("Origin", "https://other.example.com")]))
    assert (answer.status, refused.status, stranger.status) == (200, 400, 200)
    assert answer["access-control-allow-origin"] == refused["access-control-allow-origin"] == PAGE_ORIGIN
    assert "access-control-allow-origin" not in stranger
    assert answer["vary"] == stranger["vary"] == "origin"
    return "served, and readable by that page, errors too; never with credentials"


async def cluster_speaks_cors(here: Stage) -> str:
    here.near.plays(raw(head(200, {"access-control-allow-origin": "*", "content-length": "2"}) + b"{}"))
    answer = await here.ask(post(headers=[("Origin", PAGE_ORIGIN), ("Content-Type", "text/plain")]))
    assert not [name for name, _ in answer.headers if name.startswith("access-control")]
    assert "origin" not in here.near.requests[0].headers
    return "served, and readable by no page, whatever the cluster allows"


FILLER = [("X-A", "a" * 1000)] * 5
DEEP = b'{"model":"tiny","a":' + b"[" * 3_000 + b"]" * 3_000 + b"}"

REQUESTS = (
    Row(
        "`Content-Length` twice, equal or not",
        "400 `bad_http`, connection closed",
        sent(lines("Host: a", LENGTH, LENGTH, body=GOOD), lines("Host: a", LENGTH, "Content-Length: 17", body=GOOD)),
    ),
    Row(
        "`Content-Length` with `Transfer-Encoding`",
        "400 `bad_http`, connection closed",
        sent(
            lines("Host: a", LENGTH, "Transfer-Encoding: chunked", body=CHUNKED),
            lines("Host: a", "Transfer-Encoding: chunked", LENGTH, body=CHUNKED),
        ),
    ),
    Row(
        "`Content-Length` with a sign, not a number, or beyond 64 bits",
        "400 `bad_http`, connection closed",
        sent(
            *(lines("Host: a", f"Content-Length: {odd}", body=GOOD) for odd in ("+16", "1_6", "16,16", "0x10", 2**64))
        ),
    ),
    Row(
        "`Transfer-Encoding` other than one `chunked`",
        "400 `bad_http`, connection closed",
        sent(
            *(
                lines("Host: a", *(f"Transfer-Encoding: {value}" for value in values), body=CHUNKED)
                for values in (("gzip, chunked",), ("gzip",), ("identity",), ("xchunked",), ("chunked", "chunked"))
            )
        ),
    ),
    Row(
        "the same on a path that is no call",
        "400 `bad_http`, connection closed",
        sent(
            lines("Host: a", "Transfer-Encoding: gzip, chunked", body=CHUNKED, line="POST /v1/models HTTP/1.1"),
            lines("Host: a", "Transfer-Encoding: chunked", body=CHUNKED, line="POST /v1/models HTTP/1.0"),
            lines("Host: a", "Host: b", line="GET /v1/models HTTP/1.1"),
            lines("X: y", line="GET /v1/models HTTP/1.1"),
        ),
    ),
    Row(
        "`Transfer-Encoding` in HTTP/1.0",
        "400 `bad_http`, connection closed",
        sent(lines("Host: a", "Transfer-Encoding: chunked", body=CHUNKED, line=f"POST {CHAT} HTTP/1.0")),
    ),
    Row(
        "a chunk whose size is no hexadecimal number, or that is not followed by CRLF",
        "400 `bad_http`, connection closed",
        sent(
            *(
                lines("Host: a", "Transfer-Encoding: chunked", body=body)
                for body in (b"zz\r\n{}\r\n0\r\n\r\n", b"2\r\n{}XX0\r\n\r\n", b"-2\r\n{}\r\n0\r\n\r\n", b"2\n{}\n0\n\n")
            )
        ),
    ),
    Row("trailers", "served, connection kept; the trailers are dropped", trailers_up),
    Row(
        "a folded header line (obs-fold)",
        "400 `bad_http`, connection closed",
        sent(
            lines("Host: a", "A: b", " folded", LENGTH, body=GOOD), lines("Host: a", "A: b", "\tc", LENGTH, body=GOOD)
        ),
    ),
    Row(
        "a header name with another character than a token's, or a space before the colon",
        "400 `bad_http`, connection closed",
        sent(
            *(
                lines("Host: a", odd, LENGTH, body=GOOD)
                for odd in ("A b: c", "A\x7f: b", "A(: b", ": b", "A : b", "\xe9: b")
            )
        ),
    ),
    Row(
        "NUL or another control character in a header, a bare CR or LF",
        "400 `bad_http`, connection closed",
        sent(*(lines("Host: a", odd, LENGTH, body=GOOD) for odd in ("A: b\0c", "A: b\x0bc", "A: b\rc", "A: b\nB: c"))),
    ),
    Row(
        "no `Host`, or two",
        "400 `bad_http`, connection closed",
        sent(lines(LENGTH, body=GOOD), lines("Host: a", "Host: b", LENGTH, body=GOOD)),
    ),
    Row(
        "no `Host` in HTTP/1.0, as some health checks do, on a path that is no call",
        "200, connection closed",
        sent(lines("X: y", line="GET /healthz HTTP/1.0")),
    ),
    Row(
        "`Authorization`, `X-Request-Id` or another header that we read, twice",
        "400 `bad_http`, connection closed",
        sent(
            lines("Host: a", "Authorization: a", "Authorization: b", LENGTH, body=GOOD),
            lines("Host: a", "X-Request-Id: a", "X-Request-Id: b", LENGTH, body=GOOD),
            lines("Host: a", "X-Tradewind-Regions: a", "X-Tradewind-Regions: b", LENGTH, body=GOOD),
        ),
    ),
    Row(
        "a head above 64 KiB, or with more than 100 headers",
        "431 `headers_too_large`, connection closed",
        sent(post(headers=FILLER), post(headers=[("A", "b")] * 31), post(path="/" + "a" * 5000)),
    ),
    Row(
        "a body declared above 32 MiB",
        "413 `body_too_large`, connection closed",
        sent(
            lines("Host: a", "Content-Length: 10001"), lines("Host: a", "Content-Length: 10001", "Expect: 100-continue")
        ),
    ),
    Row(
        "a chunked body that grows above 32 MiB: refused while it is read",
        "413 `body_too_large`, connection closed",
        sent(lines("Host: a", "Transfer-Encoding: chunked", body=chunk(b"x" * 10_001))),
    ),
    Row("`Expect: 100-continue`", "100, then served, connection kept", expects),
    Row(
        "`Expect: 100-continue` on a request that is refused by its head",
        "400 `bad_http`, connection closed",
        sent(lines(LENGTH, "Expect: 100-continue")),
    ),
    Row(
        "`Expect` of anything else: no business of ours, and not passed on",
        "served, connection kept",
        sent(post(headers=[("Expect", "200-ok")])),
    ),
    Row("pipelined requests, of calls and others", "answered in order, connection kept", pipelined),
    Row("HTTP/1.0", "served, connection closed", sent(post(version="1.0"))),
    Row("a stream for HTTP/1.0", "served, ends with the connection", old_stream),
    Row(
        "another version of HTTP",
        "400 `bad_http`, connection closed",
        sent(
            *(
                lines("Host: a", LENGTH, body=GOOD, line=f"POST {CHAT} HTTP/{odd}")
                for odd in ("2.0", "0.9", "1.2", "3")
            ),
            lines("Host: a", line="GET /healthz HTTP/2.0"),
            b"GET /healthz\r\nHost: a\r\n\r\n",
        ),
    ),
    Row(
        "a target that is neither a path nor a URL, or a path with other characters than a URL's",
        "400 `bad_http`, connection closed",
        sent(*(lines("Host: a", line=f"GET {odd} HTTP/1.1") for odd in ("a", "/a\0", "/a\x7f", "/\xe9", ""))),
    ),
    Row(
        "the target `*`",
        "404 `not_found`, connection kept",
        sent(*(lines("Host: a", line=f"{odd} * HTTP/1.1") for odd in ("GET", "OPTIONS"))),
    ),
    Row("a target in absolute form", "served, connection kept", sent(post(path=f"http://elsewhere{CHAT}"))),
    Row(
        "a path of a call with its letters escaped",
        "served, connection kept",
        sent(post(path="/%761/chat/completions")),
    ),
    Row(
        "GET, PUT, PATCH, DELETE, OPTIONS on the path of a call",
        "405 `method_not_allowed`, connection kept",
        sent(*(get(CHAT, method=method) for method in ("GET", "PUT", "PATCH", "DELETE", "OPTIONS"))),
    ),
    Row("HEAD on the path of a call", "405, connection kept", sent(get(CHAT, method="HEAD"), method="HEAD")),
    Row("HEAD of `/healthz`", "200, connection kept", sent(get("/healthz", method="HEAD"), method="HEAD")),
    Row("CONNECT", "400 `bad_http`, connection closed", sent(lines("Host: a", line="CONNECT a:443 HTTP/1.1"))),
    Row(
        "a preflight (CORS) while `cors_origins` is empty",
        "405 `method_not_allowed`, connection kept",
        sent(get(CHAT, [("Origin", PAGE_ORIGIN), ("Access-Control-Request-Method", "POST")], method="OPTIONS")),
    ),
    Row(
        "a call of a web page while `cors_origins` is empty",
        "served, and readable by no page, whatever the cluster allows",
        cluster_speaks_cors,
    ),
    Row(
        "a preflight of a page that `cors_origins` names",
        "204 with what the page may do, connection kept",
        preflight_allowed,
        cors=True,
    ),
    Row(
        "a preflight of another page",
        "405 `method_not_allowed`, connection kept",
        sent(get(CHAT, [("Origin", "https://other"), ("Access-Control-Request-Method", "POST")], method="OPTIONS")),
        cors=True,
    ),
    Row(
        "a call of a page that `cors_origins` names",
        "served, and readable by that page, errors too; never with credentials",
        cross_origin_call,
        cors=True,
    ),
    Row("a head that is not complete after 30 s", "408 `request_timeout`, connection closed", slow(post()[:30])),
    Row("a body that is not complete after 30 s", "408 `request_timeout`, connection closed", slow(post()[:-3])),
    Row("a connection that never says a word", "connection closed without a word", silent_client),
    Row(
        "a FIN while a call waits or streams",
        "gone: the cluster's work is aborted, connection closed",
        fin_while_waiting,
    ),
    Row(
        "bytes behind a complete request that are no request",
        "the answer under way is finished undisturbed, then connection closed",
        garbage_behind,
    ),
    Row(
        "`Upgrade` (h2c, websocket) on a call, or on any request with a body",
        "400 `bad_http`, connection closed",
        sent(
            lines("Host: a", "Connection: Upgrade", "Upgrade: h2c", LENGTH, body=GOOD),
            lines("Host: a", "Connection: Upgrade", "Upgrade: websocket", LENGTH, body=GOOD),
            lines("Host: a", "Connection: Upgrade", "Upgrade: h2c", LENGTH, body=GOOD, line="POST /v1/models HTTP/1.1"),
        ),
    ),
    Row(
        "`Upgrade` on another request without a body",
        "200, connection closed",
        sent(
            get("/v1/models", [("Connection", "Upgrade, HTTP2-Settings"), ("Upgrade", "h2c"), ("HTTP2-Settings", "AA")])
        ),
    ),
    Row(
        "HTTP/2 by prior knowledge, or TLS, on a plain port",
        "400 `bad_http`, connection closed",
        sent(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    ),
    Row(
        "a JSON field that we decide on twice, in any spelling",
        "400 `bad_body`, connection kept",
        sent(
            post(b'{"model":"tiny","model":"other"}'),
            post(b'{"model":"tiny","\\u006dodel":"other"}'),
            post(b'{"model":"tiny","stream":true, "stream":false}'),
            post(b'{"max_tokens":1,"model":"tiny","max_tokens":2}'),
        ),
    ),
    Row("JSON nested thousands deep", "400 `bad_body`, connection kept", sent(post(DEEP))),
    Row(
        "a body that is not UTF-8, no JSON object, or empty",
        "400 `bad_body`, connection kept",
        sent(post(b'{"model":"tiny","a":"\xff"}'), post(b"[]"), post(b"{"), post(b"")),
    ),
    Row(
        "a compressed body (`Content-Encoding`): what cannot be read cannot be routed",
        "415 `encoded_body`, connection closed",
        sent(*(post(b"\x1f\x8b\x08", headers=[("Content-Encoding", odd)]) for odd in ("gzip", "br", "zstd", "x"))),
    ),
    Row(
        "`Content-Encoding: identity`",
        "served, connection kept",
        sent(post(headers=[("Content-Encoding", "identity")])),
    ),
    Row(
        "credentials, cookies, hop-by-hop headers, and names by which one could pose as a proxy or as us",
        "served, connection kept; none of them goes to a cluster",
        headers_that_stay,
    ),
)

# Answers of clusters.

OK = head(200, {"content-type": "application/json", "content-length": "5"})
JSON_CHUNKED = head(200, {"content-type": "application/json", "transfer-encoding": "chunked"})
LONG = b"x" * 300_000  # Beyond what is held back.
EVENT, LAST = sse("a")


def says(*scripts: Script, stream: bool = False) -> Play:
    """Each script on a stage that has not seen the others; all must end alike."""

    async def play(here: Stage) -> str:
        seen = set()
        for script in scripts:
            seen.add(await _outcome(here, script, stream))
        assert len(seen) == 1, seen
        return seen.pop()

    return play


async def _outcome(here: Stage, script: Script, stream: bool) -> str:
    before = here.attempts()
    for pool in here.door.pools.values():
        pool.close_idle()
    await until(lambda: here.near.open == 0, "earlier connections are gone")
    here.near.plays(script, raw(OK + b"again"))
    connections = here.near.connections
    answer = await here.ask(post(stream=stream))
    held = [
        kind
        for (name, kind), count in here.attempts().items()
        if name == "near" and count > before.get((name, kind), 0)
    ]
    said = _came(answer)
    if said.startswith("passed on"):
        again = await here.ask(post(stream=stream))
        assert again.body == b"again", again
        said += ", connection kept" if here.near.connections == connections + 1 else ", connection not used again"
    return f"{said} (`{held[0]}`)"


def _came(answer: Answer) -> str:
    if "x-tradewind-cluster" not in answer:
        return _told(answer)
    if answer["x-tradewind-cluster"] != "near":
        return "next cluster"
    if not answer.complete:
        return "connection to the client broken"
    if b'"stream_broken"' in answer.body:
        assert b"[DONE]" not in answer.body
        return "stream ends with an error event"
    return "passed on"


async def closed_under_us(here: Stage) -> str:
    """The cluster closes a resting connection in the very moment in which a call takes it."""
    await here.ask(post())
    (resting,) = here.door.pools["near"].idle

    async def once(request: Request) -> None:
        if request.connection == 1:
            request.writer.close()
            raise ConnectionResetError
        await request.send(OK + b"fresh")

    here.near.plays(once)
    answer = await here.ask(post())
    assert resting.transport.is_closing()
    assert (answer.body, answer["x-tradewind-cluster"], answer["x-tradewind-attempts"]) == (b"fresh", "near", "1")
    assert here.attempts() == {("near", "served"): 2}
    return "once more on a fresh connection to the same cluster, held against nobody"


async def speaks_unasked(here: Stage) -> str:
    ended = asyncio.Event()

    async def again(request: Request) -> None:
        await request.send(OK + b"first")
        await asyncio.sleep(0.05)
        await request.send(OK + b"other")
        await request.gone()
        ended.set()
        raise ConnectionResetError

    here.near.plays(again, raw(OK + b"again"))
    assert (await here.ask(post())).body == b"first"
    await asyncio.wait_for(ended.wait(), 10)
    assert (await here.ask(post())).body == b"again"
    return "connection closed, the bytes dropped"


async def answers_early(here: Stage) -> str:
    """The cluster answers when it has the head, and reads no more of a body that fills every buffer."""

    async def early(reader: Any, writer: Any) -> None:
        if here.near.connections > 1:
            return
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.pause_reading()
        writer.write(head(413, {"content-length": "5"}) + b"early")
        await until(lambda: here.attempts(), "the answer has been taken")
        raise ConnectionResetError

    here.near.on_connect = early
    answer = await here.ask(post(padding="x" * 20_000_000))
    assert (answer.status, answer.body) == (413, b"early")
    assert (await here.ask(post())).status == 200
    assert here.near.connections == 2
    return "passed on, connection not used again"


ANSWERS = (
    Row(
        "a head that is no HTTP/1.x, or has a bad line",
        "next cluster (`bad_answer`)",
        says(
            *(
                raw(odd)
                for odd in (
                    b"garbage\r\n\r\n",
                    b"HTTP/2.0 200 OK\r\ncontent-length: 0\r\n\r\n",
                    b"HTTP/1.1 OK\r\n\r\n",
                    b"HTTP/1.1 200 OK\r\na b: c\r\ncontent-length: 0\r\n\r\n",
                    b"HTTP/1.1 200 OK\r\na: b\r\n folded\r\ncontent-length: 0\r\n\r\n",
                    b"HTTP/1.1 200 OK\r\na: b\0c\r\ncontent-length: 0\r\n\r\n",
                )
            )
        ),
    ),
    Row(
        "a head above 64 KiB, or without end",
        "next cluster (`bad_answer`)",
        says(
            raw(head(200, {"a": "b" * 70_000, "content-length": "0"})), raw(b"HTTP/1.1 200 OK\r\na: " + b"b" * 70_000)
        ),
    ),
    Row(
        "two lengths, a length with `Transfer-Encoding`, an encoding other than one `chunked`, or one in HTTP/1.0",
        "next cluster (`bad_answer`)",
        says(
            *(
                raw(head(200, pairs) + chunk(b"hello") + b"0\r\n\r\n")
                for pairs in (
                    [("content-length", "5"), ("content-length", "6")],
                    [("content-length", "5"), ("transfer-encoding", "chunked")],
                    [("transfer-encoding", "chunked"), ("content-length", "5")],
                    [("transfer-encoding", "gzip, chunked")],
                    [("transfer-encoding", "gzip"), ("transfer-encoding", "chunked")],
                    [("transfer-encoding", "gzip")],
                    [("transfer-encoding", "chunked\t")],
                )
            ),
            raw(b"HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + chunk(b"hello") + b"0\r\n\r\n"),
        ),
    ),
    Row(
        "a switch of protocols that nobody asked for (101)",
        "next cluster (`bad_answer`)",
        says(raw(head(101, {"upgrade": "h2c", "connection": "upgrade"}) + OK + b"hello")),
    ),
    Row(
        "a bad chunk before anything has gone to the client",
        "next cluster (`bad_answer`)",
        says(raw(JSON_CHUNKED + chunk(b"he") + b"zz\r\n"), raw(JSON_CHUNKED + b"2\r\nheXX")),
    ),
    Row(
        "a bad chunk in a stream that has begun",
        "stream ends with an error event (`broken`)",
        says(then_closes(STREAM_HEAD + chunk(EVENT), later=b"zz\r\n"), stream=True),
    ),
    Row(
        "an end before the length, or before the last chunk, while the answer is held back",
        "next cluster (`reset`)",
        says(then_closes(OK + b"hel"), then_resets(OK + b"hel"), then_closes(JSON_CHUNKED + chunk(b"he"))),
    ),
    Row(
        "an end of a stream before its last chunk",
        "stream ends with an error event (`broken`)",
        says(then_closes(STREAM_HEAD + chunk(EVENT)), then_resets(STREAM_HEAD + chunk(EVENT)), stream=True),
    ),
    Row(
        "an end before the length of a long answer that has begun",
        "connection to the client broken (`broken`)",
        says(then_closes(head(200, {"content-length": "400000"}) + LONG)),
    ),
    Row(
        "bytes behind a complete answer",
        "passed on, connection not used again (`served`)",
        says(raw(OK + b"hello" + OK + b"other")),
    ),
    Row("bytes on a connection that carries no call", "connection closed, the bytes dropped", speaks_unasked),
    Row(
        "no length: the answer ends with its connection",
        "passed on, connection not used again (`served`)",
        says(then_closes(head(200, {"a": "b"}) + b"hello")),
    ),
    Row(
        "a stream without a length that ends with its connection and without `[DONE]`",
        "stream ends with an error event (`broken`)",
        says(then_closes(head(200, {"content-type": "text/event-stream"}) + EVENT), stream=True),
    ),
    Row(
        "100 or 103 before the answer",
        "passed on, connection kept (`served`)",
        says(
            raw(b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"hello"),
            raw(b"HTTP/1.1 103 X\r\nlink: a\r\n\r\n" * 2 + OK + b"hello"),
        ),
    ),
    Row(
        "trailers and chunk extensions: dropped",
        "passed on, connection kept (`served`)",
        says(raw(JSON_CHUNKED + b"5;a=b\r\nhello\r\n0\r\nX-Late: 1\r\n\r\n")),
    ),
    Row(
        "HTTP/1.0, or `Connection: close`",
        "passed on, connection not used again (`served`)",
        says(
            raw((OK + b"hello").replace(b"HTTP/1.1", b"HTTP/1.0")),
            raw(head(200, {"connection": "close", "content-length": "5"}) + b"hello"),
        ),
    ),
    Row(
        "an answer before the request's body has been sent",
        "passed on, connection not used again",
        answers_early,
        roomy=True,
    ),
    Row(
        "a kept connection that is closed as a call takes it",
        "once more on a fresh connection to the same cluster, held against nobody",
        closed_under_us,
    ),
    Row(
        "no answer in time",
        "next cluster (`first_byte_timeout`)",
        says(raw(b""), raw(b"HTTP/1.1 200 OK\r\ncontent-le")),
    ),
)

BEGIN, END = "<!-- {name}: written by `python -m tests.edge.http_rows` -->", "<!-- end of {name} -->"


def table(rows: tuple[Row, ...], first: str, second: str) -> str:
    return "\n".join([f"| {first} | {second} |", "|---|---|", *(row.line for row in rows)])


def written(page: str) -> str:
    """The page with both tables as they stand here."""
    for name, rows, second in (("requests", REQUESTS, "answered"), ("answers", ANSWERS, "what comes of it")):
        begin, end = BEGIN.format(name=name), END.format(name=name)
        before, _, rest = page.partition(begin)
        _, _, after = rest.partition(end)
        assert rest, f"{begin} is missing"
        first = "request" if name == "requests" else "a cluster's answer"
        page = f"{before}{begin}\n{table(rows, first, second)}\n{end}{after}"
    return page


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text()))
