"""One call that will be made: its bytes, how its client behaves, and what must come back. Pure.

What the emulated model server says is a function of the request, so the text is known before.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from hashlib import blake2b
from random import Random
from typing import Any

from federation.lab.answer import Answer, answer
from federation.lab.messages import MessagesRequest
from federation.lab.request import ChatRequest, CompletionRequest, Generation, read
from federation.lab.text import Place, key_of, place_in_chat, place_in_completion
from tests.app.fleet import MODEL, REGIONS

LARGE_BYTES = 256 * 1024
UPLOAD_BYTES = (2 * 1024 * 1024, 6 * 1024 * 1024)
RECORDING = Random(8).randbytes(UPLOAD_BYTES[1])
LONG = "港口貿易船海灯 " * (LARGE_BYTES // 43)  # Escaped 6 bytes a character, so that it is long and has few tokens.
BOUNDARY = "soak-soak-soak"
VECTOR_TEXTS, VECTOR_NUMBERS = 12, 4096  # About a megabyte of numbers.
LIMIT_OF_ITSELF = 10_000  # Above any length at which an answer ends by itself.


class Kind(StrEnum):
    """What is called, and how."""

    CHAT = "chat"
    CHAT_STREAM = "chat, streamed"
    COMPLETION = "completion"
    COMPLETION_STREAM = "completion, streamed"
    TOOLS_STREAM = "chat with tools, streamed"
    EMBEDDINGS = "embeddings"
    MESSAGES = "messages"
    MESSAGES_STREAM = "messages, streamed"
    LARGE = "256 KB prompt"
    LARGE_STREAM = "256 KB prompt, streamed"
    UPLOAD = "audio upload"
    LEAVER = "leaves in the middle"
    SLOW_STREAM = "slow reader of a stream"
    SLOW_VECTORS = "slow reader of 1 MB"
    PIPELINED = "pipelined"
    BAD = "bad request"


WEIGHTS = {
    Kind.CHAT: 16,
    Kind.CHAT_STREAM: 26,
    Kind.COMPLETION: 6,
    Kind.COMPLETION_STREAM: 10,
    Kind.TOOLS_STREAM: 3,
    Kind.EMBEDDINGS: 8,
    Kind.MESSAGES: 5,
    Kind.MESSAGES_STREAM: 5,
    Kind.LARGE: 2,
    Kind.LARGE_STREAM: 1,
    Kind.UPLOAD: 1,
    Kind.LEAVER: 6,
    Kind.SLOW_STREAM: 2,
    Kind.SLOW_VECTORS: 1,
    Kind.PIPELINED: 3,
    Kind.BAD: 5,
}

RESUMABLE = frozenset({Kind.CHAT_STREAM, Kind.COMPLETION_STREAM, Kind.LARGE_STREAM, Kind.LEAVER, Kind.SLOW_STREAM})


@dataclass(frozen=True, slots=True)
class Ask:
    """See the module's docstring. `text`, `tokens`: of the answer; None: it has none."""

    kind: Kind
    path: str
    body: bytes
    stream: bool = False
    text: str | None = None
    tokens: int | None = None
    vectors: int = 0
    status: int = 200
    method: str = "POST"
    headers: tuple[tuple[str, str], ...] = ()
    authorized: bool = True
    leaves_after: float | None = None  # Of the text, this share; 0: before the first byte.
    origin: str = ""
    request_id: str = ""
    then: tuple["Ask", ...] = field(default=())  # On the same connection, sent at once.

    @property
    def resumable(self) -> bool:
        return self.kind in RESUMABLE

    def raw(self, key: str, *, keep_alive: bool) -> bytes:
        """The request as it goes out."""
        given = {name.lower() for name, _ in self.headers}
        lines = [f"{self.method} {self.path} HTTP/1.1", "Host: door", f"X-Client-Region: {self.origin}"]
        lines.append(f"X-Request-Id: {self.request_id}")
        if self.authorized:
            lines.append(f"Authorization: Bearer {key}")
        if "content-type" not in given:
            lines.append("Content-Type: application/json")
        if not keep_alive and not self.then:
            lines.append("Connection: close")
        lines += [f"Content-Length: {len(self.body)}", *(f"{name}: {value}" for name, value in self.headers), "", ""]
        return "\r\n".join(lines).encode() + self.body + b"".join(one.raw(key, keep_alive=True) for one in self.then)


def ask(number: int, seed: int) -> Ask:
    """Call `number` of a run."""
    rng = Random(f"{seed} {number}")
    kind = rng.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
    made = _MAKERS[kind](kind, number, rng)
    return replace(made, origin=rng.choice(REGIONS), request_id=f"soak-{number}")


def _json(**fields: Any) -> bytes:
    return json.dumps({"model": MODEL, **fields}).encode()


def _length(rng: Random) -> int:
    """Most answers are short, some are long enough to meet a fault."""
    return rng.randint(150, 400) if rng.random() < 0.1 else rng.randint(5, 80)


def _stream_fields(rng: Random, stream: bool) -> dict[str, Any]:
    if not stream:
        return {}
    return {"stream": True, "stream_options": {"include_usage": True}} if rng.random() < 0.5 else {"stream": True}


def _planned(place: Place, request: Generation) -> Answer:
    return answer(place, request.token_limit() or LIMIT_OF_ITSELF, request.stop_strings(), request.ignore_eos)


def _chat(kind: Kind, number: int, rng: Random, **more: Any) -> Ask:
    stream = kind is not Kind.CHAT and kind is not Kind.LARGE and kind is not Kind.PIPELINED
    prompt = f"Tell me about ship number {number}."
    if kind in (Kind.LARGE, Kind.LARGE_STREAM):
        prompt = LONG + prompt
    fields: dict[str, Any] = {"messages": [{"role": "user", "content": prompt}], "max_tokens": _length(rng)}
    fields |= {"ignore_eos": rng.random() < 0.7} | _stream_fields(rng, stream) | more
    body = _json(**fields)
    request = read(body, ChatRequest)
    planned = _planned(place_in_chat(request.conversation()[0], "", 0), request)
    return Ask(kind, "/v1/chat/completions", body, stream, planned.text, planned.tokens)


def _completion(kind: Kind, number: int, rng: Random) -> Ask:
    stream = kind is Kind.COMPLETION_STREAM
    body = _json(prompt=f"Ship number {number} sailed", max_tokens=_length(rng), **_stream_fields(rng, stream))
    request = read(body, CompletionRequest)
    planned = _planned(place_in_completion(request.prompts()[0], 0), request)
    return Ask(kind, "/v1/completions", body, stream, planned.text, planned.tokens)


def _messages(kind: Kind, number: int, rng: Random) -> Ask:
    stream = kind is Kind.MESSAGES_STREAM
    said = [{"role": "user", "content": f"Where is ship number {number}?"}]
    body = _json(messages=said, max_tokens=_length(rng), **({"stream": True} if stream else {}))
    request = read(body, MessagesRequest)
    planned = _planned(place_in_chat(request.conversation()[0], "", 0), request.generation())
    return Ask(kind, "/v1/messages", body, stream, planned.text, planned.tokens)


def _tools(kind: Kind, number: int, rng: Random) -> Ask:
    return _chat(kind, number, rng, tools=[{"type": "function", "function": {"name": "locate", "parameters": {}}}])


def _embeddings(kind: Kind, number: int, rng: Random) -> Ask:
    many = kind is Kind.SLOW_VECTORS
    texts = [f"ship {number}.{index}" for index in range(VECTOR_TEXTS if many else rng.randint(1, 4))]
    more = {"dimensions": VECTOR_NUMBERS} if many else {}
    return Ask(kind, "/v1/embeddings", _json(input=texts, **more), vectors=len(texts))


def _upload(kind: Kind, number: int, rng: Random) -> Ask:
    sound = b"%d" % number + RECORDING[: rng.randint(*UPLOAD_BYTES)]
    model = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="model"\r\n\r\n{MODEL}\r\n'.encode()
    opening = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'.encode()
    body = model + opening + sound + f"\r\n--{BOUNDARY}--\r\n".encode()
    digest = blake2b(sound, digest_size=16).hexdigest()
    planned = answer(Place(key_of(f"<audio {digest}>", 0), ""), LIMIT_OF_ITSELF)
    headers = (("Content-Type", f"multipart/form-data; boundary={BOUNDARY}"),)
    return Ask(kind, "/v1/audio/transcriptions", body, False, planned.text, None, headers=headers)


def _leaver(kind: Kind, number: int, rng: Random) -> Ask:
    return replace(_chat(kind, number, rng), leaves_after=rng.choice((0.0, rng.random())))


def _pipelined(kind: Kind, number: int, rng: Random) -> Ask:
    first, *rest = (_chat(kind, number + shift, rng) for shift in range(3))
    then = tuple(replace(one, request_id=f"soak-{number}-{index}") for index, one in enumerate(rest, 2))
    return replace(first, then=then)


def _bad(kind: Kind, number: int, rng: Random) -> Ask:
    good = _chat(Kind.CHAT, number, rng)
    path = good.path
    choices = (
        Ask(kind, path, b'{"model": ', status=400),
        Ask(kind, path, good.body, status=401, authorized=False),
        Ask(kind, path, _json(messages=[]), status=400),  # The model server's own refusal.
        Ask(kind, path, good.body.replace(MODEL.encode(), b"nobodys-model"), status=404),
        Ask(kind, path, good.body[:-1] + b', "model": "another"}', status=400),
        Ask(kind, path, good.body, status=400, headers=(("Content-Length", "3"),)),
        Ask(kind, path, good.body, status=400, headers=(("X-Tradewind-Deadline-Ms", "soon"),)),
        Ask(kind, path, good.body, status=415, headers=(("Content-Encoding", "gzip"),)),
        Ask(kind, path, b"", status=405, method="GET"),
        Ask(kind, "/v1/nothing", good.body, status=404),
    )
    return rng.choice(choices)


_MAKERS: dict[Kind, Callable[[Kind, int, Random], Ask]] = {
    **dict.fromkeys((Kind.CHAT, Kind.CHAT_STREAM, Kind.LARGE, Kind.LARGE_STREAM, Kind.SLOW_STREAM), _chat),
    **dict.fromkeys((Kind.COMPLETION, Kind.COMPLETION_STREAM), _completion),
    **dict.fromkeys((Kind.MESSAGES, Kind.MESSAGES_STREAM), _messages),
    **dict.fromkeys((Kind.EMBEDDINGS, Kind.SLOW_VECTORS), _embeddings),
    Kind.TOOLS_STREAM: _tools,
    Kind.UPLOAD: _upload,
    Kind.LEAVER: _leaver,
    Kind.PIPELINED: _pipelined,
    Kind.BAD: _bad,
}
