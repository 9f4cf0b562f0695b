"""Homes of keys."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.policy.rendezvous import BALANCE, Site, draw, home, homes

SITES = tuple(Site(name) for name in ("a", "b", "c", "d"))
KEYS = range(20_000)


def test_keys_spread_by_weight() -> None:
    sites = (Site("a", 1.0), Site("b", 2.0), Site("c", 5.0))
    found = Counter(homes(key, sites)[0] for key in KEYS)
    for place, site in enumerate(sites):
        assert found[place] / len(KEYS) == pytest.approx(site.weight / 8.0, abs=0.015)


def test_only_the_keys_of_a_site_that_goes_move() -> None:
    left = SITES[:3]
    for key in range(2000):
        before = SITES[homes(key, SITES)[0]].name
        after = left[homes(key, left)[0]].name
        assert after == before or before == "d"


def test_all_processes_agree() -> None:
    assert [homes(key, SITES)[0] for key in range(16)] == [homes(key, SITES)[0] for key in range(16)]
    assert draw(12345, Site("a")) == pytest.approx(HOME_OF_12345, rel=1e-12), "a new hash moves every key at once"


HOME_OF_12345 = 4.209520288269435


def test_popular_key_does_not_drown_its_home() -> None:
    loads = [0.0] * len(SITES)
    for _ in range(1000):
        place = home(42, SITES, loads)
        assert place is not None
        loads[place] += 1
    assert max(loads) <= BALANCE * 1001 / 4 + 1
    assert loads[homes(42, SITES)[0]] == max(loads)


def test_nobody_is_at_home_nowhere() -> None:
    assert home(1, (), ()) is None
    with pytest.raises(ValueError, match="must be positive"):
        Site("a", 0.0)


@given(
    st.integers(0, 2**63),
    st.lists(st.tuples(st.floats(0.1, 1e4), st.floats(0, 1e4)), min_size=1, max_size=20),
)
def test_somebody_always_has_room(key: int, drawn: list[tuple[float, float]]) -> None:
    sites = [Site(f"c{number}", weight) for number, (weight, _) in enumerate(drawn)]
    loads = [load for _, load in drawn]
    place = home(key, sites, loads)
    assert place is not None
    fair = BALANCE * (sum(loads) + 1) * sites[place].weight / sum(site.weight for site in sites)
    assert loads[place] < fair * (1 + 1e-9)
    assert sorted(homes(key, sites)) == list(range(len(sites)))
    assert all(draw(key, site) > 0.0 for site in sites)
