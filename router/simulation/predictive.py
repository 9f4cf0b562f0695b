"""Our policy to come at a simulated front door: predicted seconds instead of free slots."""

from typing import Final

from router.decision import Place
from router.policy.latency import work_ktokens
from router.policy.ledger import Ledger, Sent
from router.policy.placements import Placements
from router.policy.predictive import Ask, place
from router.replay.traces import BLOCK_TOKENS
from router.simulation.call import Attempt, SimulatedCall
from router.simulation.door import Door

LOOK_S: Final = 0.5  # How often calls under way are looked at.
LOOKED_AT_MAX: Final = 4  # Of a cluster's, each time.


class Predictive:
    """`predictive.place`, with a ledger and a memory of placements of this door's own."""

    def __init__(self) -> None:
        self._ledger = Ledger()
        self._placements = Placements()
        self._sent: dict[str, dict[Attempt, Sent]] = {}
        self._looked_at = 0.0
        self._heard: dict[str, int] = {}

    def arrived(self, door: Door, call: SimulatedCall) -> None:
        ledger = self._ledger
        ledger.in_flight = door.own
        depths = self._placements.depths(call.blocks, door.now) if call.blocks else {}
        cached = {name: depth * BLOCK_TOKENS * belief for name, (depth, belief) in depths.items()}
        ask = Ask(call.prompt_tokens + call.delivered_tokens, ledger.answer_tokens(call.model), cached)
        decision = place(door.as_routed(call), ask, door.view, ledger, door.rng)
        if isinstance(decision, Place):
            door.send(call, tuple([placed.pool.cluster for placed in decision.order]), decision.reason)
        else:
            door.refuse(call)

    def sending(self, door: Door, attempt: Attempt) -> None:
        call, name = attempt.call, attempt.cluster.name
        pool = next(pool for pool in door.pools(call.model) if pool.cluster == name)
        cached = self._placements.depths(call.blocks, door.now).get(name, (0, 0.0)) if call.blocks else (0, 0.0)
        # The gateway there knows nothing of prefixes: one of so many replicas has it.
        tokens = cached[0] * BLOCK_TOKENS * cached[1] / self._ledger.replicas(pool.key)
        work = work_ktokens(call.prompt_tokens + call.delivered_tokens, tokens)
        sent = self._ledger.sent(pool, 2 * attempt.one_way_s, work, door.now)
        self._sent.setdefault(name, {})[attempt] = sent
        if call.blocks:
            self._placements.note(call.blocks, name, door.now)

    def first_token(self, door: Door, attempt: Attempt) -> None:
        sent = self._sent[attempt.cluster.name].get(attempt)
        if sent is not None:
            self._ledger.first_token(sent, door.now)

    def ended(self, door: Door, attempt: Attempt, served: bool) -> None:
        sent = self._sent[attempt.cluster.name].pop(attempt, None)
        if sent is not None:
            self._ledger.ended(sent, attempt.call.output_tokens if served else None)

    def ticked(self, door: Door) -> None:
        ledger = self._ledger
        for name, belief in door.snapshot.beliefs.items():
            heartbeat = belief.heartbeat
            if heartbeat is not None and self._heard.get(name) != heartbeat.seq:
                self._heard[name] = heartbeat.seq
                ledger.reported(name, heartbeat.pools, door.now)
        ledger.ticked(door.now)
        if door.now >= self._looked_at + LOOK_S:
            self._looked_at = door.now
            self._look(door)

    def _look(self, door: Door) -> None:
        """Learns from calls that are not over yet: those overdue, and streams in full flow, in turns."""
        now = door.now
        for under_way in self._sent.values():
            looked: list[tuple[Attempt, Sent]] = []
            for attempt, sent in under_way.items():
                if len(looked) == LOOKED_AT_MAX:
                    break
                if not sent.begun:
                    if now - sent.at > 2.0 * sent.expected_s:
                        sent.expected_s = now - sent.at
                        self._ledger.waits(sent, now)
                elif attempt.reached_tokens < 0:
                    looked.append((attempt, sent))
            for attempt, sent in looked:
                del under_way[attempt]
                under_way[attempt] = sent
                self._ledger.flows(sent, attempt.cluster.reached(attempt), door.pool(sent.key), now)
