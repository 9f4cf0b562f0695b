"""Random answers of clusters: well-formed ones in every framing, and then a few bytes of harm."""

from random import Random

from tests.fuzz.requests import cased, chunks, do_harm

HARM = (
    b"\r\n", b"\n", b"\r", b"\0", b" ", b"\t", b"\r\n\r\n", b":", b"\x7f", b"\xff", b"0\r\n\r\n", b"0", b"-",
    b"Content-Length: 0\r\n", b"Content-Length: 5\r\n", b"Content-Length: 5, 5\r\n", b"Content-Length: +5\r\n",
    b"Content-Length: \r\n", b"Content-Length: 99999999999999999999\r\n", b"Content-Length : 5\r\n",
    b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: gzip, chunked\r\n", b"Transfer-Encoding: gzip\r\n",
    b"Transfer-Encoding: xchunked\r\n", b"Transfer-Encoding: identity\r\n", b"Transfer-Encoding : chunked\r\n",
    b"Connection: close\r\n", b"Connection: keep-alive\r\n", b"Connection: X-Mark\r\n", b"Upgrade: h2c\r\n",
    b"Connection: upgrade\r\nUpgrade: h2c\r\n", b"Content-Type: text/event-stream\r\n", b"Set-Cookie: a=b\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nContent-Length: 9\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nsmuggled", b"HTTP/1.0 200 OK\r\n", b"HTTP/2.0 200 OK\r\n",
    b"HTTP/1.1 204 No Content\r\n", b"HTTP/1.1 304 Not Modified\r\n", b"HTTP/1.1 999 X\r\n", b"HTTP/1.1 20 X\r\n",
    b"HTTP/1.1 200\r\n", b"HTTP/1.1  200 OK\r\n", b"HTTP/1.1 2000 OK\r\n", b"ICY 200 OK\r\n", b"\r\n folded\r\n",
    b"ffffffffffffffff\r\n", b"5\n", b"5 \r\n", b" 5\r\n", b"-1\r\n", b"X: " + b"y" * 9000 + b"\r\n",
)  # fmt: skip


def answer_stream(rng: Random, mark: bytes) -> tuple[bytes, bool]:
    """One answer, and whether no harm was done to it."""
    data = bytearray()
    for _ in range(rng.choice((0, 0, 0, 0, 1, 2))):
        data += rng.choice((b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"))
    data += one_answer(rng, mark)
    if rng.random() < 0.3:
        return bytes(data), True
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        do_harm(rng, data, HARM)
    return bytes(data), False


def one_answer(rng: Random, mark: bytes) -> bytes:
    """An answer that any strict client accepts."""
    stream = rng.random() < 0.3
    status = 200 if stream else rng.choice((200, 200, 200, 201, 204, 400, 404, 422, 304))
    lines = [b"HTTP/1.1 %d %s" % (status, rng.choice((b"OK", b"", b"A long reason \xe9")))]
    headers = [b"X-Mark: " + mark]
    if stream:
        event = b"data: %s\n\n" % mark
        body = event * rng.choice((1, 2, 5)) + rng.choice((b"data: [DONE]\n\n", b"data: [DONE]\r\n\r\n"))
        headers.append(b"Content-Type: text/event-stream")
    else:
        body = mark * rng.choice((0, 1, 1, 50, 200))
        headers.append(b"Content-Type: application/json")
    sent = b""
    if status not in (204, 304):
        match rng.randrange(5):
            case 0 | 1:
                headers.append(cased(rng, b"Content-Length") + b": %d" % len(body))
                sent = body
            case 2 | 3:
                headers.append(cased(rng, b"Transfer-Encoding") + b": " + cased(rng, b"chunked"))
                sent = chunks(rng, body)
            case _:
                headers.append(b"Connection: close")
                sent = body
    headers += [line for line in (b"Server: x", b"X-B:  b \t", b"Connection: keep-alive") if rng.random() < 0.1]
    rng.shuffle(headers)
    return b"\r\n".join([*lines, *headers, b"", b""]) + sent
