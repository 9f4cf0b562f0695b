"""A heap whose members can be found again."""

from hypothesis import given
from hypothesis import strategies as st

from router.policy.indexed_heap import IndexedHeap


def test_lowest_rank_is_first_and_ranks_may_change() -> None:
    heap: IndexedHeap[str] = IndexedHeap()
    assert heap.first() is None
    heap.put("a", 2)
    heap.put("b", 1)
    assert (heap.first(), heap.first_rank(), len(heap)) == ("b", 1, 2)
    heap.put("b", 3)
    assert heap.first() == "a"
    assert heap.drop("a")
    assert not heap.drop("a")
    assert (heap.first(), heap.rank("b"), heap.rank("a")) == ("b", 3, None)


@given(st.lists(st.tuples(st.integers(0, 15), st.none() | st.integers(0, 100)), max_size=200))
def test_behaves_like_a_dictionary_that_is_sorted(steps: list[tuple[int, int | None]]) -> None:
    heap: IndexedHeap[int] = IndexedHeap()
    model: dict[int, int] = {}
    for member, rank in steps:
        if rank is None:
            assert heap.drop(member) == (model.pop(member, None) is not None)
        else:
            heap.put(member, rank)
            model[member] = rank
        assert len(heap) == len(model)
        assert all(heap.rank(one) == known for one, known in model.items())
        assert all((one in heap) == (one in model) for one in range(16))
        if model:
            assert heap.first_rank() == min(model.values()) == heap.rank(heap.first() or 0)
    drained = []
    while (first := heap.first()) is not None:
        drained.append(heap.first_rank())
        heap.drop(first)
    assert drained == sorted(model.values())
