"""What changed between two snapshots, as the lines an operator wants to read: one a change."""

from collections.abc import Iterator
from dataclasses import dataclass

from federation.capacity import belief_liveness
from federation.ejection import State
from federation.model import Belief, Snapshot


@dataclass(frozen=True, slots=True)
class Transition:
    """One change of state. `kind` is stable and low in cardinality; the rest is for people."""

    kind: str
    cluster: str | None
    before: str
    after: str
    detail: str = ""

    @property
    def alarming(self) -> bool:
        """Whether somebody on call would want to see it."""
        return self.after in ("ejected", "doubted", "frozen", "stale", "lost")


def transitions(
    before: Snapshot,
    after: Snapshot,
    before_at: float,
    after_at: float,
    walls_ms: tuple[float, float] = (0.0, 0.0),
) -> Iterator[Transition]:
    """Changes of mode, membership, liveness, standing and drains, in cluster order.

    The two instants, on the monotonic clock and on the wall's, are needed since liveness
    changes and drains end by time alone.
    """
    if before.mode is not after.mode:
        yield Transition("mode", None, before.mode, after.mode)
    for name, belief in after.beliefs.items():
        earlier = before.beliefs.get(name)
        if earlier is None:
            yield Transition("inventory", name, "absent", "declared")
        else:
            yield from _of_cluster(name, earlier, belief, before_at, after_at)
            yield from _of_drain(name, earlier, belief, walls_ms)
    for name in before.beliefs:
        if name not in after.beliefs:
            yield Transition("inventory", name, "declared", "removed")


def _of_cluster(name: str, before: Belief, after: Belief, before_at: float, after_at: float) -> Iterator[Transition]:
    alive_before, alive_after = belief_liveness(before, before_at), belief_liveness(after, after_at)
    if alive_before is not alive_after:
        yield Transition("liveness", name, alive_before, alive_after)
    if before.standing.state is not after.standing.state:
        cause = after.standing.cause
        yield Transition("standing", name, before.standing.state, after.standing.state, cause or "")
    was, now = before.standing.doubted(before_at), after.standing.doubted(after_at)
    if now and not was:
        yield Transition("standing", name, after.standing.state, "doubted", "failing, as half the fleet")
    elif was and not now and after.standing.state is not State.EJECTED:
        yield Transition("standing", name, "doubted", after.standing.state)


def _of_drain(name: str, before: Belief, after: Belief, walls_ms: tuple[float, float]) -> Iterator[Transition]:
    was = before.drain is not None and before.drain.holds(walls_ms[0])
    now = after.drain is not None and after.drain.holds(walls_ms[1])
    if was != now and after.drain is not None:
        ended = after.drain.active and not now
        words = {True: "drained", False: "serving"}
        yield Transition("drain", name, words[was], words[now], "expired" if ended else after.drain.reason)
