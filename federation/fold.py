"""fold(snapshot, events, now, rng) -> snapshot: the only writer of beliefs.

Events are what the shell heard since the last tick: heartbeats, drains, probes, outcomes of
calls, the state of the stores, a new inventory. Fences: a heartbeat that is not newer by
(epoch, seq) is ignored. Absence is never evidence: only the inventory removes a cluster.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from types import MappingProxyType

import msgspec

from federation.ejection import (
    DEFAULT_RULES,
    Cause,
    EjectionRules,
    ProbeResult,
    Standing,
    State,
    after_answers,
    after_outcome,
    after_probe,
    after_time,
    heard,
)
from federation.liveness import Liveness, liveness
from federation.model import Belief, ClusterSpec, Drain, Heartbeat, Hold, HoldKind, Mode, Snapshot
from federation.outcome import Outcome, OutcomeKind

FAILING_SHARE_MAX = 0.5  # Passive evidence alone ejects at most half the fleet: beyond that, suspect the observer.
RTT_RISE = 0.01  # Of a slower sample: a busy cluster answers late, which makes it no farther away.
HOLD_S_DEFAULT = 1.0  # For a 429 that names no time.
HOLD_S_MAX = 60.0
MODEL_MISSING_S = 30.0


@dataclass(frozen=True, slots=True)
class HeartbeatSeen:
    heartbeat: Heartbeat
    own: Mapping[str, int]  # Our own calls in flight at that cluster, by model, at this moment.
    first_sight: bool = False  # The first message this store showed us of the cluster: perhaps a last word.


@dataclass(frozen=True, slots=True)
class DrainSeen:
    drain: Drain


@dataclass(frozen=True, slots=True)
class ProbeSeen:
    cluster: str
    result: ProbeResult
    rtt_s: float | None = None


class OutcomeSeen(msgspec.Struct, frozen=True):
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class ServedSeen:
    """So many attempts were served by this cluster since the last tick: by far the most frequent outcome."""

    cluster: str
    count: int


@dataclass(frozen=True, slots=True)
class BytesSeen:
    """Calls received bytes from this cluster since the last tick."""

    cluster: str


@dataclass(frozen=True, slots=True)
class StoresSeen:
    reachable: int
    configured: int


@dataclass(frozen=True, slots=True)
class InventorySeen:
    specs: Mapping[str, ClusterSpec]


Event = HeartbeatSeen | DrainSeen | ProbeSeen | OutcomeSeen | ServedSeen | BytesSeen | StoresSeen | InventorySeen


def fold(
    snapshot: Snapshot,
    events: Sequence[Event],
    now: float,
    rng: Random,
    rules: EjectionRules = DEFAULT_RULES,
) -> Snapshot:
    """The next snapshot. `now` is monotonic seconds; `rng` draws the jitter of ejections."""
    assert now >= snapshot.folded_at, "monotonic time went back"
    beliefs = dict(snapshot.beliefs)
    mode = snapshot.mode
    touched: set[str] = set()
    declared = snapshot.restless is None  # Everything is to be looked at.
    for event in events:
        if isinstance(event, InventorySeen):
            beliefs = _with_inventory(beliefs, event.specs)
            declared = True
        elif isinstance(event, StoresSeen):
            mode = Mode.FROZEN if event.configured and not event.reachable else Mode.LIVE
        else:
            name = _cluster_of(event)
            belief = beliefs.get(name)
            if belief is not None:
                after = _after(belief, event, beliefs, now, rng, rules)
                if after is not belief:
                    beliefs[name] = after
                    touched.add(name)
    restless: set[str] = set()
    for name in beliefs if declared or snapshot.restless is None else sorted(touched | snapshot.restless):
        belief = beliefs[name]
        if belief.standing.state is State.ADMITTED and not belief.standing.times:
            continue  # Time has nothing to add: by far the most.
        restless.add(name)
        standing = after_time(belief.standing, now, rules)
        if standing is not belief.standing:
            beliefs[name] = replace(belief, standing=standing)
            touched.add(name)
    return Snapshot(
        generation=snapshot.generation + 1,
        mode=mode,
        folded_at=now,
        beliefs=MappingProxyType(beliefs),
        changed=None if declared else frozenset(touched),
        restless=frozenset(restless),
    )


def is_newer(belief: Belief, heartbeat: Heartbeat, now: float) -> bool:
    """Whether a heartbeat supersedes the one we hold.

    After a cluster was lost, a newer boot is believed whatever the lease says: the lease may
    have been deleted and made anew, and a cluster must not be locked out for ever.
    """
    held = belief.heartbeat
    if held is None or heartbeat.order > held.order:
        return True
    lost = liveness(belief.arrived_at, held.interval_ms / 1000, belief.advanced, now) is Liveness.LOST
    return lost and heartbeat.epoch.boot_ms > held.epoch.boot_ms


def _cluster_of(event: HeartbeatSeen | DrainSeen | ProbeSeen | OutcomeSeen | ServedSeen | BytesSeen) -> str:
    match event:
        case HeartbeatSeen(heartbeat=heartbeat):
            return heartbeat.cluster
        case DrainSeen(drain=drain):
            return drain.cluster
        case OutcomeSeen(outcome=outcome):
            return outcome.cluster
        case _:
            return event.cluster


def _after(
    belief: Belief,
    event: HeartbeatSeen | DrainSeen | ProbeSeen | OutcomeSeen | ServedSeen | BytesSeen,
    beliefs: Mapping[str, Belief],
    now: float,
    rng: Random,
    rules: EjectionRules,
) -> Belief:
    match event:
        case HeartbeatSeen(heartbeat=heartbeat, own=own, first_sight=first_sight):
            if not is_newer(belief, heartbeat, now):
                return belief
            return replace(
                belief,
                heartbeat=heartbeat,
                arrived_at=now,
                advanced=belief.advanced or (belief.heartbeat is not None and not first_sight),
                own_at_arrival=own,
            )
        case DrainSeen(drain=drain):
            held = belief.drain
            return belief if held is not None and held.version_ms >= drain.version_ms else replace(belief, drain=drain)
        case ProbeSeen(result=result, rtt_s=rtt_s):
            standing = after_probe(belief.standing, result, now, rng, rules)
            standing = _capped(belief.standing, standing, beliefs, now, rules)
            smoothed_s = _smoothed(belief.rtt_s, rtt_s)
            if smoothed_s == belief.rtt_s:
                return _with_standing(belief, standing)
            return replace(belief, standing=standing, rtt_s=smoothed_s)
        case ServedSeen(count=count):
            return _with_standing(belief, after_answers(belief.standing, count, now, rules))
        case BytesSeen():
            return _with_standing(belief, heard(belief.standing, now))
        case OutcomeSeen(outcome=outcome):
            standing = after_outcome(belief.standing, outcome.kind, now, rng, rules)
            holds = _holds_after(belief.holds, outcome, now)
            return replace(belief, standing=_capped(belief.standing, standing, beliefs, now, rules), holds=holds)


def _with_standing(belief: Belief, standing: Standing) -> Belief:
    return belief if standing is belief.standing else replace(belief, standing=standing)


def _capped(
    before: Standing, after: Standing, beliefs: Mapping[str, Belief], now: float, rules: EjectionRules
) -> Standing:
    """Refuse an ejection for failing answers once half the fleet is out for that: such a cluster is doubted instead.

    What fails everywhere may be the calls' own doing, so nobody else is taken out for it. But one that fails must not
    stay everybody's first choice either: every call would pay for a second attempt, until the budget is spent.
    """
    newly_failing = after.state is State.EJECTED and before.state is not State.EJECTED and after.cause is Cause.FAILING
    if not newly_failing:
        return after
    failing = sum(
        1
        for belief in beliefs.values()
        if belief.standing.state is State.EJECTED and belief.standing.cause is Cause.FAILING
    )
    if failing + 1 <= FAILING_SHARE_MAX * len(beliefs):
        return after
    # What it said of life still counts.
    return replace(
        before,
        silent_probes=after.silent_probes,
        refused=after.refused,
        heard_at=after.heard_at,
        doubted_until=now + rules.doubted_s,
    )


def _holds_after(holds: Mapping[str, Hold], outcome: Outcome, now: float) -> Mapping[str, Hold]:
    held_for_s: float
    match outcome.kind:
        case OutcomeKind.NO_ROOM:
            kind, held_for_s = HoldKind.NO_ROOM, min(HOLD_S_MAX, outcome.retry_after_s or HOLD_S_DEFAULT)
        case OutcomeKind.MODEL_UNAVAILABLE:
            kind, held_for_s = HoldKind.MODEL_MISSING, min(HOLD_S_MAX, outcome.retry_after_s or HOLD_S_DEFAULT)
        case OutcomeKind.MODEL_MISSING:
            kind, held_for_s = HoldKind.MODEL_MISSING, MODEL_MISSING_S
        case _:
            return holds
    kept = {model: hold for model, hold in holds.items() if hold.until > now}
    kept[outcome.model] = Hold(kind, now + held_for_s)
    return MappingProxyType(kept)


def _smoothed(before: float | None, sample: float | None) -> float | None:
    """Round trips follow the fastest answers at once, slower ones over half a minute."""
    if sample is None:
        return before
    if before is None or sample <= before:
        return sample
    return before + RTT_RISE * (sample - before)


def _with_inventory(beliefs: Mapping[str, Belief], specs: Mapping[str, ClusterSpec]) -> dict[str, Belief]:
    """Beliefs for exactly the declared clusters; a changed endpoint starts with a clean sheet."""
    renewed: dict[str, Belief] = {}
    for name in sorted(specs):
        belief = beliefs.get(name)
        if belief is None or belief.spec.endpoint != specs[name].endpoint:
            renewed[name] = Belief(specs[name], drain=belief.drain if belief else None)
        else:
            renewed[name] = replace(belief, spec=specs[name])
    return renewed
