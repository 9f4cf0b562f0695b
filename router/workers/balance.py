"""How many connections each worker has, in memory that all of them share: the one with the fewest takes the next.

The kernel wakes every worker for a new connection, and more often than not the same one comes
first; on connections that are kept open the difference would last. So a worker that has more
than another waits a moment before it takes one. Whoever is busy, frozen or dead delays the
others by that moment at most. Each slot has one writer, but for the parent, which marks those
that are not to be waited for.
"""

import mmap
import os
import tempfile

SLOT_BYTES = 8
ABSENT = -1  # Nobody has this place, or whoever has it is silent.
SLACK = 2  # Connections more than another has, before a worker waits for it.


class Balance:
    """The table, as one process sees it."""

    def __init__(self, descriptor: int, places: int) -> None:
        self._memory = mmap.mmap(descriptor, SLOT_BYTES * places)
        self._counts = memoryview(self._memory).cast("q")

    def write(self, place: int, count: int) -> None:
        """This place has so many connections now."""
        self._counts[place] = count

    def has_more(self, place: int, count: int) -> bool:
        """Whether a worker with so many connections should leave the next one to another."""
        return any(
            other != place and theirs != ABSENT and count > theirs + SLACK for other, theirs in enumerate(self._counts)
        )

    def close(self) -> None:
        self._counts.release()
        self._memory.close()


def new_table(places: int) -> int:
    """The descriptor of a table in which every place is absent."""
    content = ABSENT.to_bytes(SLOT_BYTES, "little", signed=True) * places  # All bits set, in either order of bytes.
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("tradewind-workers", os.MFD_CLOEXEC)
    else:
        descriptor, path = tempfile.mkstemp()
        os.unlink(path)
    os.write(descriptor, content)
    return descriptor
