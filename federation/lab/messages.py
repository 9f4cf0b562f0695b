"""Anthropic's messages, as vLLM serves them: requests, whole answers, and the events of streamed ones. Pure."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from federation.lab.frames import Choice, Usage, named_event, text_json
from federation.lab.request import BadRequest, Generation, Message, render_chat
from federation.lab.text import tokenize

_ERROR_TYPES = {404: "not_found_error", 429: "rate_limit_error", 503: "overloaded_error"}


def messages_error(status: int, message: str) -> bytes:
    """Anthropic's error object."""
    kind = _ERROR_TYPES.get(status, "invalid_request_error" if status < 500 else "api_error")
    return msgspec.json.encode({"type": "error", "error": {"type": kind, "message": message}})


class CountRequest(msgspec.Struct, kw_only=True):
    """What `count_tokens` takes, and the rest of a message has too."""

    messages: list[Message]
    model: str | None = None
    system: str | list[dict[str, Any]] | None = None

    def conversation(self) -> tuple[str, str]:
        """The conversation up to where the answer begins, and what is there of the answer: the prefill."""
        said = list(self.messages)
        if self.system is not None:
            said.insert(0, Message("system", self.system))
        continues = bool(said) and said[-1].role == "assistant"
        return render_chat(said, continues, not continues)

    def tokens(self) -> int:
        return len(tokenize("".join(self.conversation())))


class MessagesRequest(CountRequest, kw_only=True):
    max_tokens: int
    stream: bool = False
    stop_sequences: list[str] = []

    def generation(self) -> Generation:
        """The same as the other paths ask for it."""
        if self.max_tokens < 1:
            raise BadRequest(f"max_tokens must be at least 1, got {self.max_tokens}.", param="max_tokens")
        return Generation(
            model=self.model, stream=self.stream, max_tokens=self.max_tokens, stop=list(self.stop_sequences)
        )


def _stop(finish_reason: str, stop_reason: str | None) -> dict[str, Any]:
    if stop_reason is not None:
        return {"stop_reason": "stop_sequence", "stop_sequence": stop_reason}
    return {"stop_reason": "max_tokens" if finish_reason == "length" else "end_turn", "stop_sequence": None}


class MessagesFrames:
    """One answer."""

    def __init__(self, call_id: str, model: str, prompt_tokens: int) -> None:
        self._fields = {"id": call_id, "type": "message", "role": "assistant", "model": model}
        self._prompt_tokens = prompt_tokens

    def _usage(self, output_tokens: int) -> dict[str, int]:
        return {"input_tokens": self._prompt_tokens, "output_tokens": output_tokens}

    def whole(self, choices: Sequence[Choice], used: Usage) -> bytes:
        [(text, finish_reason, stop_reason)] = choices
        content = [{"type": "text", "text": text}]
        ends = _stop(finish_reason, stop_reason)
        usage = self._usage(used["completion_tokens"])
        return msgspec.json.encode(self._fields | {"content": content, **ends, "usage": usage})

    def opening(self, index: int) -> bytes:
        nothing: dict[str, Any] = {"content": [], "stop_reason": None, "stop_sequence": None, "usage": self._usage(0)}
        block = {"type": "text", "text": ""}
        return (
            named_event("message_start", message=self._fields | nothing)
            + named_event("content_block_start", index=0, content_block=block)
            + named_event("ping")
        )

    def writer(self, index: int) -> Callable[[str], bytes]:
        whole = named_event("content_block_delta", index=0, delta={"type": "text_delta", "text": ""})
        before, _, after = whole.rpartition(b'""')
        return lambda text: before + text_json(text) + after

    def last_event(
        self, index: int, text: str, finish_reason: str, stop_reason: str | None, used: Usage | None
    ) -> bytes:
        return (self.writer(index)(text) if text else b"") + named_event("content_block_stop", index=0)

    def tail(self, choices: Sequence[Choice], used: Usage) -> bytes:
        [(_, finish_reason, stop_reason)] = choices
        usage = self._usage(used["completion_tokens"])
        delta = _stop(finish_reason, stop_reason)
        return named_event("message_delta", delta=delta, usage=usage) + named_event("message_stop")
