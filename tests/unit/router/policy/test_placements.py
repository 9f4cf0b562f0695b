"""What a front door remembers of its own decisions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.policy.placements import HOLDERS_MAX, Placements


def test_what_was_placed_is_believed_and_fades() -> None:
    placements = Placements(lifetime_s=100.0)
    placements.note([1], "a", 0.0)
    assert placements.belief(1, 0.0) == {"a": 1.0}
    assert placements.belief(1, 50.0) == {"a": 0.5}
    assert placements.belief(1, 100.0) == placements.belief(2, 0.0) == {}


def test_depths_tell_how_far_each_cluster_has_a_beginning() -> None:
    placements = Placements(lifetime_s=100.0)
    placements.note([1, 2, 3, 4], "a", 0.0)
    placements.note([1, 2, 30], "b", 50.0)
    assert placements.depths([1, 2, 3, 40], 50.0) == {"a": (3, 0.5), "b": (2, 1.0)}
    assert placements.depths([9, 10], 50.0) == placements.depths([], 50.0) == {}


def test_a_key_remembers_its_last_few_clusters() -> None:
    placements = Placements()
    for number in range(10):
        placements.note([1], f"c{number}", float(number))
    placements.note([1], "c8", 10.0)
    held = placements.belief(1, 10.0)
    assert len(held) == HOLDERS_MAX
    assert {"c8", "c9"} <= set(held)


def test_least_recently_used_key_gives_way() -> None:
    placements = Placements(keys_max=2)
    placements.note([1], "a", 0.0)
    placements.note([2], "a", 0.0)
    placements.note([1], "a", 1.0)
    placements.note([3], "a", 1.0)
    assert [bool(placements.belief(key, 1.0)) for key in (1, 2, 3)] == [True, False, True]


def test_what_a_cluster_lost_is_forgotten() -> None:
    placements = Placements()
    placements.note([1, 2], "a", 0.0)
    placements.note([2], "b", 0.0)
    placements.forget("a")
    assert placements.belief(1, 0.0) == {}
    assert set(placements.belief(2, 0.0)) == {"b"}
    assert len(placements) == 1


@pytest.mark.parametrize(("keys_max", "lifetime_s"), [(0, 1.0), (1, 0.0), (1, float("nan"))])
def test_a_memory_of_nothing_is_refused(keys_max: int, lifetime_s: float) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        Placements(keys_max, lifetime_s)


def chain(path: str) -> list[int]:
    """Keys of all beginnings of a path, the shortest first, as chained checksums make them."""
    return [hash(path[: end + 1]) for end in range(len(path))]


@given(st.lists(st.tuples(st.text("xy", max_size=6), st.sampled_from("abcd")), max_size=40), st.integers(1, 12))
def test_nobody_is_believed_to_have_more_than_was_placed_there(placed: list[tuple[str, str]], keys_max: int) -> None:
    """However small the memory: it loses the longest beginnings first, and never the middle of one."""
    placements = Placements(keys_max)
    for path, cluster in placed:
        placements.note(chain(path), cluster, 0.0)
    for path, _ in placed:
        for cluster, (depth, belief) in placements.depths(chain(path), 0.0).items():
            assert 0 < depth <= len(path)
            assert belief == 1.0
            assert any(other.startswith(path[:depth]) and where == cluster for other, where in placed)


@given(
    st.lists(st.tuples(st.lists(st.integers(0, 30), max_size=8), st.sampled_from("abcdef"), st.floats(0, 1000))),
    st.integers(1, 20),
)
def test_bound_holds_and_beliefs_are_shares(noted: list[tuple[list[int], str, float]], keys_max: int) -> None:
    placements = Placements(keys_max)
    now = 0.0
    for keys, cluster, later in noted:
        now += later
        placements.note(keys, cluster, now)
        assert len(placements) <= keys_max
    for key in range(31):
        held = placements.belief(key, now)
        assert len(held) <= HOLDERS_MAX
        assert all(0.0 < belief <= 1.0 for belief in held.values())
