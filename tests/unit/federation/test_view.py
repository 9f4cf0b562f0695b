"""The fleet as a decision sees it."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.ejection import Cause
from federation.features import ASSISTANT_PREFILL, CONTINUE_FINAL_MESSAGE, NO_METRICS, RESUMES, STOP_WITHHELD
from federation.liveness import Liveness
from federation.model import Belief, DeclaredPool, Hold, HoldKind
from federation.view import Drop, PoolView
from tests.build import (
    MODEL,
    NOW,
    WALL_MS,
    A,
    B,
    C,
    belief,
    candidate,
    drain,
    ejected,
    fleet,
    heartbeat,
    pool,
    probation,
    spec,
)


def seen(one: Belief, now: float = NOW, wall_ms: float = WALL_MS) -> PoolView:
    [view] = fleet(one, now=now, wall_ms=wall_ms).models[MODEL].pools
    return view


def test_cluster_in_good_standing_is_a_candidate() -> None:
    view = seen(belief(heartbeat=heartbeat(pools=(pool(slots=8, running=3),))))
    assert view.drop is None
    assert (view.slots, view.load_of_others, view.share, view.liveness) == (8.0, 3.0, 1.0, Liveness.FRESH)
    assert view.headroom_slots(2) == 3.0
    assert view.load(2) == 5.0
    assert view.saturation(1) == 0.5


def test_full_to_overflowing_pool_has_negative_headroom() -> None:
    assert candidate(slots=4, load=6).headroom_slots(1) == -3.0


def test_pool_without_slots_is_infinitely_saturated() -> None:
    assert candidate(slots=0).saturation(0) == float("inf")


@pytest.mark.parametrize("age_s", [0.0, 5.0, 50.0, 1e6])
def test_silent_cluster_stays_a_candidate(age_s: float) -> None:
    assert seen(belief(age_s=age_s, slots=8)).drop is None
    assert seen(belief(heartbeat=None, slots=8)).drop is None


NO_ROOM = {MODEL: Hold(HoldKind.NO_ROOM, NOW + 5)}
MISSING = {MODEL: Hold(HoldKind.MODEL_MISSING, NOW + 5)}
NOT_READY = heartbeat(pools=(pool(replicas_ready=0),))


@pytest.mark.parametrize(
    ("one", "drop"),
    [
        pytest.param(belief(drain=drain()), Drop.DRAINED, id="drained"),
        pytest.param(belief(drain=drain(), standing=ejected(Cause.UNREACHABLE)), Drop.DRAINED, id="drained first"),
        pytest.param(belief(drain=drain(active=False)), None, id="undrained"),
        pytest.param(belief(drain=drain(until_unix_ms=int(WALL_MS))), None, id="drain is over"),
        pytest.param(belief(heartbeat=NOT_READY), Drop.NOT_READY, id="no ready replica"),
        pytest.param(belief(heartbeat=heartbeat(pools=(pool(slots=0),))), Drop.NOT_READY, id="no slots"),
        pytest.param(belief(slots=0), Drop.NOT_READY, id="declared without slots"),
        pytest.param(belief(standing=ejected()), Drop.EJECTED, id="failing"),
        pytest.param(belief(standing=ejected(Cause.UNREACHABLE)), Drop.UNREACHABLE, id="unreachable"),
        pytest.param(belief(standing=ejected(Cause.UNREACHABLE, silent_probes=0)), Drop.EJECTED, id="answers again"),
        pytest.param(belief(standing=probation()), None, id="probation"),
        pytest.param(belief(holds=NO_ROOM), Drop.NO_ROOM, id="held for a 429"),
        pytest.param(belief(holds=MISSING), Drop.NOT_READY, id="held for a 404"),
        pytest.param(belief(holds={MODEL: Hold(HoldKind.NO_ROOM, NOW)}), None, id="hold is over"),
        pytest.param(belief(holds={"other": Hold(HoldKind.NO_ROOM, NOW + 5)}), None, id="another model's hold"),
    ],
)
def test_cluster_is_dropped_with_its_reason(one: Belief, drop: Drop | None) -> None:
    assert seen(one).drop is drop


def test_unreachable_cluster_is_no_good_even_in_panic() -> None:
    assert not seen(belief(standing=ejected(Cause.UNREACHABLE))).in_panic
    assert not seen(belief(standing=ejected(Cause.UNREACHABLE), heartbeat=NOT_READY)).in_panic


@pytest.mark.parametrize(
    ("one", "in_panic"),
    [
        pytest.param(belief(standing=ejected()), True, id="failing"),
        pytest.param(belief(heartbeat=NOT_READY), True, id="not ready"),
        pytest.param(belief(drain=drain()), False, id="drained"),
        pytest.param(belief(holds=NO_ROOM), False, id="said it is full"),
        pytest.param(belief(), False, id="in good standing anyway"),
    ],
)
def test_panic_takes_those_that_answer(one: Belief, in_panic: bool) -> None:
    assert seen(one).in_panic is in_panic


def test_slow_starter_shows_its_share() -> None:
    assert seen(belief(standing=probation(since=NOW - 4))).share == pytest.approx(0.4)


def test_region_is_the_inventorys_and_not_the_heartbeats() -> None:
    assert seen(belief(region=B, heartbeat=heartbeat(region=C))).region == B


def test_models_unknown_of_some_cluster_are_said_to_be_so() -> None:
    assert fleet(belief("a")).all_models_known
    assert not fleet(belief("a"), belief("b", heartbeat=None)).all_models_known
    assert fleet(belief("a"), belief("b", heartbeat=None, slots=4)).all_models_known


def test_each_model_lists_the_clusters_that_serve_it() -> None:
    view = fleet(
        belief("b", heartbeat=heartbeat("b", pools=(pool("m1"), pool("m2")))),
        belief("a", heartbeat=heartbeat("a", pools=(pool("m2"),))),
    )
    found = {model: [one.cluster for one in seen.pools] for model, seen in view.models.items()}
    assert found == {"m1": ["b"], "m2": ["a", "b"]}
    assert view.clusters == ("a", "b")


def test_nearest_comes_first_and_ties_go_by_name() -> None:
    view = fleet(belief("far", C), belief("y", A), belief("mid", B), belief("x", A))
    order = [(placed.pool.cluster, placed.rtt_ms) for placed in view.models[MODEL].nearest_first(A, view)]
    assert order == [("x", 1.0), ("y", 1.0), ("mid", 30.0), ("far", 100.0)]


def test_order_by_distance_is_worked_out_once_an_origin() -> None:
    view = fleet(belief("a", A), belief("b", B))
    model = view.models[MODEL]
    assert model.nearest_first(A, view) is model.nearest_first(A, view)
    assert [placed.pool.cluster for placed in model.nearest_first(B, view)] == ["b", "a"]


@pytest.mark.parametrize(
    ("probed_ms", "expected"),
    [
        pytest.param(None, 30.0, id="not probed"),
        pytest.param(37.0, 30.0, id="within a quarter"),
        pytest.param(23.0, 30.0, id="within a quarter, below"),
        pytest.param(38.0, 38.0, id="clearly more"),
        pytest.param(22.0, 22.0, id="clearly less"),
    ],
)
def test_probes_correct_a_distance_only_beyond_doubt(probed_ms: float | None, expected: float) -> None:
    assert fleet(belief(), own_region=A).rtt_ms(A, B, probed_ms) == expected


@pytest.mark.parametrize(("probed_ms", "expected"), [(5.9, 1.0), (6.1, 6.1)])
def test_small_distances_have_five_ms_of_doubt(probed_ms: float, expected: float) -> None:
    assert fleet(belief(), own_region=A).rtt_ms(A, A, probed_ms) == expected


def test_probes_say_nothing_of_distances_from_elsewhere() -> None:
    assert fleet(belief(), own_region=A).rtt_ms(C, B, 500.0) == 70.0


def test_probed_distance_reorders_candidates() -> None:
    view = fleet(belief("a", A, rtt_s=0.2), belief("b", B), own_region=A)
    assert [placed.pool.cluster for placed in view.models[MODEL].nearest_first(A, view)] == ["b", "a"]


@given(st.permutations(["a", "b", "c", "d"]), st.sampled_from([A, B, C]))
def test_order_of_beliefs_does_not_matter(names: list[str], origin: str) -> None:
    regions = {"a": A, "b": B, "c": C, "d": B}
    view = fleet(*(belief(name, regions[name]) for name in names))
    expected = sorted(regions, key=lambda name: (view.distances.rtt_ms(origin, regions[name]), name))
    assert [placed.pool.cluster for placed in view.models[MODEL].nearest_first(origin, view)] == expected


def test_view_carries_the_snapshots_generation_and_mode() -> None:
    view = fleet(belief())
    assert (view.generation, view.mode, view.at) == (1, "live", NOW)


def test_spec_of_the_inventory_alone_makes_a_view() -> None:
    view = seen(replace(belief(heartbeat=None), spec=spec(slots=12)))
    assert (view.slots, view.load_of_others, view.liveness, view.drop) == (12.0, 0.0, Liveness.LOST, None)


def test_features_are_those_declared_and_those_reported_and_what_follows() -> None:
    declared = spec(models={MODEL: DeclaredPool(8, (ASSISTANT_PREFILL,))})
    reported = heartbeat(pools=(pool(features=(STOP_WITHHELD, NO_METRICS)),))
    assert seen(belief(spec=declared)).features == {ASSISTANT_PREFILL, RESUMES}
    assert seen(belief(spec=declared, heartbeat=reported)).features == {
        ASSISTANT_PREFILL,
        STOP_WITHHELD,
        NO_METRICS,
        RESUMES,
    }
    assert seen(belief(heartbeat=heartbeat(pools=(pool(),)))).features == frozenset()


def test_a_cluster_that_is_no_longer_heard_keeps_its_features() -> None:
    one = belief(heartbeat=heartbeat(pools=(pool(features=(CONTINUE_FINAL_MESSAGE,)),)), age_s=1000.0)
    assert seen(one).liveness is Liveness.LOST
    assert RESUMES in seen(one).features
