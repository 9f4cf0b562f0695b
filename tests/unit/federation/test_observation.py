"""A view made from the one before is equal to one made from nothing, whatever happens."""

from dataclasses import replace
from random import Random

import pytest

from federation.ejection import Cause, ProbeResult
from federation.fold import (
    BytesSeen,
    DrainSeen,
    Event,
    HeartbeatSeen,
    InventorySeen,
    OutcomeSeen,
    ProbeSeen,
    ServedSeen,
    StoresSeen,
    fold,
)
from federation.liveness import Liveness
from federation.model import Snapshot
from federation.observation import observe
from federation.outcome import Outcome, OutcomeKind
from federation.view import Drop
from tests.build import (
    DISTANCES,
    MODEL,
    NOW,
    WALL_MS,
    A,
    B,
    C,
    belief,
    drain,
    ejected,
    heartbeat,
    pool,
    probation,
    snapshot,
    spec,
)

SPECS = {
    "a": spec("a", A, slots=8),
    "b": spec("b", B),
    "c": spec("c", C, slots=8),
    "d": spec("d", C, slots=8),
}


def something_happens(rng: Random, seq: int, now: float) -> Event:
    name = rng.choice(list(SPECS))
    model = rng.choice((MODEL, MODEL, "other"))
    pools = (pool(model, running=rng.randrange(9)),) if rng.random() < 0.9 else ()
    kinds = list(OutcomeKind)
    return rng.choice(
        [
            HeartbeatSeen(heartbeat(name, seq=seq, pools=pools), {MODEL: rng.randrange(3)}),
            HeartbeatSeen(heartbeat(name, seq=seq, observed=rng.random() < 0.5), {}),
            ProbeSeen(name, rng.choice(list(ProbeResult)), rng.random()),
            OutcomeSeen(Outcome(name, MODEL, rng.choice(kinds), retry_after_s=rng.random())),
            ServedSeen(name, rng.randrange(1, 50)),
            BytesSeen(name),
            DrainSeen(
                drain(name, active=rng.random() < 0.5, version_ms=seq, until_unix_ms=int(WALL_MS + 1000 * (now + 1)))
            ),
            StoresSeen(reachable=rng.randrange(2), configured=1),
            InventorySeen(SPECS if rng.random() < 0.7 else {"a": SPECS["a"], "b": spec("b", A)}),
        ]
    )


@pytest.mark.parametrize("seed", range(40))
def test_view_made_from_the_last_one_is_the_view_made_anew(seed: int) -> None:
    rng = Random(seed)
    now = NOW
    held = Snapshot.of_inventory(SPECS, now)
    view = observe(held, now, WALL_MS, DISTANCES, A)
    for seq in range(1, 200):
        now += rng.choice((0.0, 0.05, 0.05, 0.05, 0.3, 1.0, 3.0, 4.0))
        held = fold(held, [something_happens(rng, seq, now) for _ in range(rng.randrange(3))], now, rng)
        wall_ms = WALL_MS + 1000 * now
        if rng.random() < 0.1:
            continue  # Folded, and not looked at: the next view cannot be made from what changed last alone.
        view = observe(held, now, wall_ms, DISTANCES, A, view)
        anew = observe(held, now, wall_ms, DISTANCES, A)
        assert view == anew
        for model in anew.models:
            origin = rng.choice((A, B, C, "elsewhere"))
            assert view.models[model].nearest_first(origin, view) == anew.models[model].nearest_first(origin, anew)


def test_cluster_of_which_nothing_new_is_known_is_not_looked_at_again() -> None:
    held = snapshot(belief("a", A), belief("b", B))
    first = observe(held, NOW, WALL_MS, DISTANCES, A)
    second = observe(replace(held, generation=2), NOW + 0.05, WALL_MS + 50, DISTANCES, A, first)
    assert second.generation == 2
    assert second.models[MODEL] is first.models[MODEL]


def test_order_by_distance_is_handed_on_while_somebody_asks_for_it() -> None:
    held = snapshot(belief("a", A), belief("b", B))
    first = observe(held, NOW, WALL_MS, DISTANCES, A)
    first.models[MODEL].nearest_first(B, first)
    newer = snapshot(
        belief("a", A), belief("b", B, heartbeat=heartbeat("b", region=B, seq=2, pools=(pool(running=5),)))
    )
    second = observe(newer, NOW, WALL_MS, DISTANCES, A, first)
    assert [placed.pool.load_of_others for placed in second.models[MODEL].nearest_first(B, second)] == [5.0, 0.0]
    third = observe(held, NOW, WALL_MS, DISTANCES, A, second)
    assert set(third.models[MODEL]._handed_on) == {B}
    assert not observe(newer, NOW, WALL_MS, DISTANCES, A, third).models[MODEL]._handed_on


def test_changed_distance_sorts_anew() -> None:
    held = snapshot(belief("a", A), belief("b", B))
    first = observe(held, NOW, WALL_MS, DISTANCES, A)
    assert [placed.pool.cluster for placed in first.models[MODEL].nearest_first(A, first)] == ["a", "b"]
    far = snapshot(belief("a", A, rtt_s=0.5), belief("b", B))
    second = observe(far, NOW, WALL_MS, DISTANCES, A, first)
    assert [placed.pool.cluster for placed in second.models[MODEL].nearest_first(A, second)] == ["b", "a"]


def test_time_alone_makes_a_statement_stale_though_nothing_is_heard() -> None:
    held = snapshot(belief("a", A))
    view = observe(held, NOW, WALL_MS, DISTANCES, A)
    for seconds, alive in ((3.0, Liveness.FRESH), (3.1, Liveness.STALE), (10.0, Liveness.STALE), (10.1, Liveness.LOST)):
        view = observe(held, NOW + seconds, WALL_MS, DISTANCES, A, view)
        assert view.models[MODEL].pools[0].liveness is alive


def test_slow_start_grows_and_a_doubt_ends_by_time_alone() -> None:
    held = snapshot(
        belief("a", A, standing=probation()), belief("b", B, standing=replace(belief().standing, doubted_until=NOW + 2))
    )
    view = observe(held, NOW, WALL_MS, DISTANCES, A)
    assert [one.share for one in view.models[MODEL].pools] == [0.1, 0.1]
    later = observe(held, NOW + 5, WALL_MS, DISTANCES, A, view)
    assert [one.share for one in later.models[MODEL].pools] == [0.5, 1.0]


def test_other_distances_are_believed_at_once() -> None:
    held = snapshot(belief("a", A), belief("b", B))
    view = observe(held, NOW, WALL_MS, DISTANCES, A)
    view.models[MODEL].nearest_first(A, view)
    nearer = replace(DISTANCES, measured={**DISTANCES.measured, (A, B): 0.2})
    again = observe(held, NOW, WALL_MS, nearer, A, view)
    assert [placed.pool.cluster for placed in again.models[MODEL].nearest_first(A, again)] == ["b", "a"]


def test_ejection_is_seen_whatever_the_view_before_said() -> None:
    view = observe(snapshot(belief("a", A)), NOW, WALL_MS, DISTANCES, A)
    out = snapshot(belief("a", A, standing=ejected(Cause.FAILING)))
    assert observe(out, NOW, WALL_MS, DISTANCES, A, view).models[MODEL].pools[0].drop is Drop.EJECTED
