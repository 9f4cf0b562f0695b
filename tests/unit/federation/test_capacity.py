"""The arithmetic of slots."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.capacity import (
    SLOTS_UNDECLARED,
    STALE_DISCOUNT,
    Capacity,
    belief_liveness,
    capacity,
    models_of,
    pool_of,
)
from federation.liveness import Liveness
from federation.model import DeclaredPool
from tests.build import MODEL, NOW, belief, heartbeat, pool, spec

FRESH, STALE, LOST = Liveness.FRESH, Liveness.STALE, Liveness.LOST


def reporting(*, declared: int | None = None, **fields: object) -> Capacity:
    return seen(FRESH, declared=declared, **fields)


def seen(alive: Liveness, *, declared: int | None = None, own: int = 0, **fields: object) -> Capacity:
    said = heartbeat(pools=(pool(**fields),))  # type: ignore[arg-type]
    return capacity(belief(slots=declared, heartbeat=said, own_at_arrival={MODEL: own}), MODEL, alive)


@pytest.mark.parametrize(("age_s", "expected"), [(0.0, FRESH), (3.0, FRESH), (3.5, STALE), (10.0, STALE), (10.5, LOST)])
def test_belief_is_as_alive_as_its_heartbeat(age_s: float, expected: Liveness) -> None:
    assert belief_liveness(belief(age_s=age_s), NOW) is expected


def test_cluster_never_heard_is_lost() -> None:
    assert belief_liveness(belief(heartbeat=None), NOW) is LOST


def test_fresh_figures_count_whole() -> None:
    found = reporting(slots=8, running=3, waiting=2, kv_cache_utilization_max=0.5)
    assert found == Capacity(slots=8.0, load_of_others=5.0, waiting=2, kv_cache_utilization=0.5, ready=True)


def test_stale_figures_are_discounted() -> None:
    assert seen(STALE, slots=10).slots == pytest.approx(10 * STALE_DISCOUNT)


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        pytest.param(100, 100.0, id="the declared bound"),
        pytest.param(None, 8 * STALE_DISCOUNT, id="nothing declared: what was said last, discounted"),
    ],
)
def test_of_a_lost_cluster_only_the_bound_is_left(declared: int | None, expected: float) -> None:
    found = seen(LOST, declared=declared, slots=8, running=8)
    assert found.slots == pytest.approx(expected)
    assert found.load_of_others == 0.0
    assert found.ready


def test_cluster_of_which_nobody_said_anything_gets_a_modest_prior() -> None:
    assert capacity(belief(heartbeat=None), MODEL, LOST).slots == SLOTS_UNDECLARED


@pytest.mark.parametrize(("said", "declared", "slots"), [(1_000_000, 16, 16.0), (4, 16, 4.0)])
def test_declared_bound_clips_a_boasting_heartbeat(said: int, declared: int, slots: float) -> None:
    assert reporting(slots=said, declared=declared).slots == slots


@pytest.mark.parametrize(
    ("running", "waiting", "own", "others"), [(5, 1, 2, 4.0), (2, 0, 2, 0.0), (1, 0, 5, 0.0), (0, 0, 0, 0.0)]
)
def test_own_calls_at_the_report_are_not_load_of_others(running: int, waiting: int, own: int, others: float) -> None:
    """What we had in flight when the heartbeat came is counted by our own ledger."""
    assert reporting(running=running, waiting=waiting, own=own).load_of_others == others


def test_fresh_report_of_no_ready_replica_is_not_ready() -> None:
    assert not reporting(replicas_ready=0).ready
    assert seen(STALE, replicas_ready=0).ready, "a stale report cannot say so any more"


def test_declared_model_that_a_fresh_heartbeat_does_not_name_is_known_and_not_ready() -> None:
    held = belief(spec=spec(models={"other": DeclaredPool(7)}))
    assert capacity(held, "other", FRESH).slots == 7.0
    assert not capacity(held, "other", FRESH).ready
    assert capacity(held, "other", LOST).ready, "a lost word says nothing any more"


def test_agent_that_cannot_see_its_cluster_makes_no_fresh_statement() -> None:
    blind = belief(heartbeat=heartbeat(observed=False))
    assert belief_liveness(blind, blind.arrived_at or 0.0) is STALE


def test_pool_is_found_by_its_model() -> None:
    held = belief(heartbeat=heartbeat(pools=(pool("m1"), pool("m2"))))
    assert pool_of(held, "m2") == pool("m2")
    assert pool_of(held, "m3") is None
    assert pool_of(belief(heartbeat=None), "m1") is None


@pytest.mark.parametrize(
    ("declared", "reported", "served"),
    [
        pytest.param(("m1",), None, {"m1"}, id="never heard: what is declared"),
        pytest.param((), ("m1", "m2"), {"m1", "m2"}, id="nothing declared: what is reported"),
        pytest.param(("m1", "m3"), ("m1", "m2"), {"m1", "m3"}, id="both: what is declared"),
        pytest.param(("m1",), (), {"m1"}, id="declared, and not reported: known all the same"),
        pytest.param((), None, set(), id="nobody said anything"),
    ],
)
def test_models_are_those_declared_or_else_those_reported(
    declared: tuple[str, ...], reported: tuple[str, ...] | None, served: set[str]
) -> None:
    said = None if reported is None else heartbeat(pools=tuple(map(pool, reported)))
    assert models_of(belief(spec=spec(models=dict.fromkeys(declared, DeclaredPool(1))), heartbeat=said)) == served


def test_model_scaled_to_nothing_is_not_served() -> None:
    assert not models_of(belief(heartbeat=heartbeat(pools=(pool(replicas_ready=0, replicas_desired=0),))))
    assert models_of(belief(heartbeat=heartbeat(pools=(pool(replicas_ready=0, replicas_desired=1),))))


@given(
    st.sampled_from(Liveness),
    st.integers(0, 1000),
    st.integers(0, 1000),
    st.integers(0, 1000),
    st.integers(0, 2000),
    st.none() | st.integers(0, 1000),
)
def test_slots_never_exceed_what_is_declared(
    alive: Liveness, slots: int, running: int, waiting: int, own: int, declared: int | None
) -> None:
    found = seen(alive, slots=slots, running=running, waiting=waiting, own=own, declared=declared)
    assert found.slots >= 0
    assert 0 <= found.load_of_others <= running + waiting
    if declared is not None:
        assert found.slots <= declared
