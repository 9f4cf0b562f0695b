"""The few fields of a multipart body that a decision needs, read as it comes in and without trusting it. Pure.

The files in it are looked through for the boundary and never joined, copied or kept a second
time. Whatever two parsers could read differently is refused, as in `body`: a field that we
decide on must be the only one of its name, and its name, its value and its end must be beyond
doubt. So: no text before the first boundary or after the last, no folded headers, no escapes
in names, no parameter that we do not know, no encodings.
"""

import re
from collections.abc import Sequence
from enum import IntEnum

from router.body import BadBody
from router.fields import Fields
from router.pieces import Pieces

PARTS_MAX = 128
HEAD_BYTES_MAX = 8 * 1024  # Of one part.
VALUE_BYTES_MAX = 4 * 1024  # Of a field that we read.

_READ = (b"model", b"stream")
_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
# A backslash before a quote ends the value for one parser and not for the next.
_PARAMETER = re.compile(rb"[ \t]*;[ \t]*(" + _TOKEN + rb")=(?:(" + _TOKEN + rb')|"((?:[^"\\\r\n]|\\[^"\r\n])*)")')
_HEADER = re.compile(rb"(" + _TOKEN + rb"):([^\r\n\0]*)")
_BOUNDARY = re.compile(rb"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]")
_PLAIN_TEXT = re.compile(rb"text/plain(?:[ \t]*;[ \t]*charset=\"?(?:utf-8|us-ascii)\"?)?", re.IGNORECASE)
_TRUE = frozenset({"true", "1", "t", "yes", "y", "on"})
_FALSE = frozenset({"false", "0", "f", "no", "n", "off"})


class _State(IntEnum):
    DATA = 0  # Of a part; or of nothing, before the first boundary.
    BOUNDARY = 1  # Behind one: the line's end, or the two dashes of the last.
    HEAD = 2
    END = 3


_DATA, _AT_BOUNDARY, _HEAD, _END = _State


def boundary_of(headers: Sequence[tuple[bytes, bytes]]) -> bytes:
    """The boundary that the one Content-Type header of a request names. Raises BadBody."""
    types = [value for name, value in headers if name == b"content-type"]
    kind, _, _ = (types[0] if types else b"").partition(b";")
    if len(types) != 1 or kind.strip().lower() != b"multipart/form-data":
        raise BadBody("This path takes a multipart/form-data body: send that, and one Content-Type that says so.")
    found = _parameters(types[0].strip()[len(kind.strip()) :])
    if found is None or "boundary" not in found or found.keys() - {"boundary", "charset"}:
        raise BadBody("The Content-Type multipart/form-data needs one boundary, and nothing beside it.")
    if found.get("charset", b"utf-8").lower() != b"utf-8":
        raise BadBody("The only charset taken for multipart/form-data is utf-8.")
    if not _BOUNDARY.fullmatch(found["boundary"]):
        raise BadBody("The boundary of the multipart body is not one: 1 to 70 letters, digits or marks.")
    return found["boundary"]


def _parameters(text: bytes) -> dict[str, bytes] | None:
    """The parameters of a header by name in lower case; None if they cannot be read beyond doubt."""
    found: dict[str, bytes] = {}
    at = 0
    while at < len(text):
        match = _PARAMETER.match(text, at)
        if match is None:
            return None
        name = match[1].decode("ascii").lower()
        if name in found:
            return None
        found[name] = match[2] if match[2] is not None else match[3]
        at = match.end()
    return found


class FormReader:
    """Reads one body, piece by piece."""

    __slots__ = ("_delimiter", "_field", "_held", "_parts", "_seed_bytes", "_state", "_value", "_values")

    def __init__(self, boundary: bytes) -> None:
        self._delimiter = b"\r\n--" + boundary
        self._held = b"\r\n"  # The end of what came that may begin something; at first, as if a line had ended.
        self._seed_bytes = 2  # Of it, so many that are not data.
        self._state = _DATA
        self._field: bytes | None = None  # The field whose value comes now, if we read it.
        self._value = bytearray()
        self._values: dict[bytes, bytes] = {}
        self._parts = 0

    def feed(self, piece: bytes) -> None:
        """What came next. Raises BadBody."""
        at = 0
        while at < len(piece):
            if self._state == _DATA:
                at = self._data(piece, at)
            elif self._state == _HEAD:
                at = self._head(piece, at)
            else:
                at = self._mark(piece, at)

    def finish(self) -> Fields:
        """The whole body was fed: what it says. Raises BadBody."""
        if self._state != _END or self._held not in (b"", b"\r\n"):
            raise BadBody("The multipart body ends before its last boundary.")
        try:
            model = self._values.get(b"model", b"").decode()
            stream = self._values.get(b"stream", b"").decode().lower()
        except UnicodeDecodeError:
            raise BadBody("The fields 'model' and 'stream' of the form must be UTF-8.") from None
        if not model:
            raise BadBody("You must provide a model parameter.", "model")
        if stream and stream not in _TRUE | _FALSE:
            raise BadBody("Invalid value for 'stream': expected true or false.", "stream")
        return Fields(model, stream in _TRUE if stream else None)

    def _data(self, piece: bytes, at: int) -> int:
        """Look for the next boundary; where to go on."""
        delimiter, held = self._delimiter, self._held
        overlap = len(delimiter) - 1
        if held:
            seam = held + piece[at : at + overlap]
            found = seam.find(delimiter)
            if found >= 0:  # It begins in what was held.
                self._part_over(held, 0, found)
                return at + found + len(delimiter) - len(held)
            if len(piece) - at < overlap:  # Too little came to decide on all that is held.
                self._keep(seam, 0, max(0, len(seam) - overlap))
                self._held = seam[-overlap:]
                return len(piece)
            self._keep(held, 0, len(held))
        found = piece.find(delimiter, at)
        if found >= 0:
            self._part_over(piece, at, found)
            return found + len(delimiter)
        end = max(at, len(piece) - overlap)
        self._keep(piece, at, end)
        self._held = piece[end:]
        return len(piece)

    def _keep(self, data: bytes, start: int, end: int) -> None:
        """Data of the present part, of which only what we read is kept."""
        seed = min(self._seed_bytes, end - start)
        self._seed_bytes -= seed
        start += seed
        if start >= end:
            return
        if not self._parts:
            raise BadBody("The multipart body does not begin with its boundary.")
        if self._field is not None:
            if len(self._value) + end - start > VALUE_BYTES_MAX:
                name = self._field.decode()
                raise BadBody(f"The field '{name}' is longer than {VALUE_BYTES_MAX} bytes.", name)
            self._value += data[start:end]

    def _part_over(self, data: bytes, start: int, end: int) -> None:
        """A boundary was found behind this last of the part's data."""
        at_once = self._seed_bytes == len(b"\r\n") and start == end
        if at_once and self._parts:
            raise BadBody("A part of the multipart body has its boundary where its value should begin.")
        if not at_once and not self._parts:
            raise BadBody("The multipart body does not begin with its boundary.")
        self._keep(data, start, end)
        self._seed_bytes = 0
        if self._field is not None:
            self._values[self._field] = bytes(self._value)
            self._field = None
            self._value.clear()
        self._held = b""
        self._state = _AT_BOUNDARY

    def _mark(self, piece: bytes, at: int) -> int:
        """The two bytes behind a boundary; behind the last one, at most a line's end."""
        taken = piece[at : at + 2 - len(self._held)]
        mark = self._held = self._held + taken
        if self._state == _END:
            if len(piece) > at + len(taken) or not b"\r\n".startswith(mark):
                raise BadBody("Something follows the last boundary of the multipart body.")
        elif mark == b"\r\n":
            self._parts += 1
            if self._parts > PARTS_MAX:
                raise BadBody(f"The multipart body has more than {PARTS_MAX} parts.")
            self._state = _HEAD
        elif mark == b"--":
            self._state = _END
            self._held = b""
        elif len(mark) == 2 or mark not in (b"\r", b"-"):
            raise BadBody("A line of the multipart body begins with its boundary and goes on.")
        return at + len(taken)

    def _head(self, piece: bytes, at: int) -> int:
        """A part's headers, to the empty line. The line's end before them is held too, so that none are seen."""
        held = self._held
        seam = held + piece[at : at + HEAD_BYTES_MAX]
        end = seam.find(b"\r\n\r\n", max(0, len(held) - 3))
        if end < 0 or end > HEAD_BYTES_MAX:
            if len(seam) > HEAD_BYTES_MAX:
                raise BadBody(f"The headers of a part are larger than {HEAD_BYTES_MAX} bytes.")
            self._held = seam
            return len(piece)
        self._field = self._name_of(seam[2:end].split(b"\r\n") if end else [])
        # The line's end behind the headers is the one before the next boundary for some parsers, and not for others.
        self._held = b"\r\n"
        self._seed_bytes = 2
        self._state = _DATA
        return at + end + 4 - len(held)

    def _name_of(self, lines: list[bytes]) -> bytes | None:
        """The field's name if we read it, else None. Raises BadBody for headers that leave a doubt."""
        headers: dict[bytes, bytes] = {}
        for line in lines:
            match = _HEADER.fullmatch(line)
            if match is None or match[1].lower() in headers:
                raise BadBody("A part of the multipart body has headers that are none, or one twice.")
            headers[match[1].lower()] = match[2].strip(b" \t")
        disposition = headers.get(b"content-disposition", b"")
        found = _parameters(disposition[9:]) if disposition[:9].lower() == b"form-data" else None
        if found is None or "name" not in found or found.keys() - {"name", "filename", "filename*"}:
            raise BadBody("A part of the multipart body lacks a Content-Disposition: form-data with one plain name.")
        name = found["name"]
        if b"\\" in name:
            raise BadBody("The name of a part of the multipart body holds a backslash.")
        if name not in _READ:
            return None
        field = name.decode()
        if name in self._values:
            raise BadBody(f"The field '{field}' stands more than once in the form.", field)
        plain = _PLAIN_TEXT.fullmatch(headers.get(b"content-type", b"text/plain"))
        if len(found) > 1 or not plain or b"content-transfer-encoding" in headers:
            raise BadBody(f"The field '{field}' must be plain text in UTF-8, and no file.", field)
        return name


class FormBody:
    """A form on its way in: kept as it came, and read."""

    __slots__ = ("_reader", "pieces")

    def __init__(self, boundary: bytes) -> None:
        self.pieces = Pieces()
        self._reader = FormReader(boundary)

    def take(self, piece: bytes) -> None:
        """What came next. Raises BadBody."""
        self._reader.feed(piece)
        self.pieces.add(piece)

    def finish(self) -> Fields:
        """It is all here: what it says. Raises BadBody."""
        return self._reader.finish()
