"""What is one for all workers is divided; the rest is as it was set."""

import msgspec
import pytest

from router.settings import EdgeSettings, RouterSettings
from router.workers.shares import settings_of

MIB = 1024 * 1024


@pytest.mark.parametrize(
    ("workers", "total_mib", "body_mib", "share_mib"),
    [
        pytest.param(4, 1024, 32, 256, id="an even share"),
        pytest.param(64, 1024, 32, 32, id="never too small for one body"),
        pytest.param(2, 16, 32, 16, id="never more than the whole"),
    ],
)
def test_memory_for_bodies_is_divided(workers: int, total_mib: int, body_mib: int, share_mib: int) -> None:
    edge = EdgeSettings(buffered_bytes_max=total_mib * MIB, body_bytes_max=body_mib * MIB)
    settings = RouterSettings(region="r", inventory="i", workers=workers, edge=edge)
    assert settings_of(settings, 1).edge.buffered_bytes_max == share_mib * MIB


def test_a_seed_gives_each_worker_its_own_and_no_seed_none() -> None:
    settings = RouterSettings(region="r", inventory="i", workers=2, seed=7)
    assert len({7, settings_of(settings, 1).seed, settings_of(settings, 2).seed}) == 3
    assert settings_of(settings, 1) == settings_of(settings, 1)
    assert settings_of(msgspec.structs.replace(settings, seed=None), 1).seed is None
