"""Many calls at once, interleaved at random: nobody ever gets a byte of anyone else's.

Every request bears a mark, every answer is made of its request's mark, and a client checks
each answer against the mark that it sent at that place. Around them: clients that leave, read
slowly, pipeline, half-close; clusters that refuse, cut, stall, answer before the request has
arrived, say too much; connections kept alive and used again on both sides.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from tests.fuzz.answer_side import COMMENT
from tests.fuzz.reference import Incomplete, Invalid, Message, read_answer
from tests.fuzz.requests import chunks, framed, segments
from tests.fuzz.world import MODEL, REGIONS, ClientEnd, ClusterEnd, World, world

CLIENTS = 12
CALLS_PER_CLIENT = 12
TURNS_MAX = 400
LIVELY_TURNS = 120  # Then time runs faster: what is left waits for a time-out.
TURN_S = 0.02
PATHS = (b"/v1/chat/completions", b"/v1/completions", b"/v1/embeddings")
_MARK = re.compile(rb"<([0-9a-z-]+)>")
EVENT_END = b"data: [DONE]\n\n"
ERROR_EVENT = b'data: {"error":'


@dataclass
class Counts:
    """What one run saw, so that it can be told that it saw something."""

    calls: int = 0
    answers: int = 0
    complete: int = 0
    streams: int = 0
    broken: int = 0
    errors: int = 0
    cancelled: int = 0
    upstream_connections: int = 0

    def saw(self, answer: Message, complete: bool) -> None:
        """One answer."""
        stream = answer.all(b"content-type") == [b"text/event-stream"]
        self.answers += 1
        self.streams += stream
        if not complete or (stream and ERROR_EVENT in answer.body):
            self.broken += 1
        elif answer.status in (200, 422):
            self.complete += 1
        else:
            self.errors += 1

    def add(self, other: "Counts") -> None:
        for name in vars(other):
            setattr(self, name, getattr(self, name) + getattr(other, name))


@dataclass
class Conversation:
    """One client: what it sends, and how."""

    end: ClientEnd
    marks: list[bytes]
    outbox: list[bytes]
    slow: bool
    leaves_after: int  # Bytes received; a large number: never.
    pipelines: bool
    sent: int = 0  # Requests whose last segment has been sent.
    at: int = 0  # Of what was received, read so far.
    read: int = 0  # Answers read.
    looked_at: int = 0  # Bytes received when it was looked at last.
    left: bool = False
    faults: list[str] = field(default_factory=list)


class Fleet:
    """The clusters' side: what becomes of each request is drawn by chance."""

    def __init__(self, rng: Random) -> None:
        self.rng = rng

    def __call__(self, end: ClusterEnd, request: Message) -> None:
        mark = request.one(b"x-request-id")
        in_body = set(_MARK.findall(request.body))
        if in_body != {mark}:
            end.world.wrong(f"the request of {mark!r} bears the marks {in_body}")
        self.answer(end, mark)

    def early(self, end: ClusterEnd, heard: bytes) -> None:
        """Now and then: answer as soon as the head is there, while the body still comes."""
        head, blank, _ = heard.partition(b"\r\n\r\n")
        if not blank or end.answered_early or self.rng.random() > 0.02:
            return
        found = re.search(rb"\r\nx-request-id: ([^\r]+)", head)
        if found is None:
            return
        end.answered_early = True  # Whatever of the request still comes is read and thrown away.
        end.said(*segments(self.rng, marked_answer(self.rng, found[1])[0]))

    def answer(self, end: ClusterEnd, mark: bytes) -> None:
        rng = self.rng
        chance = rng.random()
        whole, ends_with_connection = marked_answer(rng, mark)
        loop = end.world.loop
        if chance < 0.02:
            end.transport.reset()  # Not a word.
            return
        if chance < 0.05:
            status = rng.choice((b"503 X", b"429 X", b"500 X", b"404 X", b"502 X"))
            end.done()
            end.said(b"HTTP/1.1 %s\r\ncontent-length: %d\r\n\r\n<%s>" % (status, len(mark) + 2, mark))
            return
        if chance < 0.12:
            cut = whole[: rng.randrange(len(whole))]
            ways = (end.transport.reset, end.transport.reset if ends_with_connection else end.transport.feed_eof)
            self._trickle(end, segments(rng, cut), rng.choice(ways))  # A FIN would be such an answer's proper end.
            return
        if chance < 0.14:
            end.said(whole[: rng.randrange(len(whole))])  # And nothing more, ever.
            return
        pieces = [piece for piece in segments(rng, whole) if piece]
        if chance < 0.16 and not ends_with_connection:
            # In one segment with the end: an answer that comes once another call is under way looks like that call's.
            pieces[-1] += b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n<stranger>"

        def done() -> None:
            end.done()
            if ends_with_connection:
                end.transport.feed_eof()
            elif rng.random() < 0.05:
                loop.call_later(rng.random() * 0.2, end.close_under_whoever)

        if rng.random() < 0.5:
            end.done()  # The answer may be read, and the next request come, in one turn.
            end.said(*pieces)
            if ends_with_connection:
                end.transport.feed_eof()
        else:
            self._trickle(end, pieces, done)

    def _trickle(self, end: ClusterEnd, pieces: list[bytes], then: Callable[[], None]) -> None:
        """Piece by piece, over some time. The end is settled before the last piece: its answer may be at once."""
        rng, loop = self.rng, end.world.loop
        at = 0.0
        pieces = [piece for piece in pieces if piece]
        pieces[100:] = [b"".join(pieces[100:])] if len(pieces) > 100 else []
        for number, piece in enumerate(pieces):
            at += rng.random() * 0.01
            if number == len(pieces) - 1:
                loop.call_later(at, self._last, end, piece, then)
            else:
                loop.call_later(at, end.said, piece)
        if not pieces:
            loop.call_soon(then)

    @staticmethod
    def _last(end: ClusterEnd, piece: bytes, then: Callable[[], None]) -> None:
        end.said(piece)
        then()


def marked_answer(rng: Random, mark: bytes) -> tuple[bytes, bool]:
    """An answer made of its mark, in some framing; and whether it ends with its connection."""
    lines = [rng.choice((b"HTTP/1.1 200 OK", b"HTTP/1.1 200 OK", b"HTTP/1.1 422 X")), b"x-mark: " + mark]
    stream = rng.random() < 0.4
    if stream:
        body = b"data: <%s>\n\n" % mark * rng.choice((1, 3, 30)) + EVENT_END
        lines[0] = b"HTTP/1.1 200 OK"
        lines.append(b"content-type: text/event-stream")
    else:
        body = b"<%s>" % mark * rng.choice((1, 1, 20, 3_000, 30_000 if rng.random() < 0.1 else 1))
    interim = b"HTTP/1.1 103 Early Hints\r\nx-mark: interim\r\n\r\n" if rng.random() < 0.05 else b""
    match rng.randrange(6):
        case 0:
            lines.append(b"connection: close")
            return interim + b"\r\n".join([*lines, b"", b""]) + body, True
        case 1 | 2 if len(body) < 20_000:
            lines.append(b"transfer-encoding: chunked")
            return interim + b"\r\n".join([*lines, b"", b""]) + chunks(rng, body), False
        case _:
            lines.append(b"content-length: %d" % len(body))
            return interim + b"\r\n".join([*lines, b"", b""]) + body, False


def run(seed: int, rounds: range) -> tuple[list[str], Counts]:
    """Rounds of a seed, each with clients of its own before the same front door; what went wrong, and the counts."""
    counts = Counts()
    found: list[str] = []
    rng = Random(f"desync {seed}")
    fleet = Fleet(rng)
    with world(seed, fleet) as here:
        here.early = fleet.early
        here.refused_ratio = 0.02
        here.slow_ratio = 0.1
        for number in rounds:
            rng.seed(f"desync {seed} {number}")
            here.rng.seed(f"world {seed} {number}")
            faults = one_round(here, rng, f"{number:x}", counts)
            if faults:
                found.append(f"seed {seed} round {number}: " + "; ".join(faults[:5]))
                break
    return found, counts


def one_round(here: World, rng: Random, name: str, counts: Counts) -> list[str]:
    here.forget()
    here.loop.escaped.clear()
    before = len(here.ends)
    talks = [_conversation(here, rng, f"{name}-{number}") for number in range(CLIENTS)]
    for turn in range(TURNS_MAX):
        lively = turn < LIVELY_TURNS
        _turn(here, rng, talks, lively)
        here.loop.pass_time(rng.random() * (TURN_S if lively else 100 * TURN_S))
        if not lively or turn % 50 == 49:
            here.sweep()
        if all(talk.left or talk.end.gone or (not talk.outbox and talk.read == talk.sent) for talk in talks):
            break
    for talk in talks:
        _read(talk, counts)
        counts.calls += talk.sent
        counts.cancelled += talk.left
        if not talk.end.gone:
            talk.end.transport.take_all()
        talk.end.transport.reset()
    here.loop.settle()
    counts.upstream_connections += len(here.ends) - before
    faults = [fault for talk in talks for fault in talk.faults] + here.faults + here.loop.escaped
    if not faults:
        faults = here.left_behind()
    if rng.random() < 0.2:
        for end in here.ends:
            end.transport.reset()  # Else the next round uses these connections.
        here.loop.settle()
    return faults


def _conversation(here: World, rng: Random, name: str) -> Conversation:
    marks: list[bytes] = []
    outbox: list[bytes] = []
    for number in range(rng.choice((1, 3, CALLS_PER_CLIENT))):
        mark = f"{name}-{number}".encode()
        marks.append(mark)
        pad = b"<%s>" % mark * rng.choice((1, 1, 1, 100, 6_000 if rng.random() < 0.2 else 1))
        lines = [b"Host: door", b"x-request-id: " + mark]
        if rng.random() < 0.1:
            line = rng.choice((b"GET /v1/models HTTP/1.1", b"DELETE /v1/files/1 HTTP/1.1"))
            sent = b""
        else:
            line = b"POST %s HTTP/1.1" % rng.choice(PATHS)
            framing, sent = framed(rng, b'{"model":"%s","prompt":"%s"}' % (MODEL.encode(), pad))
            lines += framing
            if rng.random() < 0.05:
                lines.append(b"Expect: 100-continue")
        pieces = segments(rng, b"\r\n".join([line, *lines, b"", b""]) + sent)
        outbox += [piece for piece in pieces[:-1] if piece]
        outbox.append(pieces[-1])
        outbox.append(b"")  # The request ends here.
    slow = rng.random() < 0.25
    return Conversation(
        ClientEnd(here, takes=not slow),
        marks,
        outbox,
        slow,
        rng.randrange(3_000) if rng.random() < 0.2 else 1 << 60,
        rng.random() < 0.5,
    )


def _turn(here: World, rng: Random, talks: list[Conversation], lively: bool) -> None:
    """Some clients send, some read, some leave; some clusters read."""
    for talk in rng.sample(talks, k=len(talks)):
        end = talk.end
        if end.gone or talk.left or (not talk.outbox and talk.read == talk.sent):
            continue
        if len(end.received) >= talk.leaves_after:
            talk.left = True
            rng.choice((end.transport.reset, end.transport.feed_eof))()
            continue
        for _ in range(rng.choice((0, 1, 3, 20))):
            if not talk.outbox or (not talk.pipelines and talk.sent > talk.read):
                break
            piece = talk.outbox.pop(0)
            if piece:
                end.transport.feed(piece)
            if talk.outbox[0] == b"":
                talk.outbox.pop(0)
                talk.sent += 1
        if talk.slow and rng.random() < 0.7:
            end.transport.take(rng.choice((1, 100, 5_000, 200_000)) if lively else 1 << 30)
        _read(talk, None)
    for cluster in here.ends[-50:]:
        if rng.random() < 0.5:
            cluster.transport.take(rng.choice((1, 1_000, 100_000)) if lively else 1 << 30)


def _read(talk: Conversation, counts: Counts | None) -> None:
    """Read what answers there are, strictly, each against the mark at its place."""
    ended = talk.end.gone
    if counts is not None:
        talk.at = talk.read = 0  # From the beginning: what was read while it came must read the same now.
    elif len(talk.end.received) == talk.looked_at:
        return  # Nothing new.
    talk.looked_at = len(talk.end.received)
    data = bytes(talk.end.received)
    while talk.at < len(data):
        try:
            answer = read_answer(data, talk.at, ended=ended)
            complete = True
        except Incomplete as error:
            if counts is None or error.message is None:
                return
            answer, complete = error.message, False
        except Invalid as error:
            talk.faults.append(f"no answer ({error}): {data[talk.at :][:200]!r}")
            return
        if talk.read >= len(talk.marks):
            talk.faults.append(f"an answer to nothing: {data[talk.at :][:200]!r}")
            return
        mark = talk.marks[talk.read]
        talk.faults += differences(mark, answer, complete)
        if counts is not None:
            counts.saw(answer, complete)
        if not complete:
            return
        talk.at = answer.end
        talk.read += 1


def differences(mark: bytes, answer: Message, complete: bool) -> list[str]:
    """What of an answer is not of its request's mark, or not what a cluster sent."""
    found = []
    strangers = set(_MARK.findall(answer.body.replace(b"<%s>" % mark, b"")))
    if strangers:
        found.append(f"{mark!r} got bytes of {strangers}")
    given = answer.all(b"x-request-id") + answer.all(b"x-mark")
    if any(value != mark for value in given):
        found.append(f"{mark!r} got the head of {given}")
    clusters = answer.all(b"x-tradewind-cluster")
    if clusters and clusters[0].decode() not in REGIONS:
        found.append(f"from {clusters}")
    if not clusters or answer.status not in (200, 422):
        return found
    body = COMMENT.sub(b"", answer.body)
    if answer.all(b"content-type") == [b"text/event-stream"]:
        body = body.split(ERROR_EVENT)[0].removesuffix(EVENT_END)
        unit = b"data: <%s>\n\n" % mark
    else:
        unit = b"<%s>" % mark
    whole = unit * (len(body) // len(unit))
    if not complete and not (whole + unit).startswith(body):
        body = _without_torn_error(body)
        whole = unit * (len(body) // len(unit))
    if not (body == whole if complete else (whole + unit).startswith(body)):
        found.append(f"{mark!r} got {body[:100]!r} ... {body[-100:]!r}")
    return found


def _without_torn_error(body: bytes) -> bytes:
    """What stands before an error event of which only the beginning came: its client left in the middle of it."""
    for length in range(len(ERROR_EVENT) - 1, 0, -1):
        if body.endswith(ERROR_EVENT[:length]):
            return body[:-length]
    return body
