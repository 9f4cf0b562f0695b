"""Which cluster keeps which response: what answers that pass by say, and what is remembered of it. Pure.

The Responses API is stateful: a call with `previous_response_id` means something only at the
cluster that made that response. Ids are read where a server's answer begins, and nowhere else:
further in, a client could have put them there.
"""

import re
from collections import OrderedDict
from collections.abc import Iterable

import msgspec

REMEMBERED_MAX = 50_000  # About 300 bytes each.
LOOKED_AT_BYTES = 4096  # Of an answer's beginning.

_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
_WHOLE = re.compile(rb'\s*\{\s*"id"\s*:\s*"([A-Za-z0-9_-]{1,128})"')
_STREAMED = re.compile(rb'"response"\s*:\s*\{\s*"id"\s*:\s*"([A-Za-z0-9_-]{1,128})"')

# Of a cluster that is asked for a response: it does not have it. (400: its ids look different. 405: it keeps none.)
NOT_THERE = frozenset({400, 404, 405, 410, 422})


def is_response_id(text: str) -> bool:
    """Whether it can stand in a path as it is."""
    return _ID.fullmatch(text) is not None


def response_id_in(beginning: bytes) -> str | None:
    """The id of the response that an answer, whole or streamed, begins with; None if it does not begin with one."""
    looked_at = beginning[:LOOKED_AT_BYTES]
    found = _WHOLE.match(looked_at)
    if found is None and b"response.created" in looked_at:
        found = _STREAMED.search(looked_at.partition(b"\n\n")[0])
    return None if found is None else found[1].decode("ascii")


class Holder(msgspec.Struct, frozen=True):
    """Who keeps a response."""

    cluster: str
    tenant: str | None  # Whose it is; None: nobody saw it made.


class HolderMemory:
    """The latest responses seen, by id."""

    def __init__(self, most: int = REMEMBERED_MAX) -> None:
        self._most = most
        self._holders: OrderedDict[str, Holder] = OrderedDict()

    def put(self, response_id: str, holder: Holder) -> None:
        self._holders[response_id] = holder
        self._holders.move_to_end(response_id)
        if len(self._holders) > self._most:
            self._holders.popitem(last=False)

    def get(self, response_id: str) -> Holder | None:
        return self._holders.get(response_id)

    def forget(self, response_id: str) -> None:
        self._holders.pop(response_id, None)


def nobody_has_it(statuses: Iterable[int | None]) -> bool:
    """Whether these answers of all clusters prove that none keeps the response. None: no answer in time."""
    return all(status in NOT_THERE for status in statuses)
