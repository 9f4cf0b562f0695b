"""What is kept of a stream while it runs, so that it can be gone on with: its request, and what went out of it.

Bounded for one stream and for all together: what would not fit is let go, and such a stream
ends with an error if it breaks.
"""

from federation.features import RESUMES
from federation.view import Placed
from router.call import Call
from router.edge.door import FrontDoor
from router.edge.reply import Reply
from router.pieces import Body
from router.resume.eligible import PATHS, obstacle
from router.resume.kept import Kept


class Keeping:
    """See the module's docstring."""

    __slots__ = ("_charged_bytes", "_door", "_packs", "_reply", "body", "path")

    def __init__(self, door: FrontDoor, reply: Reply, path: str, body: bytes) -> None:
        self.path = path
        self.body = body
        self._door = door
        self._reply = reply
        self._packs = 0
        self._charged_bytes = len(body)
        door.kept_bytes += len(body)
        reply.kept = Kept()

    def pack(self) -> None:
        """There is enough to be packed. The first time it is also seen whether keeping it can be of any use."""
        kept, door = self._reply.kept, self._door
        if kept is None:
            return
        packed = kept.pack()
        self._charged_bytes += packed
        door.kept_bytes += packed
        self._packs += 1
        useless = self._packs == 1 and obstacle(self.path, self.body) is not None
        if useless or kept.is_too_long or not door.may_keep(0):
            self.let_go()

    def let_go(self) -> None:
        """Nothing is kept any more."""
        self._door.kept_bytes -= self._charged_bytes
        self._charged_bytes = 0
        self._reply.kept = None
        self.body = b""


def keeping_of(door: FrontDoor, reply: Reply, call: Call, path: str, placed: Placed, body: Body) -> Keeping | None:
    """What to keep of a stream that begins; None if it could not be gone on with anyway."""
    if not call.resume or path not in PATHS or RESUMES not in placed.pool.features or not isinstance(body, bytes):
        return None
    return Keeping(door, reply, path, body) if door.may_keep(len(body)) else None
