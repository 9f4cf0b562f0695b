"""One try of one call at one cluster: holds the upstream connection and tells its exchange what comes."""

from typing import Protocol

from federation.outcome import OutcomeKind
from federation.view import Placed
from router.edge.heads import Headers
from router.edge.pool import ClusterPool
from router.edge.upstream import UpstreamConnection
from router.pieces import Body


class AttemptOwner(Protocol):
    """The exchange, as its attempts see it."""

    def attempt_head(self, status: int, headers: Headers) -> None: ...

    def attempt_data(self, chunk: bytes) -> None: ...

    def attempt_end(self) -> None: ...

    def attempt_whole(self, headers: Headers, lines: bytes, body: bytes) -> None:
        """See upstream.Taker.on_whole."""
        ...

    def attempt_failed(self, kind: OutcomeKind) -> None: ...


class Attempt:
    """See the module's docstring. Once over, it hears nothing more."""

    __slots__ = ("_body", "_head", "_owner", "_pool", "_reused", "began_at", "connection", "over", "placed")

    def __init__(
        self, owner: AttemptOwner, placed: Placed, pool: ClusterPool, head: bytes, body: Body, began_at: float
    ) -> None:
        self._owner = owner
        self._pool = pool
        self._head = head
        self._body = body
        self._reused = False
        self.placed = placed
        self.began_at = began_at  # Loop time, seconds.
        self.connection: UpstreamConnection | None = None
        self.over = False

    def begin(self) -> None:
        """Get a connection and send."""
        if not self.over:  # It may have had to wait for its turn.
            self._pool.acquire(self)

    def end(self) -> None:
        """We want no more of it: the upstream request is aborted unless its answer is complete."""
        self.over = True
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.release()

    def forget_request(self) -> None:
        """It will not be sent again: a long answer need not keep its prompt in memory."""
        self._head = self._body = b""

    # Taker

    @property
    def wanted(self) -> bool:
        return not self.over

    def attach(self, connection: UpstreamConnection, reused: bool) -> None:
        self.connection = connection
        self._reused = reused
        connection.send(self, self._head, self._body)

    def on_head(self, status: int, headers: Headers) -> None:
        self._owner.attempt_head(status, headers)

    def on_data(self, chunk: bytes) -> None:
        self._owner.attempt_data(chunk)

    def on_end(self) -> None:
        self.over = True
        self.connection = None
        self._owner.attempt_end()

    def on_whole(self, headers: Headers, lines: bytes, body: bytes) -> None:
        self.over = True
        self.connection = None
        self._owner.attempt_whole(headers, lines, body)

    def on_failed(self, kind: OutcomeKind) -> None:
        connection, self.connection = self.connection, None
        if kind is OutcomeKind.RESET and self._reused and connection is not None and not connection.answered:
            # The idle connection was closed under us: that says nothing of the cluster. Once more, on a new one.
            self._reused = False
            self._pool.acquire(self, fresh=True)
            return
        self.over = True
        self._owner.attempt_failed(kind)
