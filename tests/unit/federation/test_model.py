"""The nouns themselves."""

from itertools import pairwise

import pytest

from federation.ejection import State
from federation.model import Epoch, Mode, Snapshot
from tests.build import WALL_MS, drain, heartbeat, spec


def test_epochs_compare_by_lease_then_transitions_then_boot() -> None:
    rising = [Epoch(), Epoch(boot_ms=9), Epoch(lease_transitions=1), Epoch(1, 0, 0), Epoch(1, 0, 1), Epoch(1, 1, 0)]
    assert all(earlier < later for earlier, later in pairwise(rising))


def test_heartbeats_order_by_epoch_before_seq() -> None:
    assert heartbeat(boot_ms=1, seq=99).order < heartbeat(boot_ms=2, seq=1).order < heartbeat(boot_ms=2, seq=2).order


@pytest.mark.parametrize(
    ("active", "wall_ms", "holds"),
    [
        pytest.param(True, WALL_MS, True, id="in force"),
        pytest.param(True, WALL_MS + 59_999, True, id="up to its end"),
        pytest.param(True, WALL_MS + 60_000, False, id="over by itself"),
        pytest.param(False, WALL_MS, False, id="undrained"),
    ],
)
def test_drain_ends_by_itself(active: bool, wall_ms: float, holds: bool) -> None:
    assert drain(active=active).holds(wall_ms) is holds


def test_inventory_alone_makes_a_snapshot_in_good_standing_sorted_by_name() -> None:
    first = Snapshot.of_inventory({"b": spec("b"), "a": spec("a")}, 5.0)
    assert list(first.beliefs) == ["a", "b"]
    assert (first.generation, first.mode, first.folded_at) == (0, Mode.LIVE, 5.0)
    assert all(one.standing.state is State.ADMITTED and one.heartbeat is None for one in first.beliefs.values())


def test_snapshot_cannot_be_changed() -> None:
    first = Snapshot.of_inventory({"a": spec("a")}, 5.0)
    with pytest.raises(TypeError):
        first.beliefs["b"] = first.beliefs["a"]  # type: ignore[index]
    with pytest.raises(AttributeError):
        first.generation = 3  # type: ignore[misc]
