"""What went out on a stream, kept compact and bounded until the stream is over. Pure.

Nothing is read on the way: chunks are held as they are, and packed together once there are
enough of them. Most of a chunk is the same as in the one before, so that a token takes a
few bytes.
"""

import zlib

CHUNKS_UNPACKED_MAX = 48  # A chunk alone takes some 300 bytes; packed with others less than 20.
BYTES_UNPACKED_MAX = 12 * 1024
PACKED_BYTES_MAX = 256 * 1024  # Of one stream; a longer one is not gone on with.


class Kept:
    """The chunks of one stream."""

    __slots__ = ("_chunks", "_packed", "_unpacked_bytes", "packed_bytes")

    def __init__(self) -> None:
        self.packed_bytes = 0
        self._packed: list[bytes] = []
        self._chunks: list[bytes] = []
        self._unpacked_bytes = 0

    def add(self, chunk: bytes) -> bool:
        """Whole events, as they went out. True: it is time to `pack`."""
        chunks = self._chunks
        chunks.append(chunk)
        self._unpacked_bytes += len(chunk)
        return len(chunks) >= CHUNKS_UNPACKED_MAX or self._unpacked_bytes >= BYTES_UNPACKED_MAX

    def pack(self) -> int:
        """Pack what is not packed yet; how many bytes that takes."""
        block = zlib.compress(b"".join(self._chunks), 1)
        self._chunks.clear()
        self._unpacked_bytes = 0
        self._packed.append(block)
        self.packed_bytes += len(block)
        return len(block)

    @property
    def is_too_long(self) -> bool:
        return self.packed_bytes > PACKED_BYTES_MAX

    def events(self) -> bytes:
        """Everything that went out, in one piece."""
        return b"".join([*map(zlib.decompress, self._packed), *self._chunks])
