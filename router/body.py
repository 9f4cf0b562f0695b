"""The few fields of a request body that a decision needs, read without trusting it.

The bytes go on to the model server as they came, so what we read must be what the model
server will read. Parsers differ on duplicate keys (the last wins here, the first elsewhere)
and on broken UTF-8; so a field that we decide on must be provably the only one of its name
at its level, however its name is spelled.

The proof is an account of bytes. Decoding gives each member once, with its value as raw
bytes; keys, values and the punctuation between them must add up to the whole body. A second
`model` or a key spelled with escapes would leave bytes over. That settles compact bodies, as
OpenAI's own clients send them, at the price of one pass. Bodies with white space between
members are searched for the names, and if one of them stands twice anywhere (in a prompt,
say), a strict pass looks at every key.

Nearly all of a long body is the insides of a few strings, which prove nothing. They are left
out before anything is taken apart: see `without_long_strings`.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from router.fields import Fields, ResponsesFields

# Beyond both, taking every member apart could hold up the event loop for seconds.
LARGE_BYTES = 1024 * 1024
LARGE_MEMBERS_MAX = 100_000

STRIPPED_BYTES_MIN = 16 * 1024  # A shorter body is taken apart as it is.
LONG_STRING_BYTES = 1024
QUOTES_APART_MIN = 512  # Bytes, on average: with more quotes than that, looking for them costs more than it saves.
QUOTES_FREE = 32
BACKSLASHES_MAX = 8  # In a row before a quote: with more, each quote would cost a walk.
_BACKSLASH = ord("\\")

DECIDED_ON = ("model", "stream", "max_tokens", "max_completion_tokens")
DECIDED_ON_STATEFUL = (*DECIDED_ON, "previous_response_id", "conversation")


class BadBody(ValueError):
    """A body that cannot be acted on. `param` is the field at fault, where one is."""

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


Members = dict[str, msgspec.Raw]

_MEMBERS = msgspec.json.Decoder(Members)
_FIELDS = msgspec.json.Decoder(Fields)
_RESPONSES_FIELDS = msgspec.json.Decoder(ResponsesFields)
_OPTIONAL_TEXT = msgspec.json.Decoder(str | None)
_TEXT = msgspec.json.Decoder(str)
_FLAG = msgspec.json.Decoder(bool | None)
_COUNT = msgspec.json.Decoder(int | None)
_QUOTED = re.compile(rb'"(?:model|stream|max_(?:completion_)?tokens)"')
_QUOTED_STATEFUL = re.compile(rb'"(?:model|stream|max_(?:completion_)?tokens|previous_response_id|conversation)"')
_ESCAPED_LETTER = re.compile(rb"\\u00[4-7]")  # Each letter of our names has a code of this form.


def read_fields(body: bytes | bytearray, *, stateful: bool = False) -> Fields:
    """The fields of a JSON object; `stateful`: as ResponsesFields. Raises BadBody with a sentence for the client."""
    if not body:
        raise BadBody("We could not parse the JSON body of your request: it is empty.")
    if len(body) > LARGE_BYTES and body.count(b":") > LARGE_MEMBERS_MAX:
        return _read_hostile(body, stateful)
    try:
        short, members = _taken_apart(body)
    except msgspec.ValidationError as no_object:
        raise BadBody(f"The request body must be a JSON object: {_lowered(str(no_object))}.") from None
    except RecursionError:
        raise BadBody("The request body is nested too deeply.") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadBody(f"We could not parse the JSON body of your request: {error}.") from None
    if _bytes_unaccounted(short, members) and not _each_once(body, stateful):
        _strict_pass(body, DECIDED_ON_STATEFUL if stateful else DECIDED_ON)
    if not body.isascii():
        try:
            str(body, "utf-8")
        except UnicodeDecodeError as no_text:
            raise BadBody(f"The request body is not valid UTF-8: {no_text.reason} at byte {no_text.start}.") from None
    if "model" not in members:
        raise BadBody("You must provide a model parameter.", "model")
    fields = Fields(
        _value(members, "model", _TEXT),
        _value(members, "stream", _FLAG) if "stream" in members else None,
        _value(members, "max_tokens", _COUNT) if "max_tokens" in members else None,
        _value(members, "max_completion_tokens", _COUNT) if "max_completion_tokens" in members else None,
    )
    if not fields.model:
        raise BadBody("You must provide a model parameter.", "model")
    return _with_state(fields, members) if stateful else fields


def _taken_apart(body: bytes | bytearray) -> tuple[bytes | bytearray, Members]:
    """What was taken apart, and its members. Raises what msgspec does, about the body as it came."""
    if len(body) >= STRIPPED_BYTES_MIN:
        short = without_long_strings(body)
        try:
            return short, _MEMBERS.decode(short)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            pass  # Once more, for places in the text that the client knows.
    return body, _MEMBERS.decode(body)


def without_long_strings(body: bytes | bytearray) -> bytes | bytearray:
    """The same JSON with its long strings emptied; the body itself where that would not pay.

    A string ends at the first quote behind an even number of backslashes, and outside of strings
    JSON has no quotes: so hopping from quote to quote finds all of them, and no other structure
    is touched. What is inside of a string is not looked at, and is the model server's to judge.
    """
    parts: list[bytes | bytearray] = []
    kept_to = quotes = 0
    opening = body.find(b'"')
    while opening >= 0:
        closing = opening
        inside = True
        while inside:
            closing = body.find(b'"', closing + 1)
            quotes += 1
            if closing < 0 or (quotes > QUOTES_FREE and closing < quotes * QUOTES_APART_MIN):
                return body
            before = closing - 1
            while body[before] == _BACKSLASH:
                before -= 1
                if closing - before > BACKSLASHES_MAX:
                    return body
            inside = (closing - before) % 2 == 0
        if closing - opening > LONG_STRING_BYTES:
            parts.append(body[kept_to : opening + 1])
            kept_to = closing
        opening = body.find(b'"', closing + 1)
    if not parts:
        return body
    parts.append(body[kept_to:])
    return b"".join(parts)


def _with_state(fields: Fields, members: Members) -> ResponsesFields:
    name = "previous_response_id"
    return ResponsesFields(
        fields.model,
        fields.stream,
        fields.max_tokens,
        fields.max_completion_tokens,
        _value(members, name, _OPTIONAL_TEXT) if name in members else None,
        members.get("conversation", msgspec.Raw(b"null")),
    )


def _read_hostile(body: bytes | bytearray, stateful: bool) -> Fields:
    """The fields of a large body with very many colons, in one pass that builds nothing.

    What that cannot prove to be unambiguous is refused: nobody's prompt looks like this.
    """
    try:
        fields: Fields = _RESPONSES_FIELDS.decode(body) if stateful else _FIELDS.decode(body)
        if not body.isascii():
            str(body, "utf-8")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadBody(f"We could not parse the JSON body of your request: {error}.") from None
    if not fields.model or not _each_once(body, stateful):
        raise BadBody("The request body is too intricate to be read safely; send fewer members, or name fields once.")
    return fields


def _bytes_unaccounted(body: bytes | bytearray, members: Members) -> int:
    """Bytes that no member explains: 0 proves that each stands once and in plain spelling.

    A member takes its key, its value, two quotes, a colon, and a comma or the closing brace.
    Every term is a lower bound (a key outside ASCII takes more bytes than letters), so
    nothing can hide behind a difference.
    """
    left = len(body) - 1 - 4 * len(members)
    for name, value in members.items():
        left -= len(name) + len(value)
    return left


def _value(members: Members, name: str, decoder: "msgspec.json.Decoder[Any]") -> Any:
    try:
        return decoder.decode(members[name])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadBody(f"Invalid value for '{name}': {_lowered(str(error))}.", name) from None


def _lowered(text: str) -> str:
    return text[:1].lower() + text[1:]


def _each_once(body: bytes | bytearray, stateful: bool) -> bool:
    """Whether every field we decide on stands at most once anywhere, in plain spelling."""
    found = (_QUOTED_STATEFUL if stateful else _QUOTED).findall(body)
    return len(found) == len(set(found)) and _ESCAPED_LETTER.search(body) is None


def _strict_pass(body: bytes | bytearray, decided_on: tuple[str, ...]) -> None:
    """Raise BadBody if a field that we decide on stands twice at the top level."""
    depth_of_pairs: list[list[tuple[str, Any]]] = []

    def keep(pairs: list[tuple[str, Any]]) -> Mapping[str, Any]:
        depth_of_pairs.append(pairs)  # The outermost object closes last.
        return {}

    try:
        json.loads(body, object_pairs_hook=keep)
    except (ValueError, RecursionError) as error:
        raise BadBody(f"We could not parse the JSON body of your request: {error}.") from None
    names = [name for name, _ in depth_of_pairs[-1]] if depth_of_pairs else []
    for name in decided_on:
        if names.count(name) > 1:
            raise BadBody(f"The field '{name}' stands more than once in the request body.", name)
