"""One replica in real time: the pure model of `batching`, driven by the event loop's clock.

Speaks to the event loop. Every step is due at a time counted from the model's own schedule, never "a step from
now", so that late timers do not add up. Model time runs `speed` times as fast as the loop's.
"""

import asyncio
from typing import Protocol

from federation.lab.batching import Kind, Progress, Replica, ReplicaSpec, Sequence
from federation.lab.exposition import ServingMetrics


class Reader(Protocol):
    """Who waits for a sequence."""

    @property
    def sequence(self) -> Sequence: ...

    @property
    def wants_tokens(self) -> bool:
        """Whether `progressed` should be called at each step."""
        ...

    def progressed(self, generated: int) -> None:
        """So many tokens of the answer are there; the last one comes with `finished` instead."""
        ...

    def finished(self) -> str:
        """The answer is complete; returns its finish reason, for the metrics."""
        ...


class Engine:
    """Starts and abandons sequences for readers, and tells them what becomes of them."""

    def __init__(self, model: str, spec: ReplicaSpec, speed: float, loop: asyncio.AbstractEventLoop) -> None:
        self.model = model
        self.replica = Replica(spec)
        self.metrics = ServingMetrics()
        self._loop = loop
        self._speed = speed
        self._origin = loop.time()  # where model time is 0; moves on by the length of each pause
        self._now = 0.0
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._paused_at: float | None = None
        self._readers: dict[Sequence, Reader] = {}
        self._streams: dict[Sequence, Reader] = {}  # decoding, and wanting every token
        self._held_finishes: list[Reader] = []
        self._last_step_at = 0.0

    @property
    def outstanding(self) -> int:
        """Sequences that run or wait."""
        return self.replica.outstanding

    def start(self, reader: Reader) -> None:
        """ValueError if the sequence does not fit the model's length."""
        self._advance(self._model_now())
        self.replica.submit(reader.sequence, self._now)
        self._readers[reader.sequence] = reader
        self._arm()

    def abandon(self, reader: Reader) -> None:
        """Frees the sequence's place; its reader hears nothing more."""
        if self._readers.pop(reader.sequence, None) is None:
            return
        self._streams.pop(reader.sequence, None)
        self._advance(self._model_now())
        self.replica.cancel(reader.sequence, self._now)
        self.metrics.finished["abort"] += 1
        self._arm()

    def slow_down(self, factor: float) -> None:
        self._advance(self._model_now())
        self.replica.slow_down(factor, self._now)
        self._arm()

    def pause(self) -> None:
        """Model time stands still until `resume`."""
        if self._paused_at is None:
            self._advance(self._model_now())
            self._paused_at = self._loop.time()
            self._disarm()

    def resume(self) -> None:
        if self._paused_at is None:
            return
        self._origin += self._loop.time() - self._paused_at
        self._paused_at = None
        held, self._held_finishes = self._held_finishes, []
        for reader in held:
            self._finish(reader)
        self._arm()

    def page(self) -> str:
        """The metrics as of now."""
        self._advance(self._model_now())
        self._arm()
        return self.metrics.page(self.replica, self.model)

    def close(self) -> None:
        self._disarm()
        self._readers.clear()
        self._streams.clear()

    # Time.

    def _model_now(self) -> float:
        at = self._loop.time() if self._paused_at is None else self._paused_at
        # A timer may fire a little early, and then counts as on time; model time never goes back.
        return max(self._now, (at - self._origin) * self._speed)

    def _loop_time(self, model_at: float) -> float:
        return self._origin + model_at / self._speed

    def _arm(self) -> None:
        """Wakes up at the next step if anybody reads tokens, else when something ends or begins."""
        if self._paused_at is not None:
            return
        due = self.replica.next_step_at() if self._streams else self.replica.next_event_at()
        if self._timer is not None:
            if due == self._due:
                return
            self._timer.cancel()
            self._timer = None
        if due is not None:
            self._due = due
            self._timer = self._loop.call_at(self._loop_time(due), self._tick)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tick(self) -> None:
        self._timer = None
        self._advance(max(self._model_now(), self._due))
        self._arm()

    # What the model did.

    def _advance(self, now: float) -> None:
        replica = self.replica
        steps, tokens = replica.steps, replica.generation_tokens
        progress = replica.advance(now)
        self._now = now
        firsts = self._report(progress) if progress else 0
        if replica.steps == steps:
            return
        step_at = replica.last_step_at
        gaps = replica.generation_tokens - tokens - firsts
        if gaps > 0:
            gap_s = (step_at - self._last_step_at) / (replica.steps - steps) / self._speed
            self.metrics.time_per_token.observe(gap_s, gaps)
        self._last_step_at = step_at
        for sequence, reader in list(self._streams.items()):
            reader.progressed(replica.generated(sequence))

    def _report(self, progress: list[Progress]) -> int:
        """Takes note of first tokens and finishes; the number of first tokens."""
        firsts = 0
        for at, kind, sequence in progress:
            if kind is Kind.FIRST_TOKEN:
                firsts += 1
                self.metrics.time_to_first_token.observe((at - sequence.arrived_at) / self._speed)
                reader = self._readers.get(sequence)
                if reader is not None and reader.wants_tokens:
                    self._streams[sequence] = reader
            else:
                self._streams.pop(sequence, None)
                reader = self._readers.get(sequence)
                if reader is not None:
                    self._loop.call_at(self._loop_time(at + self.replica.spec.finish_s), self._finish, reader)
        return firsts

    def _finish(self, reader: Reader) -> None:
        if self._paused_at is not None:
            self._held_finishes.append(reader)
        elif self._readers.pop(reader.sequence, None) is not None:
            self.metrics.finished[reader.finished()] += 1
