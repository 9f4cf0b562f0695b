"""What came of one attempt at one cluster."""

from enum import StrEnum

import msgspec


class OutcomeKind(StrEnum):
    """What an attempt ended with. The strings are metric labels."""

    __hash__ = str.__hash__  # The enumeration's own takes ten times as long.

    SERVED = "served"
    REFUSED = "refused"  # No connection: nobody listens there, or TLS failed.
    CONNECT_TIMEOUT = "connect_timeout"
    RESET = "reset"  # Accepted, then the connection broke before the first byte.
    FIRST_BYTE_TIMEOUT = "first_byte_timeout"
    UNAVAILABLE = "unavailable"  # 502, 503, 504.
    MODEL_UNAVAILABLE = "model_unavailable"  # 503 with a reason that names the model.
    SERVER_ERROR = "server_error"  # 500 and other 5xx.
    BAD_ANSWER = "bad_answer"  # Not HTTP, or a broken body.
    NO_ROOM = "no_room"  # 429.
    MODEL_MISSING = "model_missing"  # 404 for a model that it claims to serve.
    CREDENTIALS = "credentials"  # 401, 403: our credentials, not the client's.
    PASSED_THROUGH = "passed_through"  # Any other 4xx: the client's own doing.
    BROKEN = "broken"  # Broke or fell silent after the first byte.
    ABANDONED = "abandoned"  # We ended it: the cluster was ejected as unreachable.
    CANCELLED = "cancelled"  # The client left.
    POOL_FULL = "pool_full"  # As many connections to it as one process may have: says nothing of the cluster.
    LOCAL_SHORTAGE = "local_shortage"  # Our own descriptors or ports ran out: says nothing of the cluster.


# Evidence against the cluster, and how heavily one such outcome weighs.
AGAINST_CLUSTER: dict[OutcomeKind, float] = {
    OutcomeKind.REFUSED: 1.0,
    OutcomeKind.CONNECT_TIMEOUT: 1.0,
    OutcomeKind.RESET: 1.0,
    OutcomeKind.FIRST_BYTE_TIMEOUT: 1.0,
    OutcomeKind.UNAVAILABLE: 1.0,
    OutcomeKind.BAD_ANSWER: 1.0,
    OutcomeKind.BROKEN: 1.0,
    OutcomeKind.SERVER_ERROR: 0.34,  # Lightly: often the request's own doing.
}

# Evidence that the cluster answers at all.
ANSWERED = frozenset(
    {
        OutcomeKind.SERVED,
        OutcomeKind.NO_ROOM,
        OutcomeKind.MODEL_MISSING,
        OutcomeKind.MODEL_UNAVAILABLE,
        OutcomeKind.CREDENTIALS,
        OutcomeKind.PASSED_THROUGH,
    }
)

# An answer with an error: evidence against the cluster, and yet a sign of life.
ANSWERED_BADLY = frozenset({OutcomeKind.UNAVAILABLE, OutcomeKind.SERVER_ERROR})

# Nobody was there to take the call: another attempt cannot have been served twice.
NEVER_CONNECTED = frozenset({OutcomeKind.REFUSED, OutcomeKind.CONNECT_TIMEOUT})


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """What came of one attempt, as the exchange reports it to the feed."""

    cluster: str
    model: str
    kind: OutcomeKind
    retry_after_s: float | None = None  # From a 429 or 503.
    ttft_s: float | None = None
    prompt_bytes: int = 0
