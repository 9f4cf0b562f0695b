"""The requests that go on with a broken stream: how many tokens the delivered text has, and the rest of it. Pure."""

import msgspec

from federation.features import CONTINUE_FINAL_MESSAGE
from router.resume.delivered import Delivered
from router.resume.eligible import CHAT_PATH, Members

COUNT_PATH = "/tokenize"

_MEMBERS = msgspec.json.Decoder(Members)
_LIST = msgspec.json.Decoder(list[msgspec.Raw])
_COUNT = msgspec.json.Decoder(int | None)
_encode = msgspec.json.encode
_LIMITS = ("max_tokens", "max_completion_tokens")
_TRUE, _FALSE = msgspec.Raw(b"true"), msgspec.Raw(b"false")


class _Options(msgspec.Struct):
    include_usage: bool | None = None
    continuous_usage_stats: bool | None = None


class _Asked(msgspec.Struct):
    model: str
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    stream_options: _Options | None = None


_ASKED = msgspec.json.Decoder(_Asked)


class Wanted(msgspec.Struct, frozen=True):
    """What of a request matters when its stream is gone on with."""

    model: str
    tokens_max: int | None
    usage: bool  # The client asked for token counts.


def wanted(body: bytes) -> Wanted:
    """Read it of a body that was admitted. Raises msgspec.DecodeError where a field has an unforeseen form."""
    asked = _ASKED.decode(body)
    tokens_max = asked.max_tokens if asked.max_completion_tokens is None else asked.max_completion_tokens
    options = asked.stream_options
    return Wanted(asked.model, tokens_max, options is not None and bool(options.include_usage))


def count_request(model: str, text: str) -> bytes:
    """The body that asks a model server how many tokens a text has; `content` is llama.cpp's name for it."""
    return _encode({"model": model, "prompt": text, "content": text, "add_special_tokens": False})


class _Counted(msgspec.Struct):
    count: int | None = None
    tokens: list[msgspec.Raw] | None = None


def counted(answer: bytes) -> int | None:
    """The number of tokens that a model server names; None if it does not."""
    try:
        said = msgspec.json.decode(answer, type=_Counted)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    if said.count is not None:
        return said.count
    return None if said.tokens is None else len(said.tokens)


def continued(path: str, body: bytes, has: Delivered, tokens: int | None, features: frozenset[str]) -> bytes:
    """The body that asks for the rest. `tokens`: of the delivered text, where a limit is to be reduced by them.

    With nothing delivered it is the request as the client sent it. Of a text that had ended
    only the counts are wanted, which cost one token.
    """
    if not has.text and not tokens:
        return body
    members = _MEMBERS.decode(body)
    if path == CHAT_PATH:
        messages = _LIST.decode(members["messages"])
        messages.append(msgspec.Raw(_encode({"role": "assistant", "content": has.text})))
        members["messages"] = msgspec.Raw(_encode(messages))
        if CONTINUE_FINAL_MESSAGE in features:
            # Both, for the second is true if nothing is said, and both true is refused.
            members["continue_final_message"] = _TRUE
            members["add_generation_prompt"] = _FALSE
    else:
        prompt: str = msgspec.json.decode(members["prompt"])
        members["prompt"] = msgspec.Raw(_encode(prompt + has.text))
    if has.finish_reason is not None:
        members.pop("max_completion_tokens", None)
        members["max_tokens"] = msgspec.Raw(b"1")
        return _encode(members)
    for name in _LIMITS:
        if tokens and name in members and (limit := _COUNT.decode(members[name])) is not None:
            members[name] = msgspec.Raw(b"%d" % max(1, limit - tokens))
    return _encode(members)
