"""A heap whose members can be found again: the first by rank, and any of them moved or taken out. Pure.

Every verb but `first` and `in` takes O(log n). `heapq` with entries marked as dead is faster while few are marked, but
a queue that clients leave and that sheds is full of them.
"""

from collections.abc import Hashable
from typing import Any, Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class IndexedHeap(Generic[K]):
    """Members are hashable and stand in it once; ranks are compared, the lowest is first."""

    __slots__ = ("_members", "_places", "_ranks")

    def __init__(self) -> None:
        self._members: list[K] = []
        self._ranks: list[Any] = []
        self._places: dict[K, int] = {}

    def __len__(self) -> int:
        return len(self._members)

    def __contains__(self, member: K) -> bool:
        return member in self._places

    def first(self) -> K | None:
        """The member of the lowest rank; None if there is none."""
        return self._members[0] if self._members else None

    def first_rank(self) -> Any:
        """Its rank. IndexError if there is none."""
        return self._ranks[0]

    def rank(self, member: K) -> Any:
        """The rank of a member; None if it is not there."""
        place = self._places.get(member)
        return None if place is None else self._ranks[place]

    def put(self, member: K, rank: Any) -> None:
        """Adds a member, or gives it another rank."""
        place = self._places.get(member)
        if place is None:
            place = len(self._members)
            self._members.append(member)
            self._ranks.append(rank)
            self._up(place, member, rank)
        elif rank < self._ranks[place]:
            self._up(place, member, rank)
        else:
            self._down(place, member, rank)

    def drop(self, member: K) -> bool:
        """Takes a member out; False if it is not there."""
        place = self._places.pop(member, None)
        if place is None:
            return False
        last, rank = self._members.pop(), self._ranks.pop()
        if place < len(self._members):
            if place and rank < self._ranks[(place - 1) // 2]:
                self._up(place, last, rank)
            else:
                self._down(place, last, rank)
        return True

    def _up(self, place: int, member: K, rank: Any) -> None:
        members, ranks, places = self._members, self._ranks, self._places
        while place:
            parent = (place - 1) // 2
            if not rank < ranks[parent]:
                break
            members[place], ranks[place] = members[parent], ranks[parent]
            places[members[place]] = place
            place = parent
        members[place], ranks[place] = member, rank
        places[member] = place

    def _down(self, place: int, member: K, rank: Any) -> None:
        members, ranks, places = self._members, self._ranks, self._places
        size = len(members)
        while (child := 2 * place + 1) < size:
            if child + 1 < size and ranks[child + 1] < ranks[child]:
                child += 1
            if not ranks[child] < rank:
                break
            members[place], ranks[place] = members[child], ranks[child]
            places[members[place]] = place
            place = child
        members[place], ranks[place] = member, rank
        places[member] = place
