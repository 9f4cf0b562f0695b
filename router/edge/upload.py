"""A large body on its way to a cluster, as fast as the cluster takes it. The outside world: clusters.

No step of the event loop hands over more than a bounded number of bytes, so that a large file
adds nothing to what other calls wait.
"""

import asyncio
from collections import deque

from router.pieces import Pieces

STEP_BYTES = 256 * 1024  # Encrypting as much takes about 0.2 ms.
LET_GO_BYTES = 2 * 1024 * 1024


class Upload:
    """See the module's docstring."""

    __slots__ = ("_paused", "_pieces", "_scheduled", "_transport", "done")

    def __init__(self, transport: asyncio.Transport, body: Pieces) -> None:
        self.done = False  # All of it is with the transport.
        self._transport = transport
        self._pieces = deque(body)
        self._paused = False
        self._scheduled = False

    def go_on(self) -> None:
        """Hand over the next step, unless the cluster has yet to take the last one."""
        self._scheduled = False
        if self._paused or self.done or self._transport.is_closing():
            return
        step: list[bytes] = []
        step_bytes = 0
        while self._pieces and step_bytes < STEP_BYTES:
            piece = self._pieces.popleft()
            step.append(piece)
            step_bytes += len(piece)
        self.done = not self._pieces
        if step:
            self._transport.writelines(step)
        if not self.done and not self._paused:
            self._later()

    def _later(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self.go_on)

    def pause(self) -> None:
        """The cluster does not keep up."""
        self._paused = True

    def resume(self) -> None:
        """It has caught up."""
        self._paused = False
        self._later()


def let_go(body: Pieces) -> None:
    """Free a body that nobody needs any more: at once, two hundred megabytes would take the kernel 20 ms."""
    doomed = list(body)
    if len(body) > LET_GO_BYTES:
        asyncio.get_running_loop().call_soon(_let_go_on, doomed)


def _let_go_on(doomed: list[bytes]) -> None:
    freed = 0
    while doomed and freed < LET_GO_BYTES:
        freed += len(doomed.pop())
    if doomed:
        asyncio.get_running_loop().call_soon(_let_go_on, doomed)
