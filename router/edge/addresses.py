"""The addresses of one endpoint: whose turn it is, and which are left alone for a while. Pure.

Round robin over those that answer. One that failed rests, and is tried again before the others only when all rest.
"""

from collections.abc import Iterable, Iterator

REST_S = 5.0  # For an address that failed; doubled each time in a row.
REST_S_MAX = 60.0


class Address:
    """One address. Connections keep theirs, to know whether it is still wanted."""

    __slots__ = ("failures", "gone", "rests_until", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.gone = False  # No longer named, or on other terms: what was opened to it is not used again.
        self.failures = 0
        self.rests_until = 0.0

    def failed(self, now: float) -> None:
        """Nobody took a connection there."""
        self.rests_until = now + min(REST_S_MAX, REST_S * 2.0 ** min(self.failures, 8))
        self.failures += 1

    def answered(self) -> None:
        """A connection was made."""
        self.failures = 0
        self.rests_until = 0.0


class AddressBook:
    """The addresses of one endpoint."""

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._addresses = tuple(Address(text) for text in texts)
        self._turn = -1

    def __iter__(self) -> Iterator[Address]:
        return iter(self._addresses)

    def __len__(self) -> int:
        return len(self._addresses)

    @property
    def texts(self) -> tuple[str, ...]:
        return tuple(address.text for address in self._addresses)

    def replace(self, texts: Iterable[str]) -> bool:
        """Take what DNS says now; whether anything changed. What is no longer named is gone."""
        wanted = tuple(sorted(set(texts)))
        if wanted == self.texts:
            return False
        known = {address.text: address for address in self._addresses}
        self._addresses = tuple(known.pop(text) if text in known else Address(text) for text in wanted)
        for address in known.values():
            address.gone = True
        return True

    def renew(self) -> None:
        """The same addresses on new terms: what was opened so far is not used again."""
        for address in self._addresses:
            address.gone = True
        self._addresses = tuple(Address(address.text) for address in self._addresses)

    def order(self, now: float) -> list[Address]:
        """In which order to try them now; each call begins with the next."""
        count = len(self._addresses)
        if count < 2:
            return list(self._addresses)
        self._turn = (self._turn + 1) % count
        around = [*self._addresses[self._turn :], *self._addresses[: self._turn]]
        ready = [address for address in around if address.rests_until <= now]
        return ready + sorted((a for a in around if a.rests_until > now), key=lambda address: address.rests_until)
