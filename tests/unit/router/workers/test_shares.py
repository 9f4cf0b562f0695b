"""What is one for all workers is divided; the rest is as it was set."""

import msgspec
import pytest

from router.settings import EdgeSettings, RouterSettings
from router.workers.shares import settings_of

MIB = 1024 * 1024


@pytest.mark.parametrize(
    ("workers", "total_mib", "body_mib", "upload_mib", "share_mib"),
    [
        pytest.param(4, 1024, 32, 200, 256, id="an even share"),
        pytest.param(64, 1024, 32, 20, 32, id="never too small for one body"),
        pytest.param(64, 1024, 32, 200, 200, id="nor for one upload"),
        pytest.param(2, 16, 32, 200, 16, id="never more than the whole"),
    ],
)
def test_memory_for_bodies_is_divided(
    workers: int, total_mib: int, body_mib: int, upload_mib: int, share_mib: int
) -> None:
    edge = EdgeSettings(
        buffered_bytes_max=total_mib * MIB, body_bytes_max=body_mib * MIB, upload_bytes_max=upload_mib * MIB
    )
    settings = RouterSettings(region="r", inventory="i", workers=workers, edge=edge)
    assert settings_of(settings, 1).edge.buffered_bytes_max == share_mib * MIB


def test_a_seed_gives_each_worker_its_own_and_no_seed_none() -> None:
    settings = RouterSettings(region="r", inventory="i", workers=2, seed=7)
    assert len({7, settings_of(settings, 1).seed, settings_of(settings, 2).seed}) == 3
    assert settings_of(settings, 1) == settings_of(settings, 1)
    assert settings_of(msgspec.structs.replace(settings, seed=None), 1).seed is None


def test_memory_for_streams_that_might_break_and_connections_to_a_cluster_are_divided() -> None:
    settings = RouterSettings(region="r", inventory="i", workers=4)
    share, whole = settings_of(settings, 1).edge, settings.edge
    assert (share.kept_bytes_max, share.connections_max) == (whole.kept_bytes_max // 4, whole.connections_max // 4)
    assert (share.idle_connections_max, share.calls_max) == (whole.idle_connections_max, whole.calls_max)


def test_every_worker_may_have_one_connection_and_those_that_are_kept_warm() -> None:
    edge = EdgeSettings(kept_bytes_max=1, connections_max=8, warm_connections=3)
    share = settings_of(RouterSettings(region="r", inventory="i", workers=64, edge=edge), 1).edge
    assert (share.kept_bytes_max, share.connections_max) == (1, 3)
    none = msgspec.structs.replace(edge, warm_connections=0)
    assert settings_of(RouterSettings(region="r", inventory="i", workers=64, edge=none), 1).edge.connections_max == 1
