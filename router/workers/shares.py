"""What of the settings is one for all workers, and so is divided among them. Pure.

Everything else is each worker's own; docs/operations/workers.md lists it.
"""

import msgspec

from router.settings import RouterSettings

SEED_STEP = 1_000_003


def settings_of(settings: RouterSettings, number: int) -> RouterSettings:
    """The settings of the number-th worker that is started.

    Memory for bodies is divided, though no share is too small for one body. A seed is changed:
    with the same one, all workers would give out the same request ids.
    """
    edge = settings.edge
    share = max(edge.body_bytes_max, edge.buffered_bytes_max // settings.workers)
    return msgspec.structs.replace(
        settings,
        seed=None if settings.seed is None else settings.seed + SEED_STEP * number,
        edge=msgspec.structs.replace(edge, buffered_bytes_max=min(share, edge.buffered_bytes_max)),
    )
