"""What of the settings is one for all workers, and so is divided among them. Pure.

Everything else is each worker's own; docs/operations/workers.md lists it.
"""

import msgspec

from router.settings import RouterSettings

SEED_STEP = 1_000_003


def settings_of(settings: RouterSettings, number: int) -> RouterSettings:
    """The settings of the number-th worker that is started.

    Memory is divided, though no share is too small for the largest body. So are connections: all
    workers leave from the ports of one machine. A seed is changed: with the same one, all workers
    would give out the same request ids.
    """
    edge, workers = settings.edge, settings.workers
    largest_bytes = max(edge.body_bytes_max, edge.upload_bytes_max)
    buffered_bytes = max(largest_bytes, edge.buffered_bytes_max // workers)
    return msgspec.structs.replace(
        settings,
        seed=None if settings.seed is None else settings.seed + SEED_STEP * number,
        edge=msgspec.structs.replace(
            edge,
            buffered_bytes_max=min(buffered_bytes, edge.buffered_bytes_max),
            kept_bytes_max=max(1, edge.kept_bytes_max // workers),
            connections_max=max(1, edge.warm_connections, edge.connections_max // workers),
        ),
    )
