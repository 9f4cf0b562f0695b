"""Audio files in multipart bodies, read as they come in, and the answer to one. Pure.

No sound is understood here: the text is a function of the file's bytes, of which only a hash is kept.
"""

import re
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Any

import msgspec

from federation.lab.frames import DONE, Choice, Usage, plain_event
from federation.lab.request import BadRequest

FIELD_BYTES_MAX = 64 * 1024  # Of a part's headers, and of a field that is no file.
_NAME = re.compile(rb'[; ]name="?([^";]*)"?')
_BOUNDARY = re.compile(rb'boundary="?([^";]+)"?')


class Recording:
    """Reads one body. Afterwards: `fields` by name, and `digest`, which tells one file from another."""

    def __init__(self, content_type: bytes) -> None:
        found = _BOUNDARY.search(content_type)
        self._mark = b"\r\n--" + (found[1] if found else b"")
        self.broken = not found or not content_type.lower().startswith(b"multipart/form-data")
        self.fields: dict[str, str] = {}
        self.file_bytes = 0
        self._hash = blake2b(digest_size=16)
        self._has_file = False
        self._rest = bytearray(b"\r\n")
        self._name: str | None = None  # of the part that is being read; "file" is hashed, others are kept
        self._in_head = False
        self._ended = False

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()

    def feed(self, data: bytes) -> None:
        if self.broken or self._ended:
            return
        self._rest += data
        while not self.broken and not self._ended and (self._head() if self._in_head else self._data()):
            pass

    def check(self) -> None:
        """BadRequest if what was fed is no form with a file."""
        if self.broken or not self._ended:
            raise BadRequest("the body is not a complete multipart/form-data")
        if not self._has_file:
            raise BadRequest("Field required", param="file")

    def _head(self) -> bool:
        end = self._rest.find(b"\r\n\r\n")
        if end < 0:
            self.broken = len(self._rest) > FIELD_BYTES_MAX
            self._ended = self._rest.startswith(b"--")
            return False
        found = _NAME.search(bytes(self._rest[:end]))
        self._name = found[1].decode("utf-8", "replace") if found else ""
        self._has_file |= self._name == "file"
        del self._rest[: end + 4]
        self._in_head = False
        return True

    def _data(self) -> bool:
        at = self._rest.find(self._mark)
        end = at if at >= 0 else max(0, len(self._rest) - len(self._mark))
        if self._name == "file":
            self._hash.update(self._rest[:end])
            self.file_bytes += end
            del self._rest[:end]
            end = 0
        elif at < 0:
            self.broken = len(self._rest) > FIELD_BYTES_MAX
        if at < 0:
            return False
        if self._name not in (None, "file"):
            self.fields[str(self._name)] = bytes(self._rest[:end]).decode("utf-8", "replace")
        del self._rest[: end + len(self._mark)]
        self._in_head = True
        return True


class TranscriptionFrames:
    """One answer."""

    def __init__(self, plain: bool) -> None:
        self._plain = plain  # text alone, instead of JSON

    def _usage(self, used: Usage) -> dict[str, Any]:
        counts = {"input_tokens": used["prompt_tokens"], "output_tokens": used["completion_tokens"]}
        return {"type": "tokens", **counts, "total_tokens": used["total_tokens"]}

    def whole(self, choices: Sequence[Choice], used: Usage) -> bytes:
        [(text, _, _)] = choices
        return text.encode() + b"\n" if self._plain else msgspec.json.encode({"text": text, "usage": self._usage(used)})

    def opening(self, index: int) -> bytes:
        return b""

    def writer(self, index: int) -> Callable[[str], bytes]:
        return lambda text: plain_event({"type": "transcript.text.delta", "delta": text})

    def last_event(
        self, index: int, text: str, finish_reason: str, stop_reason: str | None, used: Usage | None
    ) -> bytes:
        return self.writer(index)(text) if text else b""

    def tail(self, choices: Sequence[Choice], used: Usage) -> bytes:
        [(text, _, _)] = choices
        return plain_event({"type": "transcript.text.done", "text": text, "usage": self._usage(used)}) + DONE
