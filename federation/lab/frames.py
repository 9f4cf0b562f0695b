"""The JSON of answers: whole ones, and the server-sent events of streamed ones, framed as vLLM frames them. Pure.

A stream's events differ in one string, so all around it is encoded once a choice.
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

DONE: Final = b"data: [DONE]\n\n"
_encode: Final = msgspec.json.encode

Usage = dict[str, Any]


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


class Head:
    """What every part of one answer repeats. `created` in seconds since 1970."""

    __slots__ = ("_chat", "_created", "_id", "_model")

    def __init__(self, chat: bool, call_id: str, created: int, model: str) -> None:
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
        return b"data: " + _encode(fields) + b"\n\n"

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

    def whole(self, choices: Sequence[tuple[str, str, str | None]], used: Usage) -> bytes:
        """All choices, each a text, a finish reason and a stop reason."""
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
