"""What an answer says, and what is wrong with it. Pure."""

import json
from dataclasses import dataclass
from typing import Any

from tests.soak.ask import Ask, Kind

DONE = "[DONE]"
SAID_BYTES = 200  # Of an error, to be told.


@dataclass(slots=True)
class Said:
    """The sense of a body."""

    text: str = ""
    whole: bool = False  # It has the end that its API gives it.
    tokens: int | None = None
    error: str = ""  # The code, and the sentence.
    oddity: str = ""  # A stream that does not look like one stream.


def read_answer(ask: Ask, status: int, body: bytes) -> Said:
    """Of a complete body, or of what came of a stream."""
    if status != 200:
        return Said(error=told(body))
    if ask.stream:
        return _stream(ask, body)
    value = json.loads(body)
    if ask.vectors:
        return Said(whole=len(value["data"]) == ask.vectors)
    if ask.path == "/v1/messages":
        return Said(value["content"][0]["text"], True, value["usage"]["output_tokens"])
    if ask.kind is Kind.UPLOAD:
        return Said(value["text"], True)
    choice = value["choices"][0]
    text = choice["message"]["content"] if "message" in choice else choice["text"]
    return Said(text, True, value["usage"]["completion_tokens"])


def told(body: bytes) -> str:
    """An error's code and sentence, of any API's shape."""
    try:
        error = json.loads(body)["error"]
        return f"{error.get('code') or error['type']}: {error['message']}"
    except (ValueError, KeyError, TypeError, AttributeError):
        return body[:SAID_BYTES].decode("utf-8", "replace")


def mistake(ask: Ask, status: int, said: Said) -> str:
    """What is wrong with a complete answer; "" if nothing is."""
    if status != ask.status:
        return f"{status} instead of {ask.status}; {said.error}"
    if said.error:
        return said.error if ask.status == 200 else ""
    if said.oddity:
        return said.oddity
    if not said.whole:
        return "ended without its end"
    if ask.text is not None and said.text != ask.text:
        shorter = min(len(said.text), len(ask.text))
        at = next((i for i, (a, b) in enumerate(zip(said.text, ask.text, strict=False)) if a != b), shorter)
        return f"wrong text from character {at} of {len(ask.text)} on: {said.text[at : at + 30]!r}"
    if said.tokens is not None and ask.tokens is not None and said.tokens != ask.tokens:
        return f"wrong count: {said.tokens} tokens told instead of {ask.tokens}"
    return ""


def _stream(ask: Ask, body: bytes) -> Said:
    said = Said()
    ids, roles, ends = set(), 0, 0
    for event in _events(body):
        if event == DONE:
            said.whole = True
            continue
        value = json.loads(event)
        if value.get("error"):
            said.error = told(event.encode())
            return said
        if ask.path == "/v1/messages":
            _take_message_event(said, value)
            continue
        ids.add(value["id"])
        for choice in value["choices"]:
            delta = choice.get("delta") or {}
            said.text += (delta.get("content") if "delta" in choice else choice["text"]) or ""
            roles += "role" in delta
            ends += choice["finish_reason"] is not None
        if value.get("usage"):
            said.tokens = value["usage"]["completion_tokens"]
    if said.whole and ask.path != "/v1/messages":
        wanted = (1, int(ask.path == "/v1/chat/completions"), 1)
        if (len(ids), roles, ends) != wanted:
            said.oddity = f"wrong shape: ids, roles, ends: {(len(ids), roles, ends)} instead of {wanted}"
    return said


def _take_message_event(said: Said, value: dict[str, Any]) -> None:
    if value["type"] == "content_block_delta":
        said.text += value["delta"]["text"]
    elif value["type"] == "message_delta":
        said.tokens = value["usage"]["output_tokens"]
    elif value["type"] == "message_stop":
        said.whole = True


def _events(body: bytes) -> list[str]:
    """The data of the complete events."""
    complete = body[: body.rfind(b"\n\n") + 2].decode()
    return [line[6:] for line in complete.split("\n") if line.startswith("data: ")]
