"""What a client has of a stream that broke: its text, its head, and whether it had ended. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec

DONE = b"[DONE]"
ABSENT = msgspec.Raw(b"")


class Unreadable(ValueError):
    """Events from which a stream cannot be gone on with; says why."""


class _Delta(msgspec.Struct, gc=False):
    role: str | None = None
    content: str | None = None
    refusal: str | None = None
    reasoning: msgspec.Raw = ABSENT
    reasoning_content: msgspec.Raw = ABSENT
    tool_calls: msgspec.Raw = ABSENT
    function_call: msgspec.Raw = ABSENT
    audio: msgspec.Raw = ABSENT


class _Choice(msgspec.Struct, gc=False):
    index: int = 0
    delta: _Delta | None = None
    text: str | None = None
    finish_reason: str | None = None


class Usage(msgspec.Struct, gc=False):
    """Token counts as the API tells them."""

    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Event(msgspec.Struct, gc=False):
    id: msgspec.Raw = ABSENT
    object: msgspec.Raw = ABSENT
    created: msgspec.Raw = ABSENT
    model: msgspec.Raw = ABSENT
    system_fingerprint: msgspec.Raw = ABSENT
    choices: list[_Choice] = []
    usage: Usage | None = None
    error: msgspec.Raw = ABSENT


_EVENT = msgspec.json.Decoder(_Event)
_EMPTY = (b"", b"null", b'""', b"[]", b"{}")

Head = dict[str, msgspec.Raw]


@dataclass(slots=True)
class Delivered:
    """What went out before the break."""

    text: str = ""
    head: Head = field(default_factory=dict)  # id, object, created, model: as the first event has them.
    role: bool = False  # Whether the assistant's role was told.
    finish_reason: str | None = None
    usage: Usage | None = None  # The last one told.
    usage_is_final: bool = False  # It came in an event of its own, behind the text.
    done: bool = False
    says_something: bool = False  # Some event had a choice in it.


def delivered(events: bytes) -> Delivered:
    """Read the events of a chat or completion stream. Raises Unreadable."""
    found = Delivered()
    texts: list[str] = []
    for payload in payloads(events):
        if payload == DONE:
            found.done = True
            continue
        try:
            event = _EVENT.decode(payload)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise Unreadable("an event that is no chunk of an answer") from None
        if bytes(event.error) not in _EMPTY:
            raise Unreadable("an error was told in it")
        if not found.head and event.id:
            found.head = _head_of(event)
        for choice in event.choices:
            found.says_something = True
            _take(choice, found, texts)
        if event.usage is not None:
            found.usage = event.usage
            found.usage_is_final = not event.choices
    found.text = "".join(texts)
    return found


def _take(choice: _Choice, found: Delivered, texts: list[str]) -> None:
    if choice.index != 0:
        raise Unreadable("more than one answer at once")
    delta = choice.delta
    if delta is not None:
        if delta.role is not None:
            found.role = True
        for other in (delta.reasoning, delta.reasoning_content, delta.tool_calls, delta.function_call, delta.audio):
            if bytes(other) not in _EMPTY:
                raise Unreadable("reasoning, tool calls or sound in it")
        if delta.refusal:
            raise Unreadable("a refusal in it")
        if delta.content:
            texts.append(delta.content)
    if choice.text:
        texts.append(choice.text)
    if choice.finish_reason is not None:
        found.finish_reason = choice.finish_reason


class _End(msgspec.Struct, gc=False):
    finish_reason: msgspec.Raw = ABSENT


class _Latest(msgspec.Struct, gc=False):
    choices: list[_End] = []
    error: msgspec.Raw = ABSENT


_LATEST = msgspec.json.Decoder(_Latest)


def in_mid_text(events: bytes) -> bool:
    """Whether the latest events of a stream leave an answer unfinished, of whatever kind it is."""
    says_something = False
    try:
        for payload in payloads(events):
            if payload == DONE:
                return False
            latest = _LATEST.decode(payload)
            choices = latest.choices
            if bytes(latest.error) not in _EMPTY or any(
                bytes(choice.finish_reason) not in _EMPTY for choice in choices
            ):
                return False
            says_something = says_something or bool(choices)
    except (Unreadable, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return says_something


def shows_reasoning(text: str) -> bool:
    """Whether a model thinks aloud in its text: chat templates cut that out of the message that they continue."""
    return text.lstrip().startswith("<think>") or "</think>" in text


def _head_of(event: _Event) -> Head:
    fields = {
        "id": event.id,
        "object": event.object,
        "created": event.created,
        "model": event.model,
        "system_fingerprint": event.system_fingerprint,
    }
    # Copies: a Raw from a decoder refers to the whole text it was found in.
    return {name: msgspec.Raw(bytes(value)) for name, value in fields.items() if value}


def payloads(events: bytes) -> Iterator[bytes]:
    """The data of each event. Raises Unreadable for data in several lines, which no server of this API sends."""
    lines_of_event = 0
    for line in events.splitlines():
        if line.startswith(b"data:"):
            lines_of_event += 1
            if lines_of_event > 1:
                raise Unreadable("an event in several lines")
            yield line[5:].strip()
        elif not line:
            lines_of_event = 0
