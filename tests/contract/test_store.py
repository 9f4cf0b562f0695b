"""What every federation store does: one suite, against memory and a real Valkey."""

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import pytest
import redis.asyncio

from federation.clock import SystemClock
from federation.embedded import EmbeddedRedis
from federation.keys import drain_key, heartbeat_key
from federation.model import Drain, Epoch, Heartbeat
from federation.store import FederationStore, MemoryStore, heartbeat_ttl_s
from federation.store.records import decode_drain, drain_ttl_ms, encode_drain, order_of
from federation.store.redis import RedisStore
from federation.wire import seal

TTL_S = 60.0
NOW_MS = int(SystemClock().wall() * 1000)


@dataclass
class Rig:
    store: FederationStore
    plant: Callable[[str, bytes], Awaitable[None]]
    flush: Callable[[], Awaitable[None]]


@pytest.fixture(params=["memory", "redis"])
async def rig(request: pytest.FixtureRequest) -> AsyncIterator[Rig]:
    if request.param == "memory":
        memory = MemoryStore(SystemClock())

        async def plant(key: str, value: bytes) -> None:
            memory.plant(key, value, TTL_S)

        async def flush() -> None:
            memory.flush()

        yield Rig(memory, plant, flush)
        return
    server = EmbeddedRedis()
    await server.start()
    stranger = redis.asyncio.Redis.from_url(server.url)
    store = RedisStore(server.url, bound_s=5.0)  # These tests ask what it does, not how fast.

    async def plant_there(key: str, value: bytes) -> None:
        await stranger.set(key, value)

    async def flush_there() -> None:
        await stranger.flushall()

    yield Rig(store, plant_there, flush_there)
    await store.aclose()
    await stranger.aclose()
    await server.stop()


def message(seq: int, *, cluster: str = "a", epoch: Epoch | None = None) -> bytes:
    heartbeat = Heartbeat(
        cluster=cluster,
        region="us-central1",
        epoch=epoch or Epoch(boot_ms=NOW_MS),
        seq=seq,
        interval_ms=1000,
        sent_unix_ms=NOW_MS,
    )
    return seal(heartbeat, "k1", b"0123456789abcdef")


def drain(version_ms: int = NOW_MS, *, active: bool = True, ahead_ms: int = 60_000, reason: str = "upgrade") -> Drain:
    return Drain(
        cluster="a", active=active, reason=reason, version_ms=version_ms, until_unix_ms=NOW_MS + ahead_ms, by="ops"
    )


async def test_nothing_is_known_of_a_cluster_that_never_spoke(rig: Rig) -> None:
    reading = await rig.store.read(["a", "b"])
    assert (dict(reading.heartbeats), dict(reading.drains), reading.malformed_drains) == ({}, {}, ())


async def test_reading_no_clusters_is_an_empty_reading(rig: Rig) -> None:
    assert not (await rig.store.read([])).heartbeats


async def test_a_heartbeat_is_read_as_it_was_written(rig: Rig) -> None:
    assert await rig.store.publish("a", message(1), TTL_S)
    assert await rig.store.publish("b", message(7, cluster="b"), TTL_S)
    reading = await rig.store.read(["a", "b", "c"])
    assert dict(reading.heartbeats) == {"a": message(1), "b": message(7, cluster="b")}


async def test_an_older_heartbeat_never_replaces_a_newer_one(rig: Rig) -> None:
    orders = [
        message(9, epoch=Epoch(boot_ms=NOW_MS)),
        message(10, epoch=Epoch(boot_ms=NOW_MS)),
        message(1, epoch=Epoch(boot_ms=NOW_MS + 1)),
        message(1, epoch=Epoch(lease_created_ms=5, boot_ms=1)),
        message(1, epoch=Epoch(lease_created_ms=5, lease_transitions=1)),
    ]
    for first, second in itertools.permutations(range(len(orders)), 2):
        await rig.flush()
        assert await rig.store.publish("a", orders[first], TTL_S)
        assert await rig.store.publish("a", orders[second], TTL_S) is (second > first)
        newest = orders[max(first, second)]
        assert (await rig.store.read(["a"])).heartbeats["a"] == newest


async def test_the_same_heartbeat_may_be_written_again(rig: Rig) -> None:
    assert await rig.store.publish("a", message(3), TTL_S)
    assert await rig.store.publish("a", message(3), TTL_S)


@pytest.mark.parametrize("standing", [b"", b"garbage", b"tw1 zzz k s\n{}", b"tw2 9 k s\n{}", b"\x00\xff" * 50])
async def test_what_is_no_heartbeat_is_replaced(rig: Rig, standing: bytes) -> None:
    await rig.plant(heartbeat_key("a"), standing)
    assert await rig.store.publish("a", message(1), TTL_S)


async def test_a_heartbeat_ends_by_itself(rig: Rig) -> None:
    assert await rig.store.publish("a", message(2), 0.001)
    deadline = SystemClock().monotonic() + 10
    while (await rig.store.read(["a"])).heartbeats:
        assert SystemClock().monotonic() < deadline
    assert await rig.store.publish("a", message(1), TTL_S)


async def test_a_drain_is_read_as_it_was_written(rig: Rig) -> None:
    assert await rig.store.put_drain(drain())
    assert dict((await rig.store.read(["a", "b"])).drains) == {"a": drain()}


async def test_only_a_newer_drain_record_is_taken(rig: Rig) -> None:
    assert await rig.store.put_drain(drain(NOW_MS))
    assert not await rig.store.put_drain(drain(NOW_MS, reason="same version"))
    assert not await rig.store.put_drain(drain(NOW_MS - 1, reason="older"))
    assert await rig.store.put_drain(drain(NOW_MS + 1, active=False, reason="done"))
    assert (await rig.store.read(["a"])).drains["a"].reason == "done"


async def test_an_undrain_is_kept_even_after_the_drain_it_ends(rig: Rig) -> None:
    """Front doors that still hold the drain must find it."""
    assert await rig.store.put_drain(drain(NOW_MS + 1, active=False, ahead_ms=-7_200_000))
    assert not (await rig.store.read(["a"])).drains["a"].active


@pytest.mark.parametrize("ahead_ms", [2**62, 0, -(2**40)])
async def test_any_end_of_a_drain_can_be_stored(rig: Rig, ahead_ms: int) -> None:
    assert await rig.store.put_drain(drain(ahead_ms=ahead_ms))
    assert (await rig.store.read(["a"])).drains["a"].until_unix_ms == NOW_MS + ahead_ms


@pytest.mark.parametrize(
    "record",
    [b"", b"{", b"[]", b"\xff", b'{"cluster": "a"}', encode_drain(drain()).replace(b'"a"', b'"b"'), b"[" * 10_000],
)
async def test_a_malformed_drain_is_absent_and_told(rig: Rig, record: bytes) -> None:
    await rig.plant(drain_key("a"), record)
    assert await rig.store.publish("a", message(1), TTL_S)
    reading = await rig.store.read(["a"])
    assert (dict(reading.drains), reading.malformed_drains) == ({}, ("a",))
    assert reading.heartbeats


async def test_a_malformed_drain_is_replaced(rig: Rig) -> None:
    await rig.plant(drain_key("a"), b"{")
    assert await rig.store.put_drain(drain())
    assert (await rig.store.read(["a"])).drains == {"a": drain()}


async def test_a_store_that_came_up_empty_takes_everything_again(rig: Rig) -> None:
    await rig.store.publish("a", message(5), TTL_S)
    await rig.store.put_drain(drain())
    await rig.flush()
    assert not (await rig.store.read(["a"])).heartbeats
    assert await rig.store.publish("a", message(5), TTL_S)
    assert await rig.store.put_drain(drain())


def test_a_heartbeat_is_kept_for_ten_intervals_and_at_least_a_minute() -> None:
    assert heartbeat_ttl_s(1.0) == 60.0
    assert heartbeat_ttl_s(10.0) == 100.0


def test_a_drain_is_kept_for_an_hour_after_its_end() -> None:
    assert drain_ttl_ms(NOW_MS + 60_000, NOW_MS) == 3_660_000
    assert drain_ttl_ms(NOW_MS - 60_000, NOW_MS) == 3_600_000


def test_the_order_word_is_that_of_the_envelope() -> None:
    epoch = Epoch(lease_created_ms=1, lease_transitions=2, boot_ms=3)
    order = order_of(message(4, epoch=epoch))
    assert order == b"000000000000001.0000000002.000000000000003.000000000000004"
    assert order_of(b"tw1 12") is None


def test_a_drain_record_says_whose_it_is() -> None:
    assert decode_drain("a", encode_drain(drain())) == drain()
    assert decode_drain("b", encode_drain(drain())) is None
