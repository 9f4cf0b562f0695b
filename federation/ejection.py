"""Standing: may a cluster take new calls, as far as probes and outcomes say?

Three states. ADMITTED takes calls. EJECTED takes none until its back-off has passed *and* a
probe was answered. PROBATION takes a trickle that grows for `slow_start_s`; one failure ends
it and the next back-off is twice as long.

Two causes, which weigh differently. UNREACHABLE: nothing answers there, so calls that wait
there without a byte are taken elsewhere, and even panic does not send new ones. FAILING: it
answers, with errors; in panic, when too few others are left, it is used all the same.

A cluster too busy to answer a probe in time is not unreachable: any byte that a call
received from it counts as an answered probe.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from random import Random

from federation.outcome import AGAINST_CLUSTER, ANSWERED, ANSWERED_BADLY, NEVER_CONNECTED, OutcomeKind


class State(StrEnum):
    ADMITTED = "admitted"
    EJECTED = "ejected"
    PROBATION = "probation"


class Cause(StrEnum):
    UNREACHABLE = "unreachable"
    FAILING = "failing"


class ProbeResult(StrEnum):
    """What a probe saw."""

    ANSWERED = "answered"
    UNWELL = "unwell"  # It answered, with a status that says it cannot serve.
    SILENT = "silent"  # Refused, reset or too late.


SHARE_NEGLIGIBLE = 0.001
HEARD_AGAIN_S = 1.0  # Of a cluster in good standing: signs of life are noted this often, not with each of them.


@dataclass(frozen=True, slots=True)
class EjectionRules:
    """When a cluster is taken out and how it comes back."""

    silent_probes: int = 3  # In a row; with a probe each 0.25 s and 0.75 s to answer: found within 1.5 s.
    unwell_probes: int = 4
    refused_calls: int = 3  # In a row: nobody listens, no need to wait for the probes.
    failures_in_row: float = 5.0
    failure_share: float = 0.6  # Of a moving average over about `memory_calls` calls.
    memory_calls: int = 20
    backoff_s: float = 1.0
    backoff_s_max: float = 30.0
    jitter: float = 0.2
    slow_start_s: float = 10.0
    slow_start_share_min: float = 0.1
    doubted_s: float = 5.0  # After what would have ejected it, had not half the fleet been out.
    forgiven_after_s: float = 60.0  # Admitted for this long: earlier ejections no longer lengthen the next.


DEFAULT_RULES = EjectionRules()


@dataclass(frozen=True, slots=True)
class Standing:
    """One cluster's standing. Times are monotonic seconds."""

    state: State = State.ADMITTED
    cause: Cause | None = None
    since: float = 0.0
    until: float = 0.0  # End of the back-off, while ejected.
    times: int = 0  # Ejections in a row, not yet forgiven.
    silent_probes: int = 0
    unwell_probes: int = 0
    refused: int = 0
    failures: float = 0.0
    failure_share: float = 0.0
    calls: int = 0  # Counted up to memory_calls.
    heard_at: float = 0.0  # Last sign of life, of any kind.
    doubted_until: float = 0.0  # It fails calls, and could not be ejected for that: until then it takes a trickle.

    @property
    def reachable(self) -> bool:
        """Whether the last evidence, of either kind, was an answer."""
        return self.silent_probes == 0 and self.refused == 0

    def doubted(self, now: float) -> bool:
        """Whether it fails calls, and was left in for want of others."""
        return now < self.doubted_until and self.state is not State.EJECTED

    def share(self, now: float, rules: EjectionRules = DEFAULT_RULES) -> float:
        """The share of ordinary traffic it may take, 0.0 to 1.0."""
        if self.state is State.EJECTED:
            return 0.0
        if self.state is State.PROBATION:
            ramp = (now - self.since) / rules.slow_start_s if rules.slow_start_s > 0 else 1.0
            share = min(1.0, max(rules.slow_start_share_min, ramp))
        else:
            share = 1.0
        # A trickle goes on to ask it first, so that its recovery is seen.
        return min(share, rules.slow_start_share_min) if self.doubted(now) else share


def eject(standing: Standing, cause: Cause, now: float, rng: Random, rules: EjectionRules = DEFAULT_RULES) -> Standing:
    """Take it out; each time in a row for twice as long, give or take the jitter."""
    back_off_s = min(rules.backoff_s_max, rules.backoff_s * 2.0 ** min(standing.times, 16))
    back_off_s *= 1 + rules.jitter * (2 * rng.random() - 1)
    return replace(
        standing,
        state=State.EJECTED,
        cause=cause,
        since=now,
        until=now + back_off_s,
        times=standing.times + 1,
        failures=0.0,
        failure_share=0.0,
        calls=0,
    )


def after_probe(
    standing: Standing, result: ProbeResult, now: float, rng: Random, rules: EjectionRules = DEFAULT_RULES
) -> Standing:
    """The standing after one active probe."""
    if result is ProbeResult.ANSWERED:
        if _is_old_news(standing, now):
            return standing
        return replace(standing, silent_probes=0, unwell_probes=0, refused=0, heard_at=now)
    if result is ProbeResult.UNWELL:
        seen = replace(standing, silent_probes=0, unwell_probes=standing.unwell_probes + 1, refused=0, heard_at=now)
        suspicious = seen.unwell_probes >= _needed(rules.unwell_probes, standing)
        return (
            eject(seen, Cause.FAILING, now, rng, rules) if suspicious and standing.state is not State.EJECTED else seen
        )
    seen = replace(standing, silent_probes=standing.silent_probes + 1)
    if seen.silent_probes < _needed(rules.silent_probes, standing):
        return seen
    if standing.state is State.EJECTED:
        # Known to be out; but from now on it counts as unreachable, whatever it was before.
        return replace(seen, cause=Cause.UNREACHABLE)
    return eject(seen, Cause.UNREACHABLE, now, rng, rules)


def after_outcome(
    standing: Standing, kind: OutcomeKind, now: float, rng: Random, rules: EjectionRules = DEFAULT_RULES
) -> Standing:
    """The standing after one attempt by a call of ours."""
    if kind in ANSWERED:
        return after_answers(standing, 1, now, rules)
    weight = AGAINST_CLUSTER.get(kind)
    if weight is None:
        return standing  # Ended by us or by the client: says nothing about the cluster.
    if kind in ANSWERED_BADLY:
        standing = heard(standing, now)
    share = standing.failure_share + (weight - standing.failure_share) / rules.memory_calls
    seen = replace(
        standing,
        refused=standing.refused + 1 if kind in NEVER_CONNECTED else 0,
        failures=standing.failures + weight,
        failure_share=share,
        calls=min(rules.memory_calls, standing.calls + 1),
    )
    if standing.state is State.EJECTED:
        return seen
    if seen.refused >= _needed(rules.refused_calls, standing):
        return eject(seen, Cause.UNREACHABLE, now, rng, rules)
    often = seen.calls >= rules.memory_calls and share >= rules.failure_share
    in_row = seen.failures >= (1.0 if standing.state is State.PROBATION else rules.failures_in_row)
    return eject(seen, Cause.FAILING, now, rng, rules) if often or in_row else seen


def after_answers(standing: Standing, count: int, now: float, rules: EjectionRules = DEFAULT_RULES) -> Standing:
    """The standing after `count` attempts in a row that were answered as they should be."""
    if standing.calls == rules.memory_calls and not standing.failures and _is_old_news(standing, now):
        return standing
    share = standing.failure_share * (1 - 1 / rules.memory_calls) ** count
    return replace(
        standing,
        silent_probes=0,
        refused=0,
        failures=0.0,
        failure_share=share if share >= SHARE_NEGLIGIBLE else 0.0,
        calls=min(rules.memory_calls, standing.calls + count),
        heard_at=now,
    )


def heard(standing: Standing, now: float) -> Standing:
    """A call received bytes from it: as good as an answered probe."""
    if _is_old_news(standing, now):
        return standing
    return replace(standing, silent_probes=0, refused=0, heard_at=now)


def after_time(standing: Standing, now: float, rules: EjectionRules = DEFAULT_RULES) -> Standing:
    """What the passing of time alone changes: back-off over, slow start over, old sins forgiven."""
    if standing.state is State.EJECTED:
        answered = standing.heard_at > standing.since and standing.reachable and not standing.unwell_probes
        if now < standing.until or not answered:
            return standing
        # Calls that were there at the ejection may have failed since: old news, not a relapse.
        return replace(standing, state=State.PROBATION, since=now, failures=0.0, failure_share=0.0, calls=0)
    if standing.state is State.PROBATION and now >= standing.since + rules.slow_start_s:
        return replace(standing, state=State.ADMITTED, cause=None, since=now)
    if standing.state is State.ADMITTED and standing.times and now >= standing.since + rules.forgiven_after_s:
        return replace(standing, times=0)
    return standing


def _is_old_news(standing: Standing, now: float) -> bool:
    """Whether one more sign of life tells nothing: it is in good standing, and was heard just now."""
    return (
        standing.state is State.ADMITTED
        and now < standing.heard_at + HEARD_AGAIN_S
        and not standing.silent_probes
        and not standing.unwell_probes
        and not standing.refused
        and not standing.failure_share
    )


def _needed(threshold: int, standing: Standing) -> int:
    """On probation half the evidence is enough."""
    return max(1, threshold // 2) if standing.state is State.PROBATION else threshold
