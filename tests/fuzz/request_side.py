"""Requests: what the front door makes of a client's bytes, against what a strict reader makes of them.

It may refuse what the strict reader takes (with an answer, or by closing); never the reverse.
What it acts on must be that very request: method, target, headers, body. Answers come one a
request, in order, well formed; nothing behind a fault or a closing answer is served.
"""

import re
from collections.abc import Callable, Iterable
from random import Random

from tests.fuzz.reference import Incomplete, Invalid, Message, read_answer, read_request
from tests.fuzz.requests import request_stream, segments
from tests.fuzz.world import ClientEnd, ClusterEnd, Taken, World, world

PATHS = (b"/v1/chat/completions", b"/v1/completions", b"/v1/embeddings")
# What the documentation says of headers: these stay here, whatever else goes on.
KEPT_HERE = frozenset(
    b"connection keep-alive proxy-authenticate proxy-authorization proxy-connection te trailer transfer-encoding"
    b" upgrade host content-length expect authorization api-key x-api-key cookie accept-encoding forwarded via"
    b" x-real-ip x-client-region x-request-id origin content-encoding".split()
)
KEPT_HERE_PREFIXES = (b"x-tradewind-", b"x-forwarded-", b"proxy-", b"x-gateway-", b"x-llm-d-", b"x-envoy-")
OURS = (b"host", b"x-request-id", b"x-tradewind-origin", b"content-length")


def answers_with_mark(end: ClusterEnd, request: Message) -> None:
    mark = request.all(b"x-request-id")[0]
    end.done()
    end.said(b"HTTP/1.1 200 OK\r\nx-mark: %s\r\ncontent-length: %d\r\n\r\n%s" % (mark, len(mark), mark))


def run_cases(seed: int, cases: range, faults_max: int = 1, shrinks: bool = True) -> list[str]:
    """Run these cases of a seed; sentences on what went wrong."""
    found: list[str] = []
    with world(seed, answers_with_mark) as here:
        for case in cases:
            rng = Random(f"request {seed} {case}")
            stream, unharmed = request_stream(rng)
            faults = check(here, stream, segments(rng, stream), unharmed, rng.choice(("wait", "wait", "eof", "reset")))
            if faults:
                kind = kind_of(faults)
                small = stream if not shrinks else shrunk(stream, lambda data, kind=kind: _fails(seed, data, kind))  # type: ignore[misc]
                found.append(f"seed {seed} case {case}: {'; '.join(faults)}\n    {small!r}")
                if len(found) >= faults_max:
                    break
    return found


def kind_of(faults: list[str]) -> str:
    """What sort of fault it is, less its particulars."""
    return re.sub(r"[(:0-9].*", "", faults[0]) if faults else ""


def shrunk(stream: bytes, fails: Callable[[bytes], bool]) -> bytes:
    """The stream with everything left out that the fault does not need, if it is seen in one segment too."""
    if not fails(stream):
        return stream
    size = max(1, len(stream) // 2)
    while size:
        at = 0
        while at < len(stream):
            shorter = stream[:at] + stream[at + size :]
            if fails(shorter):
                stream = shorter
            else:
                at += size
        size //= 2
    return stream


def _fails(seed: int, data: bytes, kind: str) -> bool:
    with world(seed, answers_with_mark) as here:
        return kind_of(check(here, data, [data], False, "wait")) == kind


def check(here: World, stream: bytes, pieces: list[bytes], unharmed: bool, ending: str) -> list[str]:
    """Send a stream; what is wrong with what came of it."""
    here.forget()
    here.loop.escaped.clear()
    client = here.now_serving = ClientEnd(here)
    for piece in filter(None, pieces):
        client.transport.feed(piece)
    here.loop.settle()
    expected, rest = read_all(stream)
    if ending == "eof":
        client.transport.feed_eof()
        here.loop.settle()
    elif ending == "reset":
        client.transport.reset()
    if not client.gone:
        here.pass_time(8.0)  # Longer than anything may take that is not answered yet.
    faults = judge(here, client, expected, rest, unharmed)
    client.transport.reset()
    here.loop.settle()
    if not faults:
        faults = here.left_behind()
    return faults + here.loop.escaped


def read_all(stream: bytes) -> tuple[list[Message], str]:
    """Every request that the stream holds for certain, and what stands behind them."""
    found: list[Message] = []
    at = 0
    while True:
        if not stream[at:].strip(b"\r\n"):
            return found, "nothing" if found else "empty lines"
        try:
            message = read_request(stream, at)
        except Incomplete:
            return found, "incomplete"
        except Invalid as error:
            return found, f"invalid ({error})"
        found.append(message)
        at = message.end


def judge(here: World, client: ClientEnd, expected: list[Message], rest: str, unharmed: bool) -> list[str]:
    faults = list(here.faults)
    answers: list[Message] = []
    received = bytes(client.received)
    at = 0
    while at < len(received):
        method = expected[len(answers)].method if len(answers) < len(expected) else b"POST"
        try:
            answer = read_answer(received, at, method, ended=client.gone)
        except Incomplete as error:
            if error.message is None and received[at:] == b"HTTP/1.1 100 Continue\r\n\r\n":
                break
            faults.append(f"half an answer: {received[at:][:200]!r}")
            break
        except Invalid as error:
            faults.append(f"an answer that is none ({error}): {received[at:][:200]!r}")
            break
        answers.append(answer)
        at = answer.end
        if answer.all(b"connection") == [b"close"]:
            if at < len(received):
                faults.append(f"bytes behind a closing answer: {received[at:][:80]!r}")
            break
    may_be_told = len(expected) + (0 if rest == "nothing" else 1)
    if len(answers) > may_be_told:
        faults.append(f"{len(answers)} answers to {len(expected)} requests and {rest}")
    ends = [answer.end for answer in answers]
    seen = -1
    for taken in here.taken:
        index = sum(1 for end in ends if end <= taken.answered_bytes)
        if index <= seen:
            faults.append(f"request {index} was acted on twice")
        seen = index
        if index >= len(expected):
            faults.append(f"acted on what is no request ({rest}): {_told(taken.request)}")
        else:
            faults += _differences(taken, expected[index])
            if index < len(answers) and answers[index].status != 200:
                faults.append(f"acted on and answered {answers[index].status}")
    acted_on = {sum(1 for end in ends if end <= taken.answered_bytes) for taken in here.taken}
    for index, answer in enumerate(answers):
        if answer.status == 200 and index not in acted_on:
            faults.append(f"answer {index} is of nobody's making")
        if answer.status >= 500:
            faults.append(f"answer {index} is a {answer.status}")
        if index >= len(expected) and not 400 <= answer.status < 500:
            faults.append(f"{answer.status} for {rest}")
    if unharmed and not client.protocol.transport.is_closing() and len(answers) < len(expected):
        faults.append(f"{len(answers)} answers to {len(expected)} good requests")
    return faults


def _told(message: Message) -> str:
    return f"{message.method!r} {message.target!r} {message.headers} {message.body[:80]!r}"


def _differences(taken: Taken, expected: Message) -> list[str]:
    request = taken.request
    found = []
    target = path_of(expected.target)
    if taken.where == "app":
        pairs = {
            "method": (request.method, expected.method),
            "target": (request.target, target),
            "headers": (_stripped(request.headers), expected.headers),
            "version": (request.minor, expected.minor),
            "body": (request.body, expected.body),
        }
    else:
        named = {word.strip().lower() for value in expected.all(b"connection") for word in value.split(b",")}
        goes_on = tuple(
            (name, value)
            for name, value in expected.headers
            if name not in KEPT_HERE and not name.startswith(KEPT_HERE_PREFIXES) and name not in named
        )
        path = target.partition(b"?")[0]
        pairs = {
            "method": (request.method, expected.method),
            "target": (request.target, expected.target.partition(b"#")[0] if path in PATHS else None),
            "headers": (_stripped(pair for pair in request.headers if pair[0] not in OURS), goes_on),
            "body": (request.body, expected.body),
        }
        if sorted(name for name, _ in request.headers if name in OURS) != sorted(OURS):
            found.append(f"our own headers: {request.headers}")
    found += [f"{what} is {got!r}, not {want!r}" for what, (got, want) in pairs.items() if got != want]
    return [f"{taken.where}: {difference}" for difference in found]


def _stripped(headers: Iterable[tuple[bytes, bytes]]) -> tuple[tuple[bytes, bytes], ...]:
    """White space around a value is no part of it; whether it is kept is nobody's business."""
    return tuple((name, value.strip(b" \t")) for name, value in headers)


def path_of(target: bytes) -> bytes:
    """Path and query of a target in origin or absolute form."""
    if not target.startswith(b"/"):
        scheme, separator, rest = target.partition(b"://")
        if separator and scheme.isalpha():
            slash = min((at for at in (rest.find(b"/"), rest.find(b"?")) if at >= 0), default=len(rest))
            target = rest[slash:]
    path, question, query = target.partition(b"#")[0].partition(b"?")
    return path + (b"?" + query if question and query else b"")
