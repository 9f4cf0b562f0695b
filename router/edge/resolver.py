"""Addresses of named endpoints, asked for in the background. The outside world: DNS.

The system's resolver blocks, and may hang for as long as it likes. So it is asked on threads that nobody waits for at
the end of the process, at most a few at a time, and never twice at once for the same name.
"""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Iterable

import structlog

from router.edge.pool import ClusterPool, PoolDirectory

LOOKUPS_MAX = 4  # At a time; the others wait their turn.
AGAIN_S = 30.0  # After an answer.
RETRY_S = 1.0  # After a failure; doubled each time in a row, up to the above.

Lookup = Callable[[str, int], Iterable[str]]

log = structlog.get_logger()


def system_lookup(host: str, port: int) -> set[str]:
    """What the system's resolver says. Raises OSError or ValueError."""
    return {str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)}


class _Name:
    """When to ask for one name, and whether that is being done."""

    __slots__ = ("asking", "due", "failures")

    def __init__(self) -> None:
        self.due = 0.0
        self.failures = 0
        self.asking = False


class Resolver:
    """Keeps the addresses of pools with named endpoints up to date. One per process."""

    def __init__(self, lookup: Lookup = system_lookup, now: Callable[[], float] | None = None) -> None:
        self.lookup = lookup
        self.now = now or asyncio.get_running_loop().time
        self.asking = 0
        self._names: dict[tuple[str, int], _Name] = {}
        self._answered = asyncio.Event()

    def look(self, pools: PoolDirectory) -> None:
        """Ask for every name that is due, and forget those that are no longer declared. Returns at once."""
        self._ask_for(pools)
        declared = {(pool.host, pool.port) for pool in pools.values()}
        for gone in [key for key, name in self._names.items() if key not in declared and not name.asking]:
            del self._names[gone]

    def _ask_for(self, pools: PoolDirectory) -> None:
        now = self.now()
        wanted: dict[tuple[str, int], list[ClusterPool]] = {}
        for pool in pools.values():
            if pool.is_named:
                wanted.setdefault((pool.host, pool.port), []).append(pool)
        for key in sorted(wanted, key=self._due):
            name = self._names.setdefault(key, _Name())
            if not all(len(pool.book) for pool in wanted[key]) and not name.failures:
                name.due = 0.0  # A cluster that has just been declared.
            if now >= name.due and not name.asking and self.asking < LOOKUPS_MAX:
                self._ask(key, name, wanted[key])

    async def settle(self, pools: PoolDirectory, within_s: float) -> None:
        """Ask now, and wait until every name has been answered or failed once, or the time is over."""
        named = [pool for pool in pools.values() if pool.is_named]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while True:
                    self._answered.clear()
                    self._ask_for(pools)
                    if all(len(p.book) or self._has_failed(p) for p in named):
                        return
                    await self._answered.wait()

    def _has_failed(self, pool: ClusterPool) -> bool:
        name = self._names.get((pool.host, pool.port))
        return name is not None and name.failures > 0

    def _due(self, key: tuple[str, int]) -> float:
        name = self._names.get(key)
        return 0.0 if name is None else name.due

    def _ask(self, key: tuple[str, int], name: _Name, pools: list[ClusterPool]) -> None:
        loop = asyncio.get_running_loop()
        name.asking = True
        self.asking += 1

        def ask() -> None:
            found: Iterable[str] | Exception
            try:
                found = tuple(self.lookup(*key))
            except (OSError, ValueError) as error:  # A label that is too long is a ValueError (UnicodeError).
                found = error
            with contextlib.suppress(RuntimeError):  # The loop has ended meanwhile: nobody asks any more.
                loop.call_soon_threadsafe(self._take, key, name, pools, found)

        try:
            threading.Thread(target=ask, name=f"resolve {key[0]}", daemon=True).start()
        except RuntimeError as error:  # No thread is to be had: like a resolver that does not answer.
            self._take(key, name, pools, OSError(str(error)))

    def _take(
        self, key: tuple[str, int], name: _Name, pools: list[ClusterPool], found: Iterable[str] | Exception
    ) -> None:
        self.asking -= 1
        name.asking = False
        now = self.now()
        if isinstance(found, Exception) or not found:
            name.due = now + min(AGAIN_S, RETRY_S * 2.0 ** min(name.failures, 16))
            name.failures += 1
            if name.failures.bit_count() == 1:  # The 1st, 2nd, 4th, 8th: a name that stays unknown fills no log.
                log.warning("endpoint not resolved", cluster=pools[0].cluster, host=key[0], cause=str(found))
        else:
            name.failures = 0
            name.due = now + AGAIN_S
            for pool in pools:
                pool.move(found)
        self._answered.set()
