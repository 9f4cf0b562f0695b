"""What an attempt's outcome means for the call: another candidate, or an answer.

Retries are paid for. Ordinary calls deposit a fraction of a token each, a retry takes one:
in calm weather the budget is full, in a storm retries stay a fixed share of the traffic.
The loss of a cluster is the exception: all its calls come back at once, and each of them
may go elsewhere without asking, for the load is the same as before. (The idea of deposits
is Finagle's RetryBudget.)
"""

from dataclasses import dataclass
from enum import StrEnum

from federation.outcome import OutcomeKind

ATTEMPTS_MAX = 3
BROKEN_CLUSTERS_MAX = 2  # A call that broke two clusters after it was sent is suspected of killing servers.

# Failures that the loss of a cluster explains: they need no budget.
_LOSS = frozenset({OutcomeKind.REFUSED, OutcomeKind.CONNECT_TIMEOUT, OutcomeKind.RESET, OutcomeKind.ABANDONED})
_RETRYABLE = _LOSS | {
    OutcomeKind.FIRST_BYTE_TIMEOUT,
    OutcomeKind.UNAVAILABLE,
    OutcomeKind.MODEL_UNAVAILABLE,
    OutcomeKind.SERVER_ERROR,
    OutcomeKind.BAD_ANSWER,
    OutcomeKind.NO_ROOM,
    OutcomeKind.MODEL_MISSING,
    OutcomeKind.CREDENTIALS,
    OutcomeKind.POOL_FULL,  # Not the loss of a cluster: paid for, like a cluster that says it is full.
}


class Next(StrEnum):
    """What to do after an attempt."""

    TRY_NEXT = "try_next"
    STOP = "stop"


@dataclass(slots=True)
class RetryBudget:
    """Tokens for retries; deposits come from ordinary calls. One per process."""

    per_call: float = 0.2
    tokens_max: float = 100.0
    tokens: float = 20.0

    def deposit(self) -> None:
        """An ordinary call came in."""
        tokens = self.tokens + self.per_call
        self.tokens = tokens if tokens < self.tokens_max else self.tokens_max

    def take(self) -> bool:
        """Pay for one retry; False if there is nothing left."""
        if self.tokens < 1.0:
            return False
        self.tokens -= 1.0
        return True


@dataclass(slots=True)
class Attempts:
    """The attempts of one call so far."""

    made: int = 0
    connected: bool = False  # Whether any cluster accepted it.
    broken_clusters: int = 0
    server_errors: int = 0
    last: OutcomeKind | None = None
    credentials_only: bool = True


def after_attempt(attempts: Attempts, kind: OutcomeKind, budget: RetryBudget) -> Next:
    """Record how an attempt ended before the first byte, and say whether to try the next candidate."""
    attempts.last = kind
    if kind is not OutcomeKind.CREDENTIALS:
        attempts.credentials_only = False
    if kind is OutcomeKind.RESET:
        attempts.broken_clusters += 1
    if kind is OutcomeKind.SERVER_ERROR:
        attempts.server_errors += 1
    if kind not in _RETRYABLE or attempts.made >= ATTEMPTS_MAX:
        return Next.STOP
    if attempts.broken_clusters >= BROKEN_CLUSTERS_MAX or attempts.server_errors > 1:
        return Next.STOP
    if kind in _LOSS or budget.take():
        return Next.TRY_NEXT
    return Next.STOP
