"""A body kept in the pieces in which it came. Pure.

Joining two hundred megabytes would hold up every other call; so nobody does. Only small
pieces are joined, a few at a time, since a piece of two bytes takes thirty to keep.
"""

from collections.abc import Iterator

SMALL_BYTES = 4 * 1024
JOINED_BYTES = 64 * 1024


class Pieces:
    """See the module's docstring. `len` is the number of bytes, as that of the whole would be."""

    __slots__ = ("_bytes", "_kept", "_small", "_small_bytes")

    def __init__(self) -> None:
        self._kept: list[bytes] = []
        self._small: list[bytes] = []  # The latest: not joined yet.
        self._small_bytes = 0
        self._bytes = 0

    def add(self, piece: bytes) -> None:
        """What came next."""
        self._bytes += len(piece)
        if len(piece) < SMALL_BYTES:
            self._small.append(piece)
            self._small_bytes += len(piece)
            if self._small_bytes >= JOINED_BYTES:
                self._join()
            return
        self._join()
        self._kept.append(piece)

    def _join(self) -> None:
        if self._small:
            self._kept.append(b"".join(self._small))
            self._small.clear()
            self._small_bytes = 0

    def __len__(self) -> int:
        return self._bytes

    def __iter__(self) -> Iterator[bytes]:
        """The pieces in order; as often as they are needed."""
        self._join()
        return iter(self._kept)


Body = bytes | Pieces
