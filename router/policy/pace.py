"""How fast one model pool is, as a front door has learnt it: to a first token, and per token after that. Pure.

What is held is a value; every outcome makes a new one. A pool nobody has called for a while drifts back to what its
heartbeats let one expect (`latency.rested`), so that a cluster which was slow once is tried again.
"""

from typing import Final

import msgspec

from federation.model import ModelPool
from router.policy import decoding, latency
from router.policy.decoding import DecodingModel
from router.policy.latency import LatencyModel

REST_AFTER_S: Final = 5.0  # Without an outcome.
COMFORT_TPOT_S: Final = 0.025  # Forty tokens a second; half of what is still called good.
COMFORT_FACTOR: Final = 2.5  # Of what a token takes there at the least: slow accelerators are slow from the start.
LEAST_RISE: Final = 0.002  # By which share of itself the least time per token rises with each outcome above it.


class Load(msgspec.Struct, frozen=True, gc=False):
    """What stands in a new call's way at a pool: the features of both models, as known when the call is placed."""

    ahead_ktokens: float  # Own prompts without a first token yet, per replica.
    busy_ratio: float
    queue_ratio: float


class Prospect(msgspec.Struct, frozen=True, gc=False):
    """What a call has to expect at a pool, all that does not depend on the call added up. Seconds."""

    fixed_s: float  # Until a first token, the round trip, the prompt and the prompts before it apart.
    prefill_s: float  # Per unit of the prompt's work.
    ahead_s: float  # Per unit of the work of own prompts without a first token yet.
    slow_s: float  # What a token takes beyond a comfortable time.


class Pace(msgspec.Struct, frozen=True, gc=False):
    """What is believed of one (cluster, model)."""

    latency: LatencyModel
    decoding: DecodingModel
    least_tpot_s: float  # What a token takes when little runs there.
    learnt_at: float  # Monotonic seconds; of the last outcome, or of the beginning.

    def ttft_s(self, work: float, load: Load) -> float:
        """Seconds to the first token of a prompt with so much work, the round trip apart."""
        return self.latency.predict(work, load.ahead_ktokens, load.busy_ratio, load.queue_ratio)

    def tpot_s(self, load: Load) -> float:
        """Seconds per token after that."""
        return self.decoding.predict(load.busy_ratio)

    def prospect(self, load: Load, replicas: int) -> Prospect:
        """What calls have to expect while the load is that; prompts ahead are shared by the replicas."""
        known = self.latency
        slow_s = self.tpot_s(load) - max(COMFORT_TPOT_S, COMFORT_FACTOR * self.least_tpot_s)
        return Prospect(
            known.base_s + known.busy_s * load.busy_ratio + known.queue_s * load.queue_ratio,
            known.prefill_s,
            known.ahead_s / replicas,
            slow_s if slow_s > 0.0 else 0.0,
        )


def expected(pool: ModelPool | None, now: float) -> Pace:
    """What a heartbeat lets one expect of a pool that has not been called yet; None: nothing is known."""
    if pool is None:
        return Pace(latency.prior(), decoding.prior(), decoding.ALONE_S, now)
    prefill, decode = pool.prefill_tokens_per_s, pool.decode_tokens_per_s
    first = latency.prior(prefill, decode, pool.replicas_ready, pool.running)
    further = decoding.prior(decode, pool.running)
    return Pace(first, further, further.alone_s, now)


def after_first_token(pace: Pace, waited_s: float, work: float, load: Load, now: float) -> Pace:
    """`waited_s`: from sending to the first token, less the round trip."""
    learnt = latency.learnt(pace.latency, waited_s, work, load.ahead_ktokens, load.busy_ratio, load.queue_ratio)
    return Pace(learnt, pace.decoding, pace.least_tpot_s, now)


def after_waiting(pace: Pace, waited_s: float, work: float, load: Load, now: float) -> Pace:
    """No token has come in so much time: it takes at least that long."""
    learnt = latency.learnt(
        pace.latency, waited_s, work, load.ahead_ktokens, load.busy_ratio, load.queue_ratio, at_least=True
    )
    return pace if learnt is pace.latency else Pace(learnt, pace.decoding, pace.least_tpot_s, now)


def after_tokens(pace: Pace, tokens: int, took_s: float, load: Load) -> Pace:
    """So many tokens after the first took so long."""
    learnt = decoding.learnt(pace.decoding, tokens, took_s, load.busy_ratio)
    if learnt is pace.decoding:
        return pace
    tpot_s = took_s / tokens
    least_s = min(tpot_s, pace.least_tpot_s + LEAST_RISE * (tpot_s - pace.least_tpot_s))
    return Pace(pace.latency, learnt, least_s, pace.learnt_at)


def rested(pace: Pace, now: float) -> Pace:
    """The pace of a pool that was not called since; the same one, if that is not long ago."""
    idle_s = now - pace.learnt_at
    if idle_s < REST_AFTER_S:
        return pace
    return Pace(latency.rested(pace.latency, idle_s), pace.decoding, pace.least_tpot_s, now)
