"""A simulated cluster: replicas behind a gateway of their own, and what may befall them. Pure.

Its replicas are the emulated model server's (`federation.lab.batching`), and its gateway spreads calls as that does:
to the replica with the least outstanding, ties taking turns. Everything that leaves it takes half a round trip to the
front door that asked.

A cluster that is cut off (frozen, or behind a black hole) goes on computing what it has; nothing goes in or out until
it heals. That is a black hole as it is, and a frozen machine except that its work is not lost time afterwards.
"""

from collections import deque
from collections.abc import Sequence as Listed
from enum import StrEnum
from typing import Final

from federation.lab.batching import Kind, Progress, Replica, ReplicaSpec, Sequence
from router.simulation.call import Attempt
from router.simulation.timeline import Timeline

RECENT_MAX: Final = 32  # First tokens of which a cluster remembers how long they took.

_FIRST_TOKEN: Final = Kind.FIRST_TOKEN


class Health(StrEnum):
    """What one finds who knocks at a cluster's door."""

    SERVING = "serving"
    LOST = "lost"  # Nobody listens: connections are refused, those open are reset.
    CUT_OFF = "cut_off"  # Whatever is sent there, or from there, does not arrive.
    UNWELL = "unwell"  # Answers 503.


class SimulatedCluster:
    """`receive`, `abandon` and the faults are called at the timeline's present instant."""

    def __init__(self, name: str, region: str, model: str, specs: Listed[ReplicaSpec], timeline: Timeline) -> None:
        self.name = name
        self.region = region
        self.model = model
        self.specs = tuple(specs)
        self.health = Health.SERVING
        self.sick: set[str] = set()  # Of all clusters together, those that are not serving: see World.
        self.replicas = [Replica(spec) for spec in specs]
        self.timeline = timeline
        self.slow = 1.0
        self.cut_replicas = 0  # The last so many take nothing.
        self.recent: deque[tuple[int, float]] = deque(maxlen=RECENT_MAX)  # (calls there, seconds to a first token)
        self._busy_before_s = 0.0
        self.coming_tokens = 0  # Of prompts that are on their way here.
        self._armed: list[float | None] = [None] * len(self.replicas)
        self._next = 0
        self._held: list[Attempt] = []  # Arrived, or had something to say, while it was cut off.
        self._here: dict[Attempt, None] = {}  # That a replica has.

    @property
    def serving_replicas(self) -> list[Replica]:
        """Those that take calls."""
        return self.replicas[: len(self.replicas) - self.cut_replicas]

    @property
    def running(self) -> int:
        return sum([replica.running for replica in self.replicas])

    @property
    def waiting(self) -> int:
        return sum([replica.waiting for replica in self.replicas])

    @property
    def slots(self) -> int:
        return sum([replica.spec.max_running for replica in self.serving_replicas])

    @property
    def busy_s(self) -> float:
        """Seconds in which replicas worked, summed, those of lost ones included."""
        return self._busy_before_s + sum([replica.busy_s for replica in self.replicas])

    @property
    def least_outstanding(self) -> Replica:
        """The replica that a call would be given now, ties apart."""
        return min(self.serving_replicas or self.replicas, key=lambda replica: replica.outstanding)

    def settle(self) -> None:
        """Counts all tokens up to now, for whoever looks at its figures."""
        for index in range(len(self.replicas)):
            self._advance(index)

    # Calls.

    def receive(self, attempt: Attempt) -> None:
        """An attempt reaches the gateway."""
        self.coming_tokens -= attempt.call.prompt_tokens
        health = self.health
        if health is Health.SERVING and self.cut_replicas < len(self.replicas):
            self._submit(attempt)
        elif health is Health.CUT_OFF:
            self._held.append(attempt)
        elif health is Health.LOST:
            self.timeline.after(attempt.one_way_s, attempt.door.refused, attempt)
        else:
            self.timeline.after(attempt.one_way_s, attempt.door.turned_down, attempt)

    def abandon(self, attempt: Attempt) -> None:
        """Its front door has no interest in it any more."""
        if attempt in self._here:
            del self._here[attempt]
            self._advance(attempt.replica)
            assert attempt.sequence is not None
            self.replicas[attempt.replica].cancel(attempt.sequence, self.timeline.now)
            self._arm(attempt.replica)

    def reached(self, attempt: Attempt) -> int:
        """Tokens of its answer that got through to its door up to now."""
        if attempt.reached_tokens >= 0:
            return attempt.reached_tokens
        if attempt.sequence is None:
            return 0
        self._advance(attempt.replica)
        return self.replicas[attempt.replica].generated(attempt.sequence)

    def _submit(self, attempt: Attempt) -> None:
        if attempt.is_over:
            return
        index = self._least_outstanding()
        replica, now = self.replicas[index], self.timeline.now
        call = attempt.call
        sequence = Sequence(
            attempt,
            call.prompt_tokens + call.delivered_tokens,
            call.output_tokens - call.delivered_tokens,
            call.blocks,
        )
        if sequence.prompt_tokens + sequence.output_tokens > replica.spec.max_model_tokens:
            self.timeline.after(attempt.one_way_s, attempt.door.too_long, attempt)
            return
        attempt.sequence, attempt.replica = sequence, index
        self._here[attempt] = None
        self._advance(index)
        replica.submit(sequence, now)
        self._arm(index)

    def _least_outstanding(self) -> int:
        count = len(self.replicas) - self.cut_replicas
        if count == 1:
            return 0
        turn = self._next = (self._next + 1) % count
        best, least = turn, self.replicas[turn].outstanding
        for index in (*range(turn + 1, count), *range(turn)):
            outstanding = self.replicas[index].outstanding
            if outstanding < least:
                best, least = index, outstanding
        return best

    # Time.

    def _arm(self, index: int) -> None:
        due = self.replicas[index].next_event_at()
        if due is not None and due != self._armed[index]:
            self._armed[index] = due
            self.timeline.at(due, self._wake, (index, due))
        elif due is None:
            self._armed[index] = None

    def _wake(self, what: tuple[int, float]) -> None:
        index, due = what
        if self._armed[index] == due:
            self._armed[index] = None
            self._advance(index)
            self._arm(index)

    def _advance(self, index: int) -> None:
        progress = self.replicas[index].advance(self.timeline.now)
        if progress:
            self._tell(progress, self.replicas[index].spec.finish_s)

    def _tell(self, progress: list[Progress], finish_s: float) -> None:
        for at, kind, sequence in progress:
            attempt = sequence.key
            assert isinstance(attempt, Attempt)
            if kind is not _FIRST_TOKEN:
                self._here.pop(attempt, None)
            else:
                self.recent.append((len(self._here), at - sequence.arrived_at))
            if attempt.is_over:
                continue
            if self.health is Health.CUT_OFF:
                self._held.append(attempt)
            elif kind is _FIRST_TOKEN:
                self.timeline.at(at + attempt.one_way_s, attempt.door.first_token, attempt)
            else:
                self.timeline.at(at + finish_s + attempt.one_way_s, attempt.door.finished, attempt)

    # What befalls it.

    def lose(self) -> None:
        """kill -9: connections are reset, and all it knew is gone."""
        broken, self._here = self._here, {}
        self._become(Health.LOST)
        self._held.clear()
        for attempt in broken:
            if not attempt.is_over:
                attempt.call.delivered_tokens += self.reached(attempt)
                self.timeline.after(attempt.one_way_s, attempt.door.broken, attempt)
        self._fresh()

    def cut_off(self) -> None:
        for attempt in self._here:
            attempt.reached_tokens = self.reached(attempt)
        self._become(Health.CUT_OFF)

    def unwell(self) -> None:
        self._become(Health.UNWELL)

    def heal(self) -> None:
        """Serves again; what was held back while it was cut off happens now."""
        self._become(Health.SERVING)
        held, self._held = self._held, []
        for attempt in self._here:
            attempt.reached_tokens = -1
        for attempt in dict.fromkeys(held):
            if attempt.is_over:
                continue
            sequence = attempt.sequence
            if sequence is None:
                self._submit(attempt)
                continue
            if sequence.first_token_at >= 0.0 and attempt.call.first_token_at < 0.0:
                self.timeline.after(attempt.one_way_s, attempt.door.first_token, attempt)
            if sequence.finished_at >= 0.0:
                self.timeline.after(attempt.one_way_s, attempt.door.finished, attempt)

    def slow_down(self, factor: float) -> None:
        """Every step takes so many times as long."""
        self.slow = factor
        for index, replica in enumerate(self.replicas):
            self._advance(index)
            replica.slow_down(factor, self.timeline.now)
            self._arm(index)

    def cut_capacity(self, replicas: int) -> None:
        """The last so many replicas are killed; 0: all are there again, new."""
        before, self.cut_replicas = self.cut_replicas, min(replicas, len(self.replicas))
        kept = len(self.replicas) - self.cut_replicas
        for attempt in [one for one in self._here if one.replica >= kept]:
            del self._here[attempt]
            attempt.call.delivered_tokens += self.reached(attempt)
            if not attempt.is_over:
                self.timeline.after(attempt.one_way_s, attempt.door.broken, attempt)
        for index in range(min(kept, len(self.replicas) - before), len(self.replicas)):
            self._renew(index)

    def _become(self, health: Health) -> None:
        self.health = health
        if health is Health.SERVING:
            self.sick.discard(self.name)
        else:
            self.sick.add(self.name)

    def _fresh(self) -> None:
        for index in range(len(self.replicas)):
            self._renew(index)

    def _renew(self, index: int) -> None:
        self._busy_before_s += self.replicas[index].busy_s
        self.replicas[index] = Replica(self.specs[index])
        self._armed[index] = None
        if self.slow != 1.0:
            self.replicas[index].slow_down(self.slow, self.timeline.now)
