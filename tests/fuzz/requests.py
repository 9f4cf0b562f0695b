"""Random streams of requests: well-formed ones in every spelling, and then a few bytes of harm."""

from itertools import pairwise
from random import Random

from tests.fuzz.world import MODEL

PATHS = (b"/v1/chat/completions", b"/v1/completions", b"/v1/embeddings")
OTHER_PATHS = (b"/v1/models", b"/healthz", b"/v1/models/tiny", b"/v1/chat/completions/", b"/none", b"/v1//completions")
METHODS = (b"GET", b"HEAD", b"OPTIONS", b"DELETE", b"PUT", b"PATCH", b"POST")
HARMLESS = (
    b"Accept: */*",
    b"User-Agent: fuzz/1",
    b"X-A:",
    b"X-B:   spaced \t",
    b"X-C: caf\xe9",
    b"x-tradewind-priority: standard",
    b"Traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    b"Connection: keep-alive",
    b"Connection: X-A, keep-alive",
    b"Content-Type: application/json",
    b"Cookie: a=b",
    b"Authorization: Bearer x",
    b"X-Forwarded-For: 10.0.0.1",
    b"Accept-Encoding: gzip",
    b"TE: trailers",
    b"!#$%&'*+-.^_`|~09aZ: odd name",
)
VERSIONS = (
    b"HTTP/1.0",
    b"HTTP/2.0",
    b"HTTP/0.9",
    b"HTTP/1.2",
    b"HTTP/3.1",
    b"http/1.1",
    b"HTTPS/1.1",
    b"RTSP/1.0",
    b"",
)
# Spliced in anywhere: what parsers are known to disagree on.
HARM = (
    b"\r\n", b"\n", b"\r", b"\0", b" ", b"\t", b"\r\n\r\n", b"\n\n", b":", b";", b",", b"\x0b", b"\x0c", b"\x7f",
    b"\xff", b"\x85", b"0\r\n\r\n", b"0", b"-", b"+", b"0x", b"_", b"\r\n ", b"\r\n\t",
    b"Content-Length: 0\r\n", b"Content-Length: 5\r\n", b"content-length:5\r\n", b"Content-Length: 5, 5\r\n",
    b"Content-Length:\r\n", b"Content-Length: +5\r\n", b"Content-Length: 0x5\r\n", b"Content-Length: 5 5\r\n",
    b"Content-Length : 5\r\n", b"Content-Length: 99999999999999999999\r\n", b"Content-Length: 05\r\n",
    b"Content_Length: 5\r\n", b"Content-Length\r\n", b"\r\nContent-Length: 5",
    b"Transfer-Encoding: chunked\r\n", b"transfer-encoding:chunked\r\n", b"Transfer-Encoding: Chunked\r\n",
    b"Transfer-Encoding: xchunked\r\n", b"Transfer-Encoding: chunked, identity\r\n", b"Transfer-Encoding: \r\n",
    b"Transfer-Encoding: gzip, chunked\r\n", b"Transfer-Encoding: identity\r\n", b"Transfer-Encoding : chunked\r\n",
    b"Transfer-Encoding: chunked\x0b\r\n", b"Transfer-Encoding:\tchunked\r\n", b"Transfer-Encoding: chunked,\r\n",
    b"X: y\r\nTransfer-Encoding: chunked\r\n", b"Transfer-Encoding: \"chunked\"\r\n",
    b"Transfer-Encoding: ,chunked\r\n",
    b"Host: a\r\n", b"Host: b\r\n", b"host:\r\n", b"Expect: 100-continue\r\n", b"Expect: 200-ok\r\n",
    b"Connection: close\r\n", b"Connection: upgrade\r\nUpgrade: h2c\r\n", b"Upgrade: websocket\r\n",
    b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQ\r\n",
    b"Connection: close, keep-alive\r\n", b"Connection: transfer-encoding\r\n", b"Connection: content-length\r\n",
    b" HTTP/1.1", b" HTTP/1.0", b" HTTP/1.2", b" HTTP/2.0", b" HTTP/0.9", b" HTTP/1.1 ", b" http/1.1", b" HTTP/11",
    b"GET / HTTP/1.1\r\nHost: smuggled\r\n\r\n", b"POST /v1/chat/completions HTTP/1.1\r\n", b"GET /v1/models",
    b"GET http://h/v1/models HTTP/1.1\r\n", b"CONNECT a:1 HTTP/1.1\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"ffffffffffffffff\r\n", b"5;ext=\"\r\n\"\r\n", b"5 \r\n", b"5;\n", b" 5\r\n", b"05\r\n", b"5\n",
    b"#", b"?", b"%", b"%00", b"*", b"//", b"\\", b"\"", b"a" * 300, b"X-Long: " + b"y" * 9000 + b"\r\n",
)  # fmt: skip


def request_stream(rng: Random) -> tuple[bytes, bool]:
    """A few requests behind each other, and whether no harm was done to them."""
    whole = bytearray()
    for _ in range(rng.choice((1, 1, 2, 2, 3, 5))):
        if rng.random() < 0.1:
            whole += b"\r\n"
        whole += one_request(rng)
    if rng.random() < 0.3:
        return bytes(whole), True
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        do_harm(rng, whole, HARM)
    return bytes(whole), False


def one_request(rng: Random) -> bytes:
    """A request that any strict server accepts."""
    mark = b"m%x" % rng.getrandbits(40)
    call = rng.random() < 0.7
    method = b"POST" if call else rng.choice(METHODS)
    path = rng.choice(PATHS) if call else rng.choice(OTHER_PATHS)
    if rng.random() < 0.1:
        path += rng.choice((b"?a=b", b"?", b"?a=%20&b"))
    if rng.random() < 0.05:
        path = b"http://door" + path
    lines = [b"%s %s HTTP/1.1" % (method, path)]
    headers = [cased(rng, b"Host") + b": door", cased(rng, b"X-Request-Id") + b": " + mark]
    headers += [line for line in HARMLESS if rng.random() < 0.1]
    if call:
        pad = b"x" * rng.choice((0, 1, 50, 3000))
        body = b'{"model":"%s","mark":"%s","pad":"%s"}' % (MODEL.encode(), mark, pad)
        if rng.random() < 0.1:
            body = rng.choice((b"", b"{}", b"[", b'{"model":"unknown"}', b'{"model":"tiny","model":"x"}', b"\xff"))
    else:
        body = b"b" * rng.choice((0, 0, 0, 5, 100)) if method not in (b"GET", b"HEAD") else b""
    framing, sent = framed(rng, body, bare=not body and not call)
    headers += framing
    if rng.random() < 0.08:
        headers.append(b"Connection: close")
    rng.shuffle(headers)
    return b"\r\n".join([*lines, *headers, b"", b""]) + sent


def framed(rng: Random, body: bytes, bare: bool = False) -> tuple[list[bytes], bytes]:
    """Header lines that frame a body, and the body as they say."""
    if bare and rng.random() < 0.5:
        return [], b""
    if rng.random() < 0.6:
        return [cased(rng, b"Content-Length") + b": %d" % len(body)], body
    return [cased(rng, b"Transfer-Encoding") + b": " + cased(rng, b"chunked")], chunks(rng, body)


def chunks(rng: Random, body: bytes) -> bytes:
    sent = bytearray()
    at = 0
    while at < len(body):
        size = rng.choice((1, 2, 7, 60, 2000))
        piece = body[at : at + size]
        form = rng.choice((b"%x", b"%X", b"00%x"))
        extension = rng.choice((b"", b"", b"", b";a=b", b';a="b c"'))
        sent += form % len(piece) + extension + b"\r\n" + piece + b"\r\n"
        at += size
    trailer = rng.choice((b"", b"", b"", b"X-Late: 1\r\n", b"Host: late\r\n"))
    return bytes(sent) + b"0\r\n" + trailer + b"\r\n"


def cased(rng: Random, word: bytes) -> bytes:
    return rng.choice((word, word, word.lower(), word.upper(), word.swapcase()))


def do_harm(rng: Random, data: bytearray, harm: tuple[bytes, ...]) -> None:
    """One small change: bytes spliced in, lost, flipped, doubled or moved; most often near the end of a line."""
    at = rng.randrange(len(data) + 1)
    if rng.random() < 0.6:
        line_end = data.find(b"\r\n", at)
        if line_end >= 0:
            at = line_end + rng.choice((0, 0, 1, 2, 2, 2, 2))
    if rng.random() < 0.03:
        data[:] = data.replace(b"HTTP/1.1", rng.choice(VERSIONS), 1)
        return
    match rng.randrange(10):
        case 0:
            del data[at : at + rng.choice((1, 1, 2, 3, 20))]
        case 1 if at < len(data):
            data[at] ^= 1 << rng.randrange(8)
        case 2 if at < len(data):
            data[at] = rng.randrange(256)
        case 3:
            start = rng.randrange(len(data) + 1)
            data[at:at] = data[start : start + rng.choice((1, 4, 30, 200))]
        case 4:
            line_start = data.rfind(b"\r\n", 0, at) + 2
            line_end = data.find(b"\r\n", at)
            if line_start >= 2 and line_end > line_start:
                data[at if rng.random() < 0.2 else line_start : line_start] = data[line_start : line_end + 2]
        case 5:
            del data[at:]
        case _:
            data[at:at] = rng.choice(harm)


def segments(rng: Random, data: bytes) -> list[bytes]:
    """The same bytes, cut as a network might."""
    match rng.randrange(30):
        case kind if kind < 10:
            return [data]
        case 10 if len(data) < 2000:
            return [data[at : at + 1] for at in range(len(data))]
        case _:
            places = sorted({0, len(data), *(rng.randrange(len(data) + 1) for _ in range(rng.choice((1, 2, 5, 12))))})
            return [data[start:end] for start, end in pairwise(places)]
