"""The second stream, rewritten so that the client sees one: ids, role and token counts. Pure."""

from typing import Any

import msgspec

from router.resume.delivered import DONE, Delivered

Members = dict[str, msgspec.Raw]

_MEMBERS = msgspec.json.Decoder(Members)
_CHOICES = msgspec.json.Decoder(list[dict[str, Any]])
_USAGE = msgspec.json.Decoder(dict[str, Any])
_encode = msgspec.json.encode
_NULL = b"null"
_HEAD = ("id", "object", "created", "model", "system_fingerprint")


class Stitcher:
    """Rewrites the events of a stream that goes on with what `has` tells.

    `tokens` is how many the delivered text has (0 where nobody asked for counts). With
    `only_usage` the text had ended already, and only the counts are still wanted.
    """

    __slots__ = ("_has", "_joined", "_only_usage", "_tokens")

    def __init__(self, has: Delivered, tokens: int, *, only_usage: bool = False) -> None:
        self._has = has
        self._tokens = tokens
        self._only_usage = only_usage
        self._joined = False  # The first choice with something to say has come.

    def events(self, complete: bytes) -> bytes:
        """Whole events in, whole events out; none where there is nothing to say yet."""
        out: list[bytes] = []
        data: list[bytes] = []
        named = b""  # The event's other lines.
        for line in (*complete.splitlines(), b""):
            if line.startswith(b"data:"):
                data.append(line[5:].strip())
            elif line.startswith(b":"):
                continue
            elif line:
                named += line + b"\n"
            elif data:
                if payload := self._rewritten(b"\n".join(data)):
                    out.append(b"%sdata: %s\n\n" % (named, payload.replace(b"\n", b"\ndata: ")))
                data.clear()
                named = b""
        return b"".join(out)

    def _rewritten(self, payload: bytes) -> bytes:
        if payload == DONE:
            return payload
        try:
            members = _MEMBERS.decode(payload)
            if "choices" in members and not self._take_choices(members):
                return b""
            self._take_usage(members)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, AttributeError, TypeError, KeyError):
            return payload  # No chunk of an answer: an error that the server tells, say.
        if "id" in members and self._has.head:
            for name in _HEAD:
                if name in self._has.head:
                    members[name] = self._has.head[name]
                else:
                    members.pop(name, None)
        return _encode(members)

    def _take_choices(self, members: Members) -> bool:
        """False: nothing in this event that the client has not got."""
        if self._joined:
            return True
        choices = _CHOICES.decode(members["choices"])
        if not choices:
            return True
        if self._only_usage:
            return False
        if not self._has.role:
            self._joined = True
            return True
        # The role was told before; told twice, clients that add deltas up would double it.
        changed = False
        says = False
        for choice in choices:
            if choice.get("index"):
                says = True  # Another answer beside ours, of which nothing was said yet.
                continue
            delta = choice.get("delta") or {}
            changed = delta.pop("role", None) is not None or changed
            says = says or choice.get("finish_reason") is not None or any(delta.values()) or bool(choice.get("text"))
        if not says:
            return False
        self._joined = True
        if changed:
            members["choices"] = msgspec.Raw(_encode(choices))
        return True

    def _take_usage(self, members: Members) -> None:
        raw = members.get("usage")
        if raw is None or bytes(raw) == _NULL:
            return
        if not self._tokens:
            if self._has.text:
                del members["usage"]  # Told unasked, and of the rest alone.
            return
        usage = _USAGE.decode(raw)
        prompt = usage["prompt_tokens"] - self._tokens
        # A text that ended by itself took one more token to say so.
        ended = 1 if self._has.finish_reason == "stop" else 0
        completion = self._tokens + (ended if self._only_usage else usage["completion_tokens"])
        usage["prompt_tokens"] = max(0, prompt)
        usage["completion_tokens"] = completion
        usage["total_tokens"] = usage["prompt_tokens"] + completion
        members["usage"] = msgspec.Raw(_encode(usage))


def last_chunk(has: Delivered, chat: bool) -> bytes:
    """The event that ends a text which had already reached its limit of tokens when the stream broke."""
    said: dict[str, Any] = {"delta": {}} if chat else {"text": ""}
    choice = {"index": 0} | said | {"logprobs": None, "finish_reason": "length"}
    return b"data: %s\n\n" % _encode(has.head | {"choices": [choice]})


def done() -> bytes:
    """The end of a stream."""
    return b"data: %s\n\n" % DONE
