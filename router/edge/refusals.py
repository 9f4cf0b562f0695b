"""The sentences in which a call is refused. Pure; each says what happened and what to do."""

from collections import Counter

import msgspec

from federation.outcome import NEVER_CONNECTED, OutcomeKind
from federation.view import Drop, FleetView
from router.call import Call
from router.decision import Refuse
from router.edge.answers import SENTENCE_BYTES
from router.errors import Failure, Kind
from router.retry import BROKEN_CLUSTERS_MAX, Attempts

MODELS_NAMED_MAX = 20


def no_candidate(call: Call, decision: Refuse, fleet: FleetView) -> Failure:
    """No cluster was even tried."""
    if not decision.known:
        if not fleet.all_models_known:
            return Failure(
                Kind.NO_CLUSTER, f"No cluster is known to serve the model '{call.model}' yet; try again.", "model"
            )
        known = sorted(fleet.models)
        names = ", ".join(known[:MODELS_NAMED_MAX]) + (", ..." if len(known) > MODELS_NAMED_MAX else "")
        return Failure(
            Kind.MODEL_NOT_FOUND,
            f"The model '{call.model}' does not exist here. Known models: {names or 'none'}.",
            "model",
        )
    if decision.drops and all(drop is Drop.ELSEWHERE for drop in decision.drops.values()):
        if call.continues is not None and call.clusters is not None:
            where = ", ".join(sorted(call.clusters))
            message = f"The response '{call.continues}' is kept by {where}, which does not serve '{call.model}' now."
            return Failure(Kind.NO_CLUSTER, message, "previous_response_id")
        path = call.path.partition("?")[0]
        return Failure(Kind.NOT_FOUND, f"No cluster that serves the model '{call.model}' serves {path}.")
    counted = Counter(decision.drops.values())
    reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(counted.items()))
    return Failure(
        Kind.NO_CLUSTER, f"No cluster can take a call for '{call.model}' now ({reasons or 'none left'}); try again."
    )


def nobody_answered(call: Call, attempts: Attempts, retry_after_s: float | None) -> Failure:
    """Every attempt failed before the first byte."""
    if not attempts.made:
        return Failure(Kind.NO_CLUSTER, f"No cluster is left that could take a call for '{call.model}'; try again.")
    tried = f"{attempts.made} attempt{'s' if attempts.made != 1 else ''}"
    if attempts.credentials_only and attempts.last is OutcomeKind.CREDENTIALS:
        return Failure(
            Kind.UPSTREAM_CREDENTIALS, "The clusters refuse this front door's credentials; its operator must act."
        )
    if attempts.broken_clusters >= BROKEN_CLUSTERS_MAX:
        return Failure(
            Kind.CLUSTERS_BROKEN, f"{attempts.broken_clusters} clusters broke while working on this call; not tried on."
        )
    if attempts.last in (OutcomeKind.LOCAL_SHORTAGE, OutcomeKind.POOL_FULL):
        return Failure(Kind.TOO_BUSY, "This front door cannot open more connections; try again.")
    if attempts.last is OutcomeKind.NO_ROOM:
        seconds = None if retry_after_s is None else max(1, round(retry_after_s))
        return Failure(Kind.NO_ROOM, f"Every cluster tried is full ({tried}); try again later.", retry_after_s=seconds)
    if attempts.last is OutcomeKind.FIRST_BYTE_TIMEOUT:
        return Failure(Kind.FIRST_BYTE_TIMEOUT, f"No cluster answered in time ({tried}).")
    if attempts.last in NEVER_CONNECTED and not attempts.connected:
        return Failure(Kind.NOBODY_CONNECTED, f"No cluster could be connected to ({tried}); try again.")
    if attempts.last in (OutcomeKind.MODEL_MISSING, OutcomeKind.MODEL_UNAVAILABLE):
        return Failure(Kind.NO_CLUSTER, f"The model '{call.model}' is not available at the clusters tried ({tried}).")
    return Failure(Kind.UPSTREAM_FAILED, f"The clusters tried failed before they answered ({tried}).")


def broken_off(how: str) -> Failure:
    """A stream ended before its time, and nobody could go on with it."""
    return Failure(Kind.STREAM_BROKEN, f"The cluster {how} in the middle of its answer.")


class _Refusal(msgspec.Struct):
    message: str
    param: str | None = None


class _Envelope(msgspec.Struct):
    error: _Refusal | str


def refused_by_cluster(body: bytes) -> Failure:
    """The error of a cluster that came behind a head of ours: what it says, as an event."""
    try:
        said = msgspec.json.decode(body, type=_Envelope).error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        said = body[:SENTENCE_BYTES].decode("utf-8", "replace") or "The cluster refused the request."
    if isinstance(said, str):
        return Failure(Kind.REFUSED_BY_CLUSTER, said)
    return Failure(Kind.REFUSED_BY_CLUSTER, said.message, said.param)


def not_in_time(call: Call) -> Failure:
    """The call's own deadline passed."""
    deadline_ms = round((call.deadline_s or 0) * 1000)
    return Failure(Kind.DEADLINE_EXCEEDED, f"No first byte within the deadline of {deadline_ms} ms.")
