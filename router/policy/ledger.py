"""What one front door knows beyond the heartbeats: its own calls, and how fast each model pool has been to them.

A mutable record, since every call changes it: what decisions read and outcomes write. Pure all the same: no clock, no
I/O; the same in production and in the simulator.
"""

import math
from typing import Final

import msgspec

from federation.model import ModelPool
from federation.view import PoolView
from router.policy import pace
from router.policy.pace import Load, Pace, Prospect

Key = tuple[str, str]  # (cluster, model)

ANSWER_TOKENS: Final = 200.0  # Of an answer, until some have been seen.
ANSWER_RATE: Final = 0.02
FLOW_S_MIN: Final = 0.9  # Between two looks at a stream: less says more of the network than of the model.
OTHERS_MEMORY_S: Final = 5.0  # A change in what others send is seen to two thirds after this long.
REPORTED_TOKENS: Final = 100  # Any number: a mean over many.
LEARNT_PER_TICK: Final = 8  # Outcomes of a pool that teach anything between two ticks: more say the same.


class Sent(msgspec.Struct, gc=False):
    """An attempt under way, as it was believed to be when it was sent."""

    key: Key
    at: float
    rtt_s: float
    work: float  # latency.work_ktokens
    load: Load
    expected_s: float  # Until its first token, round trip included.
    begun: bool = False  # Its first token has come.
    tokens: int = 0  # That had come when it was last looked at,
    looked_at: float = 0.0  # and when that was.


class Ledger:
    """One a front door. `in_flight` counts own calls by pool, and may be written by others; `ahead` is for reading."""

    __slots__ = (
        "_answer_tokens",
        "_budget",
        "_others",
        "_paces",
        "_pools",
        "_prospects",
        "_reported_at",
        "ahead",
        "in_flight",
    )

    def __init__(self) -> None:
        self.in_flight: dict[Key, int] = {}
        self.ahead: dict[Key, float] = {}  # Thousands of tokens, own, without a first token yet.
        self._paces: dict[Key, Pace] = {}
        self._pools: dict[Key, ModelPool] = {}
        self._answer_tokens: dict[str, float] = {}
        self._budget: dict[Key, int] = {}
        self._prospects: dict[Key, Prospect] = {}  # As of this tick.
        self._others: dict[Key, float] = {}  # Calls of others there, smoothed.
        self._reported_at: dict[Key, float] = {}

    # What decisions read.

    def pace(self, key: Key, now: float) -> Pace:
        """What is believed of a pool's speed."""
        held = self._paces.get(key)
        if held is None:
            held = self._paces[key] = pace.expected(self._pools.get(key), now)
        return held

    def load(self, pool: PoolView) -> Load:
        """What stands in the way of one call more."""
        key, slots = pool.key, pool.slots
        calls = self._others.get(key, pool.load_of_others) + self.in_flight.get(key, 0)
        reported = self._pools.get(key)
        replicas = reported.replicas_ready if reported is not None and reported.replicas_ready > 0 else 1
        ahead = self.ahead.get(key, 0.0) / replicas
        if calls <= slots:
            return Load(ahead, calls / slots if slots > 0 else 1.0, 0.0)
        return Load(ahead, 1.0, (calls - slots) / slots if slots > 0 else 1.0)

    def prospect(self, pool: PoolView, now: float) -> Prospect:
        """What a call has to expect at a pool: worked out once a tick, prompts sent since then counted apart."""
        key = pool.key
        found = self._prospects.get(key)
        if found is None:
            found = self._prospects[key] = self.pace(key, now).prospect(self.load(pool), self.replicas(key))
        return found

    def replicas(self, key: Key) -> int:
        """As last reported; 1 where nothing was."""
        reported = self._pools.get(key)
        return max(1, reported.replicas_ready) if reported is not None else 1

    def answer_tokens(self, model: str) -> float:
        """How long answers of a model are, of late."""
        return self._answer_tokens.get(model, ANSWER_TOKENS)

    # What outcomes write.

    def reported(self, cluster: str, pools: tuple[ModelPool, ...], now: float) -> None:
        """A cluster's latest heartbeat: also the surest word on how fast its tokens come, for it counts everybody's."""
        for pool in pools:
            key = (cluster, pool.model)
            self._pools[key] = pool
            self._note_others(key, pool, now)
            if pool.time_per_output_token_s > 0.0 and pool.slots > 0:
                busy = min(1.0, (pool.running + pool.waiting) / pool.slots)
                load = Load(0.0, busy, 0.0)
                took_s = REPORTED_TOKENS * pool.time_per_output_token_s
                held = self.pace(key, now)
                learnt = pace.after_tokens(held, REPORTED_TOKENS, took_s, load)
                self._paces[key] = learnt

    def _note_others(self, key: Key, pool: ModelPool, now: float) -> None:
        """Smoothed, since all front doors see the same figures: if each answered every ripple, all would at once."""
        others = max(0.0, float(pool.running + pool.waiting - self.in_flight.get(key, 0)))
        before = self._others.get(key, others)
        share = 1.0 - math.exp((self._reported_at.get(key, now) - now) / OTHERS_MEMORY_S)
        self._others[key] = before + share * (others - before)
        self._reported_at[key] = now

    def ticked(self, now: float) -> None:
        """A tick has passed: pools that nobody calls drift back to what their heartbeats say."""
        self._budget.clear()
        self._prospects.clear()
        for key, held in self._paces.items():
            if now - held.learnt_at >= pace.REST_AFTER_S:
                self._paces[key] = pace.rested(held, now)

    def sent(self, pool: PoolView, rtt_s: float, work: float, now: float) -> Sent:
        """A call goes there; give what is returned back with what comes of it."""
        key = pool.key
        load = self.load(pool)
        expected_s = rtt_s + self.pace(key, now).ttft_s(work, load)
        self.ahead[key] = self.ahead.get(key, 0.0) + work
        return Sent(key, now, rtt_s, work, load, expected_s)

    def first_token(self, sent: Sent, now: float) -> None:
        """Its first token has come."""
        self._begin(sent)
        if self._may_learn(sent.key):
            waited_s = now - sent.at - sent.rtt_s
            self._paces[sent.key] = pace.after_first_token(
                self.pace(sent.key, now), waited_s, sent.work, sent.load, now
            )

    def waits(self, sent: Sent, now: float) -> None:
        """No token of it has come yet, longer than expected."""
        waited_s = now - sent.at - sent.rtt_s
        self._paces[sent.key] = pace.after_waiting(self.pace(sent.key, now), waited_s, sent.work, sent.load, now)

    def flows(self, sent: Sent, tokens: int, pool: PoolView | None, now: float) -> None:
        """So many tokens of it have come up to now. What came since the last look is held against the load of today."""
        reported = self._pools.get(sent.key)
        if reported is not None and reported.time_per_output_token_s > 0.0:
            return  # It says so itself, for everybody's.
        if sent.tokens and pool is not None:
            took_s = now - sent.looked_at
            if took_s < FLOW_S_MIN:
                return
            held = self.pace(sent.key, now)
            self._paces[sent.key] = pace.after_tokens(held, tokens - sent.tokens, took_s, self.load(pool))
        sent.tokens, sent.looked_at = tokens, now

    def ended(self, sent: Sent, answer_tokens: int | None) -> None:
        """It is over; with how many tokens, if its answer is whole."""
        self._begin(sent)
        if answer_tokens is not None:
            model = sent.key[1]
            mean = self._answer_tokens.get(model, ANSWER_TOKENS)
            self._answer_tokens[model] = mean + ANSWER_RATE * (answer_tokens - mean)

    def _begin(self, sent: Sent) -> None:
        if not sent.begun:
            sent.begun = True
            left = self.ahead[sent.key] - sent.work
            self.ahead[sent.key] = left if left > 0.0 else 0.0

    def _may_learn(self, key: Key) -> bool:
        taken = self._budget.get(key, 0)
        self._budget[key] = taken + 1
        return taken < LEARNT_PER_TICK
