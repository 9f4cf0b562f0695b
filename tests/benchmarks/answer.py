"""The bytes with which the upstream answers, made once; and what of them must reach the client. Pure."""

import json

TEXT = "the harbour lay still under a low sky, and " * 9
WORD = " harbour"  # The content of every event.
MARK = WORD.encode()
MODEL = "m"
_ID = "chatcmpl-5f0d2c7be1a94b0e8f6a3d2b1c0e9f87"
_CHUNK = {"id": _ID, "object": "chat.completion.chunk", "created": 1_764_000_000, "model": MODEL}


def _compact(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def event(delta: dict[str, str], finish: str | None = None) -> bytes:
    """One event as a model server writes it."""
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish, "token_ids": None}
    return b"data: " + _compact({**_CHUNK, "choices": [choice], "usage": None}) + b"\n\n"


def chunk(data: bytes) -> bytes:
    """In an HTTP chunk of its own."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def sized(content_type: bytes, body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n%b" % (content_type, len(body), body)


PLAIN = _compact(
    {
        "id": _ID,
        "object": "chat.completion",
        "created": 1_764_000_000,
        "model": MODEL,
        "choices": [{"index": 0, "message": {"role": "assistant", "content": TEXT}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 500, "completion_tokens": 120, "total_tokens": 620},
    }
)
PLAIN_ANSWER = sized(b"application/json", PLAIN)
EMPTY_ANSWER = sized(b"application/json", b"{}")
# What routers ask a model server about itself.
MODELS_ANSWER = sized(
    b"application/json",
    _compact({"object": "list", "data": [{"id": MODEL, "object": "model", "max_model_len": 1_000_000}]}),
)
INFO_ANSWER = sized(
    b"application/json", _compact({"model_path": MODEL, "model_id": MODEL, "served_model_name": MODEL, "dp_size": 1})
)

STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
FIRST_EVENT = event({"role": "assistant", "content": ""})
EVENT = event({"content": WORD})
LAST_EVENT = event({}, "stop")
DONE = b"data: [DONE]\n\n"
STREAM_BEGIN = STREAM_HEAD + chunk(FIRST_EVENT)
EVENT_CHUNK = chunk(EVENT)
STREAM_END = chunk(LAST_EVENT) + chunk(DONE) + b"0\r\n\r\n"


def stream_body(events: int) -> bytes:
    """A whole stream as the client reads it."""
    return FIRST_EVENT + EVENT * events + LAST_EVENT + DONE


def text_of_plain(body: bytes) -> str | None:
    """The text of an answer that a proxy may have written anew; None where there is none."""
    try:
        return json.loads(body)["choices"][0]["message"]["content"]  # type: ignore[no-any-return]
    except (ValueError, KeyError, IndexError, TypeError):
        return None


def text_of_stream(body: bytes) -> str | None:
    """The text of a stream that a proxy may have written anew; None where it is broken or does not end."""
    events = [part.removeprefix(b"data: ") for part in body.split(b"\n\n") if part.strip()]
    if not events or events[-1] != b"[DONE]":
        return None
    try:
        deltas = [json.loads(one)["choices"][0]["delta"] for one in events[:-1]]
    except (ValueError, KeyError, IndexError, TypeError):
        return None
    return "".join(delta.get("content") or "" for delta in deltas)


def wrong(plain: bytes, stream: bytes, events: int, same_bytes: bool) -> str | None:
    """What is wrong with an answer and a stream of so many events; None: nothing. `same_bytes`: to the byte."""
    if same_bytes:
        if plain != PLAIN:
            return f"the answer came with {len(plain)} other bytes than the {len(PLAIN)} that were sent"
        if stream != stream_body(events):
            return f"the stream came with {len(stream)} other bytes than the {len(stream_body(events))} that were sent"
    if text_of_plain(plain) != TEXT:
        return "the answer does not hold the text that was sent"
    if text_of_stream(stream) != WORD * events:
        return "the stream does not hold the text that was sent, or does not end"
    return None
