"""Faults leave one region whole at every moment."""

import json
from random import Random

import pytest

from federation.lab.faults import Faults, read_faults
from tests.app.fleet import REGIONS
from tests.soak.faults import WEIGHTS, Condition, Fault, FaultKind, asked_of_emulator, draw, spared
from tests.unit.soak.runs import CONDITIONS, WHOLE, fault


def drawn(conditions: dict[str, Condition], active: list[Fault]) -> list[Fault]:
    found = [draw(Random(seed), conditions, active) for seed in range(500)]
    return [one for one in found if one is not None]


def test_every_kind_is_drawn_and_for_every_region() -> None:
    faults = drawn(CONDITIONS, [])
    assert {one.kind for one in faults} == set(WEIGHTS) == set(FaultKind)
    assert {one.region for one in faults} == {*REGIONS, ""}


def test_last_whole_region_is_spared() -> None:
    active = [fault(FaultKind.KILL, REGIONS[0]), fault(FaultKind.SLOW, REGIONS[1])]
    assert {one.region for one in drawn(CONDITIONS, active)} == {""}


@pytest.mark.parametrize(
    "worse",
    [
        Condition("probation", "fresh", 0.2, drained=False),
        Condition("admitted", "fresh", 0.9, drained=False),
        Condition("admitted", "fresh", None, drained=False),
        Condition("admitted", "fresh", 0.2, drained=True),
    ],
    ids=str,
)
def test_region_that_is_not_whole_spares_nobody(worse: Condition) -> None:
    conditions = {REGIONS[0]: WHOLE, REGIONS[1]: worse, REGIONS[2]: worse}
    assert REGIONS[0] not in {one.region for one in drawn(conditions, [])}
    assert spared(conditions, frozenset()) == [REGIONS[0]]


def test_store_fails_alone_and_not_beside_a_drain() -> None:
    store = {FaultKind.STORE_FREEZE, FaultKind.STORE_KILL}
    assert not store & {one.kind for one in drawn(CONDITIONS, [fault(FaultKind.DRAIN)])}
    beside = {one.kind for one in drawn(CONDITIONS, [fault(FaultKind.STORE_KILL, "")])}
    assert not beside & {*store, FaultKind.DRAIN}
    assert FaultKind.KILL in beside


def test_same_seed_draws_the_same() -> None:
    assert draw(Random(7), CONDITIONS, []) == draw(Random(7), CONDITIONS, [])


@pytest.mark.parametrize("kind", FaultKind)
def test_emulator_understands_what_it_is_asked(kind: FaultKind) -> None:
    asked = asked_of_emulator(kind, Random(1))
    other = {FaultKind.KILL, FaultKind.FREEZE, FaultKind.DRAIN, FaultKind.STORE_FREEZE, FaultKind.STORE_KILL}
    assert (read_faults(json.dumps(asked).encode()) == Faults()) is (kind in other)


def test_fault_touches_what_overlaps_it() -> None:
    one = fault(FaultKind.KILL, began_at=10.0, ended_at=15.0)
    assert one.touches(8.0, 9.5, 1.0)
    assert one.touches(15.5, 20.0, 1.0)
    assert not one.touches(8.0, 8.5, 1.0)
    assert not one.touches(16.5, 20.0, 1.0)
