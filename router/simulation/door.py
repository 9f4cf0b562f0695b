"""A simulated front door: its own stale snapshot, its own calls in flight, and the way of a call through it. Pure.

What it believes of the fleet is made by the code that runs in production: heartbeats, probes and outcomes become
events, `fold` makes snapshots of them and `observe` a view, once a tick. What it does with a call is the strategy's
business; what becomes of an attempt is handled here as the edge does: the next candidate before the first token, a
place anew for the rest of the answer after it.
"""

from random import Random
from typing import TYPE_CHECKING, Final

from federation.ejection import Cause, ProbeResult, State
from federation.fold import Event, HeartbeatSeen, OutcomeSeen, ProbeSeen, ServedSeen, fold
from federation.geography import Distances
from federation.model import ClusterSpec, Heartbeat, Snapshot
from federation.observation import observe
from federation.outcome import Outcome, OutcomeKind
from federation.view import FleetView, PoolView
from router.call import Call
from router.decision import Reason
from router.retry import ATTEMPTS_MAX, BROKEN_CLUSTERS_MAX
from router.simulation.call import NOT_YET, Attempt, End, SimulatedCall
from router.simulation.cluster import Health, SimulatedCluster
from router.simulation.strategy import Strategy
from router.simulation.timeline import Timeline

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

TICK_S: Final = 0.05
PROBE_S: Final = 0.25
PROBE_TIMEOUT_S: Final = 0.75
TOKEN_BYTES: Final = 4  # Of a prompt, as `replay` writes them.


class Door:
    """One front door. Attempts come back through `refused`, `first_token` and the like, half a round trip later."""

    def __init__(
        self,
        name: str,
        region: str,
        clusters: "Mapping[str, SimulatedCluster]",
        specs: "Mapping[str, ClusterSpec]",
        distances: Distances,
        strategy: Strategy,
        shared: "dict[str, object]",
        timeline: Timeline,
        rng: Random,
    ) -> None:
        self.name = name
        self.region = region
        self.clusters = clusters
        self.timeline = timeline
        self.strategy = strategy
        self.shared = shared  # What strategies of the doors in one region have in common, by a name of theirs.
        self.rng = rng
        self.distances = distances
        self.one_way_s = {
            cluster.name: distances.rtt_ms(region, cluster.region) / 2000 for cluster in clusters.values()
        }
        self.snapshot = Snapshot.of_inventory(specs, timeline.now)
        self.view: FleetView = observe(self.snapshot, timeline.now, 0.0, distances, region)
        self.own: dict[tuple[str, str], int] = {}
        self.sick: set[str] = next(iter(clusters.values())).sick
        self.unheard: frozenset[str] = frozenset()  # Clusters behind a partition of this door's own.
        self.given_up = 0  # Calls that broke two clusters.
        self._events: list[Event] = []
        self._served: dict[str, int] = {}
        self._under_way: dict[str, dict[Attempt, None]] = {name: {} for name in clusters}
        self._held: list[tuple[Callable[[Attempt], None], Attempt]] = []  # What did not get through a partition.
        self._troubled: set[str] = set()  # Clusters whose probes say anything new.

    @property
    def now(self) -> float:
        return self.timeline.now

    # What it hears of the fleet.

    def heard(self, heartbeat: Heartbeat, first_sight: bool) -> None:
        """A heartbeat was read from the store."""
        name = heartbeat.cluster
        model = self.clusters[name].model
        self._events.append(HeartbeatSeen(heartbeat, {model: self.own.get((name, model), 0)}, first_sight))

    def part_from(self, clusters: frozenset[str]) -> None:
        """From now on nothing passes between this door and those clusters, in either direction."""
        for name in clusters - self.unheard:
            self._troubled.add(name)
            for attempt in self._under_way[name]:
                attempt.reached_tokens = attempt.cluster.reached(attempt)
        self.unheard = clusters
        held, self._held = self._held, []
        for hear, attempt in held:
            hear(attempt)

    def put(self, event: Event) -> None:
        """Anything else: a drain, the state of the store."""
        self._events.append(event)

    def tick(self, wall_ms: float) -> None:
        """Folds what was heard since the last one."""
        events, self._events = self._events, []
        events.extend([ServedSeen(cluster, count) for cluster, count in self._served.items()])
        self._served.clear()
        before = self.snapshot
        self.snapshot = fold(before, events, self.now, self.rng)
        self.view = observe(self.snapshot, self.now, wall_ms, self.distances, self.region, self.view)
        if self._troubled:
            self._abandon_unreachable(before)
        self.strategy.ticked(self)

    def probe(self) -> None:
        """A round of probes. Clusters of whom nothing is known but good say nothing new, and are passed over."""
        for name in sorted(self._troubled | self.sick | self.unheard):
            cluster = self.clusters[name]
            silent = cluster.health in (Health.LOST, Health.CUT_OFF) or name in self.unheard
            if silent or cluster.health is Health.UNWELL:
                self._troubled.add(name)
            rtt_s = 2 * self.one_way_s[name]
            if not silent:
                result = ProbeResult.UNWELL if cluster.health is Health.UNWELL else ProbeResult.ANSWERED
                self.timeline.after(rtt_s, self.put, ProbeSeen(name, result, rtt_s))
            else:
                late_s = rtt_s if cluster.health is Health.LOST and name not in self.unheard else PROBE_TIMEOUT_S
                self.timeline.after(late_s, self.put, ProbeSeen(name, ProbeResult.SILENT))
            standing = self.snapshot.beliefs[name].standing
            if not silent and standing.state is State.ADMITTED and standing.reachable and not standing.unwell_probes:
                self._troubled.discard(name)

    def _abandon_unreachable(self, before: Snapshot) -> None:
        """Takes calls away from clusters where, as of this tick, nobody is there."""
        for name in self._troubled:
            now, was = self.snapshot.beliefs[name].standing, before.beliefs[name].standing
            gone = now.state is State.EJECTED and now.cause is Cause.UNREACHABLE
            if gone and not (was.state is State.EJECTED and was.cause is Cause.UNREACHABLE):
                for attempt in list(self._under_way[name]):
                    attempt.call.delivered_tokens += attempt.cluster.reached(attempt)
                    attempt.cluster.abandon(attempt)
                    self._lost(attempt, OutcomeKind.ABANDONED)

    # Calls.

    def arrive(self, call: SimulatedCall) -> None:
        """A client's call comes in."""
        self.strategy.arrived(self, call)

    def as_routed(self, call: SimulatedCall) -> Call:
        """The call as our policy sees it."""
        if call.routed is None:
            call.routed = Call(
                id=str(call.number),
                path="/v1/chat/completions",
                model=call.model,
                origin=self.region,
                stream=True,
                priority=call.priority,
                session=call.session,
                tenant=call.tenant,
                prompt_bytes=TOKEN_BYTES * call.prompt_tokens,
            )
        return call.routed

    def pools(self, model: str) -> tuple[PoolView, ...]:
        """What is believed of the clusters that serve a model, by name."""
        view = self.view.models.get(model)
        return view.pools if view is not None else ()

    def pool(self, key: tuple[str, str]) -> PoolView | None:
        """What is believed of one cluster's pool of a model."""
        return next((pool for pool in self.pools(key[1]) if pool.cluster == key[0]), None)

    def send(self, call: SimulatedCall, order: tuple[str, ...], reason: Reason, place: int = 0) -> None:
        """An attempt at `order[place]`; those after it are for when it fails."""
        if call.lost:  # Not where it broke, unless there is nobody else.
            order = tuple([name for name in order if name not in call.lost]) or order
        name = order[place]
        cluster = self.clusters[name]
        attempt = Attempt(call, self, cluster, self.one_way_s[name], order, place, self.timeline.now)
        call.attempts += 1
        if call.reason is None or call.first_token_at < 0.0:
            call.reason = reason
        call.cluster = name
        self.strategy.sending(self, attempt)
        key = (name, call.model)
        self.own[key] = self.own.get(key, 0) + 1
        self._under_way[name][attempt] = None
        if name not in self.unheard:
            cluster.coming_tokens += call.prompt_tokens
            self.timeline.after(attempt.one_way_s, cluster.receive, attempt)

    def refuse(self, call: SimulatedCall) -> None:
        """Nowhere to go."""
        call.end = End.REFUSED if call.first_token_at < 0.0 else End.FAILED
        call.ended_at = self.timeline.now

    # What comes back.

    def first_token(self, attempt: Attempt) -> None:
        if attempt.is_over or (self.unheard and self._is_held(self.first_token, attempt)):
            return
        call = attempt.call
        if call.first_token_at < 0.0:
            call.first_token_at = self.timeline.now
            if attempt.sequence is not None:
                call.cached_tokens = attempt.sequence.cached_tokens
        self.strategy.first_token(self, attempt)

    def finished(self, attempt: Attempt) -> None:
        if attempt.is_over or (self.unheard and self._is_held(self.finished, attempt)):
            return
        self._over(attempt)
        call = attempt.call
        call.end, call.ended_at = End.SERVED, self.timeline.now
        name = attempt.cluster.name
        self._served[name] = self._served.get(name, 0) + 1
        self.strategy.ended(self, attempt, served=True)

    def refused(self, attempt: Attempt) -> None:
        """Nobody listened there."""
        self._lost(attempt, OutcomeKind.REFUSED)

    def turned_down(self, attempt: Attempt) -> None:
        """It answered 503."""
        self._lost(attempt, OutcomeKind.UNAVAILABLE)

    def too_long(self, attempt: Attempt) -> None:
        """Prompt and answer do not fit the model there: the client's own doing, and the same anywhere."""
        self._over(attempt)
        attempt.call.end, attempt.call.ended_at = End.FAILED, self.timeline.now
        self.strategy.ended(self, attempt, served=False)

    def broken(self, attempt: Attempt) -> None:
        """The connection was reset after the call was sent."""
        if self.unheard and self._is_held(self.broken, attempt):
            return
        begun = attempt.call.first_token_at >= 0.0
        self._lost(attempt, OutcomeKind.BROKEN if begun else OutcomeKind.RESET)

    def _is_held(self, hear: "Callable[[Attempt], None]", attempt: Attempt) -> bool:
        if attempt.cluster.name not in self.unheard:
            return False
        self._held.append((hear, attempt))
        return True

    def _lost(self, attempt: Attempt, kind: OutcomeKind) -> None:
        if attempt.is_over:
            return
        self._over(attempt)
        call = attempt.call
        self._events.append(OutcomeSeen(Outcome(attempt.cluster.name, call.model, kind)))
        self._troubled.add(attempt.cluster.name)
        self.strategy.ended(self, attempt, served=False)
        if call.first_token_at != NOT_YET:
            call.breaks += kind is OutcomeKind.BROKEN
            if call.delivered_tokens >= call.output_tokens:
                call.end, call.ended_at = End.SERVED, self.timeline.now
            elif call.breaks >= BROKEN_CLUSTERS_MAX or call.attempts >= ATTEMPTS_MAX * BROKEN_CLUSTERS_MAX:
                call.end, call.ended_at = End.FAILED, self.timeline.now
            elif kind is OutcomeKind.REFUSED and attempt.place + 1 < len(attempt.order):
                self.send(call, attempt.order, Reason.RESUME, attempt.place + 1)
            else:
                call.lost += (attempt.cluster.name,)
                self.strategy.arrived(self, call)
                call.reason = Reason.RESUME
        elif attempt.place + 1 < len(attempt.order) and call.attempts < ATTEMPTS_MAX:
            self.send(call, attempt.order, Reason.FAILOVER, attempt.place + 1)
        elif call.attempts < ATTEMPTS_MAX and kind is OutcomeKind.ABANDONED:
            self.strategy.arrived(self, call)
        else:
            call.end, call.ended_at = End.FAILED, self.timeline.now

    def _over(self, attempt: Attempt) -> None:
        attempt.is_over = True
        name = attempt.cluster.name
        key = (name, attempt.call.model)
        self.own[key] -= 1
        self._under_way[name].pop(attempt, None)
