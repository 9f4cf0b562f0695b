"""What one process saw is news to the others, once, and for a short while."""

from random import Random

from federation.ejection import DEFAULT_RULES, ProbeResult, State
from federation.fold import BytesSeen, DrainSeen, OutcomeSeen, ProbeSeen, ServedSeen, StoresSeen, fold
from federation.model import ClusterSpec, Drain, Snapshot
from federation.outcome import Outcome, OutcomeKind
from router.workers.evidence import (
    NEWS_S_MAX,
    OUTCOMES_MAX,
    drains_held,
    events_of,
    evidence_of,
    probes_so_far,
)

NOW = 1_000.0
SPECS = {name: ClusterSpec(name=name, region="r", endpoint=f"http://{name}") for name in ("a", "b")}
REFUSED = OutcomeSeen(Outcome(cluster="a", model="m", kind=OutcomeKind.REFUSED))


def test_what_calls_and_probes_saw_comes_through_whole() -> None:
    events = [BytesSeen("a"), ServedSeen("a", 3), REFUSED, ProbeSeen("b", ProbeResult.ANSWERED, 0.02)]
    evidence = evidence_of(events, NOW)
    assert evidence is not None
    assert list(events_of(evidence, NOW)) == events


def test_what_every_process_learns_by_itself_is_not_told() -> None:
    drain = Drain(cluster="a", active=True, reason="", version_ms=1, until_unix_ms=2)
    assert evidence_of([DrainSeen(drain), StoresSeen(1, 1)], NOW) is None
    assert evidence_of([], NOW) is None


def test_old_evidence_is_none() -> None:
    evidence = evidence_of([REFUSED], NOW)
    assert evidence is not None
    assert list(events_of(evidence, NOW + NEWS_S_MAX)) == [REFUSED]
    assert list(events_of(evidence, NOW + NEWS_S_MAX + 0.001)) == []


def test_outcomes_beyond_the_bound_are_left_out_and_counted() -> None:
    evidence = evidence_of([REFUSED] * (OUTCOMES_MAX + 7), NOW)
    assert evidence is not None
    assert (len(evidence.outcomes), evidence.left_out) == (OUTCOMES_MAX, 7)


def test_a_worker_that_begins_knows_whom_the_probes_do_not_reach_and_how_far_the_others_are() -> None:
    seen = [ProbeSeen("b", ProbeResult.ANSWERED, 0.02), *[ProbeSeen("a", ProbeResult.SILENT)] * 9]
    snapshot = fold(Snapshot.of_inventory(SPECS, NOW), seen, NOW, Random(1))
    assert snapshot.beliefs["a"].standing.state is State.EJECTED
    told = probes_so_far(snapshot, DEFAULT_RULES.silent_probes, NOW)
    assert len(told.probes) == 4, "no more silent ones than it takes"
    begun = fold(Snapshot.of_inventory(SPECS, NOW), list(events_of(told, NOW)), NOW, Random(2))
    assert begun.beliefs["a"].standing.state is State.EJECTED
    assert begun.beliefs["b"].standing.state is State.ADMITTED
    assert begun.beliefs["b"].rtt_s == 0.02


def test_drains_and_their_ends_are_held_until_they_run_out() -> None:
    drains = [
        Drain(cluster="a", active=True, reason="", version_ms=1, until_unix_ms=5_000),
        Drain(cluster="b", active=False, reason="", version_ms=2, until_unix_ms=9_000),
    ]
    snapshot = fold(Snapshot.of_inventory(SPECS, NOW), [DrainSeen(drain) for drain in drains], NOW, Random(1))
    assert drains_held(snapshot, 4_999) == tuple(drains)
    assert drains_held(snapshot, 5_000) == (drains[1],)
