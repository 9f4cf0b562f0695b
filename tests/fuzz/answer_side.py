"""Answers: what the front door makes of a cluster's bytes, against what a strict reader makes of them.

A client sees an answer as complete only if the strict reader takes it for complete, and then
with the same status, headers and body. Anything else ends in another cluster's answer, an
error, an error event or a broken connection; and the next call gets its own answer.
"""

import re
from random import Random

from tests.fuzz.answers import answer_stream
from tests.fuzz.reference import Incomplete, Invalid, Message, read_answer
from tests.fuzz.request_side import kind_of, shrunk
from tests.fuzz.requests import segments
from tests.fuzz.world import ClientEnd, ClusterEnd, World, world

HIDDEN = frozenset(
    b"connection keep-alive proxy-authenticate proxy-authorization proxy-connection te trailer transfer-encoding"
    b" upgrade content-length set-cookie server alt-svc x-request-id".split()
)
HIDDEN_PREFIXES = (b"x-tradewind-", b"proxy-", b"x-envoy-", b"access-control-")
OURS = (b"x-request-id", b"x-accel-buffering", b"cache-control", b"content-length", b"transfer-encoding", b"connection")
ERROR_EVENT = b'data: {"error":'
COMMENT = re.compile(rb"(?m)^:[^\n]*\n\n")  # Keeps a quiet stream awake, and says nothing.
PASSED_ON_MAX = 500  # Statuses below are the client's business, but for these.
TRIED_ELSEWHERE = (401, 403, 404, 429)


class Cluster:
    """Answers the first call with the case's bytes, any other with its own mark."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.ending = "stay"
        self.first: bytes | None = None

    def __call__(self, end: ClusterEnd, request: Message) -> None:
        mark = request.one(b"x-request-id")
        end.done()
        if mark == b"first" and end.name == "near":
            end.said(*self.pieces)
            if self.ending == "eof":
                end.transport.feed_eof()
            elif self.ending == "reset":
                end.world.loop.call_later(0.01, end.transport.reset)
        else:
            end.said(b"HTTP/1.1 200 OK\r\nx-mark: %s\r\ncontent-length: %d\r\n\r\n%s" % (mark, len(mark), mark))


def run_cases(seed: int, cases: range, faults_max: int = 1, shrinks: bool = True) -> list[str]:
    """Run these cases of a seed; sentences on what went wrong."""
    found: list[str] = []
    cluster = Cluster()
    with world(seed, cluster) as here:
        for case in cases:
            rng = Random(f"answer {seed} {case}")
            stream, unharmed = answer_stream(rng, b"m%x" % rng.getrandbits(32))
            ending = rng.choice(("stay", "eof", "reset"))
            faults = check(here, cluster, stream, segments(rng, stream), ending, unharmed)
            if faults:
                kind = kind_of(faults)
                small = (
                    stream
                    if not shrinks
                    else shrunk(stream, lambda data, ending=ending, kind=kind: _fails(seed, data, ending, kind))
                )  # type: ignore[misc]
                found.append(f"seed {seed} case {case} {ending}: {'; '.join(faults)}\n    {small!r}")
                if len(found) >= faults_max:
                    break
    return found


def _fails(seed: int, data: bytes, ending: str, kind: str) -> bool:
    cluster = Cluster()
    with world(seed, cluster) as here:
        return kind_of(check(here, cluster, data, [data], ending, False)) == kind


def check(here: World, cluster: Cluster, stream: bytes, pieces: list[bytes], ending: str, unharmed: bool) -> list[str]:
    """One call that gets the stream for an answer, and another behind it; what is wrong with what came of it."""
    here.forget()
    here.loop.escaped.clear()
    cluster.pieces, cluster.ending = pieces, ending
    client = here.now_serving = ClientEnd(here)
    client.transport.feed(call(b"first") + call(b"second"))
    here.loop.pass_until_quiet(1.0)
    if not client.gone and client.received.count(b"x-request-id") < 2:
        here.pass_time(40.0)  # Longer than a cluster may be silent.
    faults = judge(here, bytes(client.received), client.gone, stream, ending, unharmed)
    client.transport.reset()
    here.loop.settle()
    for end in here.ends:
        end.transport.reset()  # What one case left in a pool must not decide the next.
    here.loop.settle()
    if not faults:
        faults = here.left_behind()
    return faults + here.loop.escaped


def call(mark: bytes) -> bytes:
    body = b'{"model":"tiny","stream":true}'
    return b"POST /v1/chat/completions HTTP/1.1\r\nHost: door\r\nX-Request-Id: %s\r\nContent-Length: %d\r\n\r\n%s" % (
        mark,
        len(body),
        body,
    )


def judge(here: World, received: bytes, gone: bool, stream: bytes, ending: str, unharmed: bool) -> list[str]:
    faults = list(here.faults)
    verdict, sent = verdict_on(stream, ending)
    try:
        first = read_answer(received, 0, ended=False)
    except Invalid as error:
        return [*faults, f"an answer that is none ({error}): {received[:200]!r}"]
    except Incomplete as error:
        if not gone:
            faults.append(f"half an answer and an open connection: {received[-200:]!r}")
        if verdict == "complete" and unharmed:
            faults.append(f"cut, though it was complete: {received[-200:]!r}")
        if error.message is not None:
            faults += _foreign(error.message, sent)
        return faults
    if first.one(b"x-request-id") != b"first":
        faults.append(f"the first answer is {first.one(b'x-request-id')!r}'s")
    clusters = first.all(b"x-tradewind-cluster")
    if clusters == [b"near"]:
        faults += _same(first, verdict, sent, unharmed)
    elif clusters and (first.status, first.body) != (200, b"first"):
        faults.append(f"{first.status} {first.body[:80]!r} from {clusters}")
    elif unharmed and verdict == "complete" and sent.status not in TRIED_ELSEWHERE:
        faults.append(f"a good answer was not passed on: {first.status} {first.body[:200]!r}")
    if gone and first.all(b"connection") != [b"close"]:
        faults.append("the connection was closed behind a complete answer")
    if not gone:
        second = read_answer(received, first.end)
        if (second.status, second.body, second.one(b"x-request-id")) != (200, b"second", b"second"):
            faults.append(f"the second answer is {received[first.end :][:300]!r}")
        if second.end != len(received):
            faults.append(f"bytes behind the second answer: {received[second.end :][:80]!r}")
    return faults


def verdict_on(stream: bytes, ending: str) -> tuple[str, Message]:
    """What the strict reader says of a cluster's bytes, and what it read of them."""
    try:
        return "complete", read_answer(stream, 0, ended=ending == "eof")
    except Invalid as error:
        return "invalid", error.message or Message()
    except Incomplete as error:
        return "incomplete", error.message or Message()


def _same(seen: Message, verdict: str, sent: Message, unharmed: bool) -> list[str]:
    broken = ERROR_EVENT in seen.body and seen.all(b"x-accel-buffering") == [b"no"]
    if broken and sent.status == seen.status and not (unharmed and verdict == "complete"):
        return _foreign(seen, sent)  # Said to be broken: no more than the strict reader would say, or less.
    if verdict != "complete":
        return [f"passed on as complete, but it is {verdict}: {seen.status} {seen.body[:80]!r}"]
    found = []
    if seen.status != sent.status:
        found.append(f"status {seen.status}, not {sent.status}")
    if seen.body != sent.body:
        found.append(f"body {seen.body[:80]!r}, not {sent.body[:80]!r}")
    named = {word.strip().lower() for value in sent.all(b"connection") for word in value.split(b",")}
    wanted = [
        (name, value)
        for name, value in sent.headers
        if name not in HIDDEN and not name.startswith(HIDDEN_PREFIXES) and name not in named and name not in OURS
    ]
    got = [(name, value) for name, value in seen.headers if name not in OURS and not name.startswith(b"x-tradewind-")]
    if got != wanted:
        found.append(f"headers {got}, not {wanted}")
    return found


def _foreign(seen: Message, sent: Message) -> list[str]:
    """Of a broken answer the client may have a beginning, and an error event behind it."""
    body, whole = COMMENT.sub(b"", seen.body).split(ERROR_EVENT)[0], COMMENT.sub(b"", sent.body)
    if not whole.startswith(body) and not whole.startswith(body.removesuffix(b"\n\n")):
        return [f"bytes that nobody sent: {body[:200]!r}, sent {whole[:200]!r}"]
    return []
