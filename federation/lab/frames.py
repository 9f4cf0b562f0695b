"""The JSON of answers: whole ones, and the server-sent events of streamed ones, framed as vLLM frames them. Pure.

A stream's events differ in one string, so all around it is encoded once a choice.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

import msgspec

DONE: Final = b"data: [DONE]\n\n"
_encode: Final = msgspec.json.encode

Usage = dict[str, Any]
Choice = tuple[str, str, str | None]
"""A text, its finish reason, and the stop string that ended it."""


class Frames(Protocol):
    """One answer in the form of one API: whole, or as the events of a stream in this order."""

    def whole(self, choices: Sequence[Choice], used: Usage) -> bytes: ...

    def opening(self, index: int) -> bytes:
        """What comes before the first token of a choice."""
        ...

    def writer(self, index: int) -> Callable[[str], bytes]:
        """Makes the event of a token from its text."""
        ...

    def last_event(
        self, index: int, text: str, finish_reason: str, stop_reason: str | None, used: Usage | None
    ) -> bytes:
        """The end of a choice, with the last of its text."""
        ...

    def tail(self, choices: Sequence[Choice], used: Usage) -> bytes:
        """The end of the stream."""
        ...


def usage(prompt_tokens: int, completion_tokens: int, cached_tokens: int) -> Usage:
    return {
        "prompt_tokens": prompt_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
        "completion_tokens": completion_tokens,
        "prompt_tokens_details": {"cached_tokens": cached_tokens},
    }


def error_body(status: int, message: str, param: str | None = None) -> bytes:
    """OpenAI's error object; the type as vLLM names it."""
    kinds = {404: "NotFoundError", 405: "MethodNotAllowed", 429: "RateLimitError", 503: "ServiceUnavailableError"}
    kind = kinds.get(status, "BadRequestError" if status < 500 else "InternalServerError")
    return _encode({"error": {"message": message, "type": kind, "param": param, "code": status}})


def plain_event(fields: dict[str, Any]) -> bytes:
    return b"data: " + _encode(fields) + b"\n\n"


def named_event(name: str, **fields: Any) -> bytes:
    """As Anthropic's and the Responses API's streams have them: the name also stands in the data."""
    return b"event: %b\n%b" % (name.encode(), plain_event({"type": name} | fields))


class Head:
    """Chat and completions: what every part of one answer repeats. `created` in seconds since 1970."""

    __slots__ = ("_chat", "_created", "_id", "_include_usage", "_model")

    def __init__(self, chat: bool, call_id: str, created: int, model: str, include_usage: bool = False) -> None:
        self._include_usage = include_usage  # in a stream, as an event of its own
        self._chat = chat
        self._id = call_id
        self._created = created
        self._model = model

    def _fields(self, streamed: bool) -> dict[str, Any]:
        kind = "text_completion"
        if self._chat:
            kind = "chat.completion.chunk" if streamed else "chat.completion"
        return {"id": self._id, "object": kind, "created": self._created, "model": self._model}

    def event(self, choices: Sequence[dict[str, Any]], used: Usage | None = None) -> bytes:
        fields = self._fields(streamed=True) | {"choices": choices}
        if used is not None:
            fields["usage"] = used
        return plain_event(fields)

    def role_event(self, index: int) -> bytes:
        delta = {"role": "assistant", "content": ""}
        return self.event([{"index": index, "delta": delta, "logprobs": None, "finish_reason": None}])

    def last_event(
        self, index: int, text: str, finish_reason: str, stop_reason: str | None, used: Usage | None
    ) -> bytes:
        said: dict[str, Any] = {"delta": {"content": text}} if self._chat else {"text": text}
        ends = {"logprobs": None, "finish_reason": finish_reason, "stop_reason": stop_reason}
        return self.event([{"index": index} | said | ends], used)

    def token_frame(self, index: int) -> tuple[bytes, bytes]:
        """What stands before and after the encoded text in the event of a token."""
        said: dict[str, Any] = {"delta": {"content": ""}} if self._chat else {"text": ""}
        whole = self.event([{"index": index} | said | {"logprobs": None, "finish_reason": None}])
        before, _, after = whole.rpartition(b'""')
        return before, after

    def opening(self, index: int) -> bytes:
        return self.role_event(index) if self._chat else b""

    def writer(self, index: int) -> Callable[[str], bytes]:
        before, after = self.token_frame(index)
        return lambda text: before + _encode(text) + after

    def tail(self, choices: Sequence[Choice], used: Usage) -> bytes:
        return self.event([], used) + DONE if self._include_usage else DONE

    def whole(self, choices: Sequence[Choice], used: Usage) -> bytes:
        listed = []
        for index, (text, finish_reason, stop_reason) in enumerate(choices):
            said: dict[str, Any] = (
                {"message": {"role": "assistant", "content": text, "refusal": None, "tool_calls": []}}
                if self._chat
                else {"text": text}
            )
            ends = {"logprobs": None, "finish_reason": finish_reason, "stop_reason": stop_reason}
            listed.append({"index": index} | said | ends)
        return _encode(self._fields(streamed=False) | {"choices": listed, "usage": used})


def text_json(text: str) -> bytes:
    return _encode(text)


def with_usage(event: bytes, used: Usage) -> bytes:
    """The same event, ending with a usage object (vLLM's continuous_usage_stats)."""
    return event.removesuffix(b"}\n\n") + b',"usage":' + _encode(used) + b"}\n\n"
