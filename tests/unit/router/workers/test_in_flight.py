"""One table for our own calls and the others': what goes in comes out, in whatever order."""

from hypothesis import given
from hypothesis import strategies as st

from router.workers.in_flight import Elsewhere, Key, less, summed

KEYS = st.sampled_from([("a", "m"), ("a", "n"), ("b", "m")])
COUNTS = st.dictionaries(KEYS, st.integers(0, 5)).map(lambda d: tuple((*key, count) for key, count in d.items()))
STEPS = st.lists(st.one_of(KEYS, COUNTS, st.just(None)))


def positive(counts: dict[Key, int]) -> dict[Key, int]:
    return {key: count for key, count in counts.items() if count}


@given(STEPS)
def test_the_table_is_ours_and_theirs_at_any_time(steps: list[tuple[object, ...] | None]) -> None:
    """A key is a call of ours that begins, None is our oldest that ends, counts are news of the others."""
    table: dict[Key, int] = {}
    elsewhere = Elsewhere(table)
    ours: list[Key] = []
    theirs: dict[Key, int] = {}
    for step in steps:
        if step is None:
            if ours:
                key = ours.pop(0)
                left = table.get(key, 0) - 1  # As the door does it.
                if left > 0:
                    table[key] = left
                else:
                    table.pop(key, None)
        elif step and isinstance(step[0], str):
            key = (str(step[0]), str(step[1]))
            ours.append(key)
            table[key] = table.get(key, 0) + 1
        else:
            counts = [row for row in step if isinstance(row, tuple)]
            elsewhere.lay(counts)
            theirs = positive(summed([counts]))
        own = {key: ours.count(key) for key in ours}
        assert table == summed([[(*key, count) for key, count in part.items()] for part in (own, theirs)])
        assert {(cluster, model): count for cluster, model, count in elsewhere.own()} == own


@given(st.lists(COUNTS, min_size=1, max_size=4))
def test_each_worker_is_told_of_the_others_alone(parts: list[tuple[tuple[str, str, int], ...]]) -> None:
    total = summed(parts)
    for index, own in enumerate(parts):
        others = positive(summed([*parts[:index], *parts[index + 1 :]]))
        assert {(cluster, model): count for cluster, model, count in less(total, own)} == others
