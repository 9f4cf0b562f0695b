"""What one process of a front door saw, told to the others, so that all judge by the same evidence.

Only what was seen at first hand is told; what came from the others is not passed on again. It
is worth something while it is news: a process that was frozen must not act on what it finds in
its channel when it wakes.
"""

from collections.abc import Iterable, Iterator

import msgspec

from federation.ejection import ProbeResult
from federation.fold import BytesSeen, Event, OutcomeSeen, ProbeSeen, ServedSeen
from federation.model import Drain, Snapshot
from federation.outcome import Outcome

OUTCOMES_MAX = 500  # Told of one tick: a cluster that failed so often is out everywhere.
NEWS_S_MAX = 0.75  # As long as a probe may take; both clocks are the machine's own.


class Probed(msgspec.Struct, frozen=True, gc=False):
    """One probe's result."""

    cluster: str
    result: ProbeResult
    rtt_s: float | None = None


class Evidence(msgspec.Struct, frozen=True, tag="evidence", kw_only=True):
    """What was seen in one tick. `at`: monotonic seconds, which mean the same to all processes of a machine."""

    at: float
    heard: tuple[str, ...] = ()
    served: dict[str, int] = {}
    outcomes: tuple[Outcome, ...] = ()
    probes: tuple[Probed, ...] = ()
    left_out: int = 0  # Outcomes beyond the bound.


def evidence_of(events: Iterable[Event], at: float) -> Evidence | None:
    """What of these events the other processes should know; None if nothing."""
    heard: list[str] = []
    served: dict[str, int] = {}
    outcomes: list[Outcome] = []
    probes: list[Probed] = []
    for event in events:
        match event:
            case BytesSeen(cluster=cluster):
                heard.append(cluster)
            case ServedSeen(cluster=cluster, count=count):
                served[cluster] = served.get(cluster, 0) + count
            case OutcomeSeen(outcome=outcome):
                outcomes.append(outcome)
            case ProbeSeen(cluster=cluster, result=result, rtt_s=rtt_s):
                probes.append(Probed(cluster, result, rtt_s))
            case _:
                pass  # Heartbeats, drains and inventories each process learns by itself.
    if not (heard or served or outcomes or probes):
        return None
    return Evidence(
        at=at,
        heard=tuple(heard),
        served=served,
        outcomes=tuple(outcomes[:OUTCOMES_MAX]),
        probes=tuple(probes),
        left_out=max(0, len(outcomes) - OUTCOMES_MAX),
    )


def events_of(evidence: Evidence, now: float) -> Iterator[Event]:
    """The same as events for a feed; none if it is old."""
    if now - evidence.at > NEWS_S_MAX:
        return
    for cluster in evidence.heard:
        yield BytesSeen(cluster)
    for cluster, count in evidence.served.items():
        yield ServedSeen(cluster, count)
    for outcome in evidence.outcomes:
        yield OutcomeSeen(outcome)
    for probe in evidence.probes:
        yield ProbeSeen(probe.cluster, probe.result, probe.rtt_s)


def probes_so_far(snapshot: Snapshot, silent_max: int, at: float) -> Evidence:
    """What a worker that begins must know of the probes before it: distances, and who did not answer."""
    probes: list[Probed] = []
    for name, belief in snapshot.beliefs.items():
        if belief.rtt_s is not None:
            probes.append(Probed(name, ProbeResult.ANSWERED, belief.rtt_s))
        silent = min(belief.standing.silent_probes, silent_max)
        probes.extend(Probed(name, ProbeResult.SILENT) for _ in range(silent))
    return Evidence(at=at, probes=tuple(probes))


def drains_held(snapshot: Snapshot, wall_ms: float) -> tuple[Drain, ...]:
    """Every drain, and every end of one, that has not run out."""
    drains = (belief.drain for belief in snapshot.beliefs.values())
    return tuple(drain for drain in drains if drain is not None and wall_ms < drain.until_unix_ms)
