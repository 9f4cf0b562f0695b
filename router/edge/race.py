"""One connection out of several addresses, within one bound of time. The outside world: clusters.

The first address has a head start; when it fails, or has said nothing for a while, the next is tried beside it. A
gateway with one dead address costs a caller that head start once, and then the dead one rests.
"""

import asyncio
import errno
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from router.edge.addresses import Address

# Errors of connecting that are this process's own: taken for the cluster's, they would eject the whole fleet.
OUR_SHORTAGES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL})

T = TypeVar("T")


def is_our_shortage(error: BaseException | None) -> bool:
    """Whether it failed for want of something of ours."""
    return isinstance(error, OSError) and error.errno in OUR_SHORTAGES


async def first_to_answer(
    order: Sequence[Address],
    open_: Callable[[Address], Awaitable[T]],
    head_start_s: float,
    spare: Callable[[T], None],
) -> T:
    """The first connection made; others that are made at the same time go to `spare`. Raises what the last failed with.

    The caller bounds the time. Addresses that failed, or that one which began later overtook, are told so.
    """
    loop = asyncio.get_running_loop()
    racing: dict[asyncio.Task[T], int] = {}
    errors: list[OSError | ValueError] = []

    async def run(address: Address) -> T:
        return await open_(address)

    def harvest(done: set[asyncio.Task[T]]) -> list[tuple[int, T]]:
        made = []
        for task in done:
            at = racing.pop(task)
            try:
                made.append((at, task.result()))
            except (OSError, ValueError) as error:
                errors.append(error)
                if not is_our_shortage(error):
                    order[at].failed(loop.time())
        return made

    try:
        for index, address in enumerate(order):
            racing[loop.create_task(run(address))] = index
            patience_s = head_start_s if index < len(order) - 1 else None
            while racing:
                done, _ = await asyncio.wait(racing, timeout=patience_s, return_when=asyncio.FIRST_COMPLETED)
                if made := harvest(done):
                    (winner, connection), *others = made
                    for _, other in others:
                        spare(other)
                    for slow in [at for at in racing.values() if at < winner]:
                        order[slow].failed(loop.time())
                    order[winner].answered()
                    return connection
                if errors and is_our_shortage(errors[-1]):
                    raise errors[-1]
                if patience_s is not None:
                    break  # It failed or keeps silent: the next beside it.
        raise errors[-1]
    finally:
        for task in racing:
            task.cancel()
            task.add_done_callback(lambda late: _came_late(late, spare))


def _came_late(task: "asyncio.Task[T]", spare: Callable[[T], None]) -> None:
    if not task.cancelled() and task.exception() is None:
        spare(task.result())
