"""The few fields of a request body that a decision needs, read without trusting it.

The bytes go on to the model server as they came, so what we read must be what the model
server will read. Parsers differ on duplicate keys (the last wins here, the first
elsewhere) and on broken UTF-8; so a field that we decide on must be provably the only one
of its name at its level. A count of the quoted name proves the common case; the rest (the
name stands in a prompt too, or some key is spelled with escapes) takes a strict pass that
sees every key.
"""

import json
from collections.abc import Mapping
from typing import Any

import msgspec

DEPTH_MAX = 64  # Deeper than any real request; far below where recursive parsers give up.
DECIDED_ON = ("model", "stream", "max_tokens", "max_completion_tokens")


class BadBody(ValueError):
    """A body that cannot be acted on. `param` is the field at fault, where one is."""

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class Fields(msgspec.Struct, frozen=True, gc=False):
    """What routing reads of a body."""

    model: str
    stream: bool | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None

    @property
    def tokens_max(self) -> int | None:
        return self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens


_DECODER = msgspec.json.Decoder(Fields)
_QUOTED = tuple((b'"%s"' % name.encode()) for name in DECIDED_ON)


def read_fields(body: bytes | bytearray) -> Fields:
    """The fields of a JSON object. Raises BadBody with a sentence for the client."""
    if _is_deep(body):
        raise BadBody(f"The request body is nested deeper than {DEPTH_MAX} levels.")
    try:
        fields = _DECODER.decode(body)
    except msgspec.ValidationError as error:
        raise _invalid(error) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadBody(f"We could not parse the JSON body of your request: {error}.") from None
    if not _each_once(body):
        _strict_pass(body)
    if not body.isascii():
        try:
            str(body, "utf-8")
        except UnicodeDecodeError as error:
            raise BadBody(f"The request body is not valid UTF-8: {error.reason} at byte {error.start}.") from None
    if not fields.model:
        raise BadBody("You must provide a model parameter.", "model")
    return fields


def _is_deep(body: bytes | bytearray) -> bool:
    """Whether brackets could nest beyond the bound. Cheap counts settle nearly every body."""
    if body.count(b"[") + body.count(b"{") <= DEPTH_MAX:
        return False
    depth = 0
    in_string = False
    escaped = False
    for byte in body:
        if in_string:
            if escaped:
                escaped = False
            elif byte == 0x5C:
                escaped = True
            elif byte == 0x22:
                in_string = False
        elif byte == 0x22:
            in_string = True
        elif byte in (0x5B, 0x7B):
            depth += 1
            if depth > DEPTH_MAX:
                return True
        elif byte in (0x5D, 0x7D):
            depth -= 1
    return False


def _each_once(body: bytes | bytearray) -> bool:
    """Whether every field we decide on stands at most once anywhere, in plain spelling."""
    return b"\\u00" not in body and all(body.count(name) <= 1 for name in _QUOTED)


def _strict_pass(body: bytes | bytearray) -> None:
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
    for name in DECIDED_ON:
        if names.count(name) > 1:
            raise BadBody(f"The field '{name}' stands more than once in the request body.", name)


def _invalid(error: msgspec.ValidationError) -> BadBody:
    text = str(error)
    if "missing required field `model`" in text:
        return BadBody("You must provide a model parameter.", "model")
    _, at, path = text.partition(" - at `$.")
    param = path.rstrip("`") if at else None
    message = text.split(" - at ")[0]
    if param is None:
        return BadBody(f"The request body must be a JSON object: {message[:1].lower()}{message[1:]}.")
    return BadBody(f"Invalid value for '{param}': {message[:1].lower()}{message[1:]}.", param)
