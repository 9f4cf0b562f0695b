"""One stream that broke and goes on elsewhere: what the client has of it, and what to ask the next cluster for.

Where a limit of tokens or their count matters, the next cluster is first asked how many tokens
the delivered text has; an event is not a token.
"""

from collections.abc import Callable

import msgspec

from federation.features import RESUMES, STOP_WITHHELD
from federation.outcome import OutcomeKind
from federation.view import Placed
from router.call import Call
from router.edge.answers import meaning
from router.edge.heads import Headers
from router.edge.keeping import Keeping
from router.resume.continued import COUNT_PATH, Wanted, continued, count_request, counted, wanted
from router.resume.delivered import Delivered, Unreadable, delivered, shows_reasoning
from router.resume.eligible import CHAT_PATH, obstacle, stops
from router.resume.kept import Kept
from router.resume.stitch import Stitcher, done, last_chunk
from router.retry import BROKEN_CLUSTERS_MAX, Attempts

COUNT_BYTES_MAX = 4 * 1024 * 1024  # Some servers list the tokens.


class NotResumable(Exception):
    """The stream cannot be gone on with; `reason` is a metric label."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Resumption:
    """See the module's docstring. Raises NotResumable when the stream is not one to go on with."""

    def __init__(self, call: Call, path: str, body: bytes, kept: Kept, features: frozenset[str]) -> None:
        self._path = path
        self._target = call.path  # With the query, if there is one.
        self._body = body
        self.needs: frozenset[str] = frozenset()
        self.tokens: int | None = None  # Of the delivered text; None: not counted.
        try:
            self.has: Delivered = delivered(kept.events())
            self.wanted: Wanted = wanted(body)
        except (Unreadable, msgspec.DecodeError, UnicodeDecodeError):
            raise NotResumable("unreadable") from None
        has = self.has
        if has.done or not has.text:
            return  # Over, or nothing was said yet: the request begins anew, whatever it asks for.
        if (field := obstacle(path, body)) is not None:
            raise NotResumable(f"request: {field}")
        if path == CHAT_PATH and shows_reasoning(has.text):
            raise NotResumable("unreadable")
        self.needs = frozenset({RESUMES})
        if stops(body):
            self.needs |= {STOP_WITHHELD}
        if not self.needs <= features:
            raise NotResumable("cluster")
        if has.usage is not None and not has.usage_is_final and has.usage.completion_tokens:
            self.tokens = has.usage.completion_tokens  # The client had them told with every event.

    @property
    def lacks_only(self) -> bytes | None:
        """The end of a stream that lacks nothing else; None if the rest must be asked for."""
        has = self.has
        if has.done:
            return b""
        if has.finish_reason is not None and (has.usage_is_final or not self.wanted.usage):
            return done()
        return None

    @property
    def wants_count(self) -> bool:
        """Whether the tokens of the delivered text must be counted first."""
        asked = self.wanted.usage or self.wanted.tokens_max is not None
        return asked and self.tokens is None and bool(self.has.text)

    def end_by_limit(self) -> bytes | None:
        """The end of a text that had its last token when it broke, as far as it is known without asking; else None."""
        limit, has = self.wanted.tokens_max, self.has
        if has.finish_reason is not None or limit is None or self.tokens is None or self.tokens < limit:
            return None
        has.finish_reason = "length"
        return last_chunk(has, chat=self._path == CHAT_PATH)

    def request(self, features: frozenset[str]) -> tuple[str, bytes]:
        """Path and body of what to ask a cluster with these features next."""
        if self.wants_count:
            return COUNT_PATH, count_request(self.wanted.model, self.has.text)
        return self._target, continued(self._path, self._body, self.has, self.tokens, features)

    def narrowed(self, call: Call) -> Call:
        """The call, to be placed only where its stream can be gone on with."""
        return msgspec.structs.replace(call, needs=self.needs or None)

    def stitcher(self) -> Stitcher:
        return Stitcher(self.has, self.tokens or 0, only_usage=self.has.finish_reason is not None)


class TokenCount:
    """Takes the answer of a model server that was asked to count tokens."""

    def __init__(self, counts: Callable[[int], None], fails: Callable[[OutcomeKind], None]) -> None:
        self._counts = counts
        self._fails = fails
        self._status = 0
        self._answer = bytearray()

    def attempt_head(self, status: int, headers: Headers) -> None:
        self._status = status

    def attempt_data(self, chunk: bytes) -> None:
        if len(self._answer) <= COUNT_BYTES_MAX:
            self._answer += chunk

    def attempt_end(self) -> None:
        tokens = counted(bytes(self._answer)) if self._status == 200 else None
        if tokens is not None:
            self._counts(tokens)
            return
        kind = meaning(self._status, [])
        # A server that cannot count is not held against anybody.
        refused = kind in (OutcomeKind.SERVED, OutcomeKind.MODEL_MISSING)
        self._fails(OutcomeKind.PASSED_THROUGH if refused else kind)

    def attempt_whole(self, headers: Headers, lines: bytes, body: bytes) -> None:
        self.attempt_head(200, headers)
        self.attempt_data(body)
        self.attempt_end()

    def attempt_failed(self, kind: OutcomeKind) -> None:
        self._fails(kind)


def resumption_after(
    call: Call, keeping: Keeping | None, kept: Kept | None, placed: Placed, attempts: Attempts
) -> Resumption | str:
    """What to go on with after a break; or, as a metric label, why nobody goes on with it."""
    if keeping is None or kept is None:
        return "not_kept"
    try:
        rest = Resumption(call, keeping.path, keeping.body, kept, placed.pool.features)
    except NotResumable as cause:
        return cause.reason
    if rest.lacks_only is None and attempts.broken_clusters >= BROKEN_CLUSTERS_MAX:
        return "suspected"  # Of killing servers.
    return rest
