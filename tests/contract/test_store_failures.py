"""How a Redis store fails: within its bound, with a reason, and never for longer than its Redis."""

import asyncio
import os
import random
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import redis.asyncio

from federation.embedded import EmbeddedRedis, free_port
from federation.keys import heartbeat_key
from federation.model import Drain, Epoch, Heartbeat
from federation.store import StoreFault, StoreUnavailable
from federation.store.redis import RedisStore, name_of
from federation.wire import seal

BOUND_S = 0.3
SLACK_S = 2.0  # For a loaded machine; the server would stay silent for ever.
TTL_S = 60.0
DRAIN = Drain(cluster="a", active=True, reason="x", version_ms=1, until_unix_ms=2)

Call = Callable[[RedisStore], Awaitable[object]]


def message(seq: int, cluster: str = "a") -> bytes:
    heartbeat = Heartbeat(
        cluster=cluster, region="r", epoch=Epoch(boot_ms=1), seq=seq, interval_ms=1000, sent_unix_ms=0
    )
    return seal(heartbeat, "k1", b"0123456789abcdef")


CALLS: dict[str, Call] = {
    "read": lambda store: store.read(["a"]),
    "publish": lambda store: store.publish("a", message(5), TTL_S),
    "put_drain": lambda store: store.put_drain(DRAIN),
}


@pytest.fixture(params=list(CALLS))
def call(request: pytest.FixtureRequest) -> Call:
    return CALLS[request.param]


@pytest.fixture
async def store(valkey: EmbeddedRedis) -> AsyncIterator[RedisStore]:
    made = RedisStore(valkey.url, bound_s=BOUND_S)
    yield made
    await made.aclose()


async def failure(call: Awaitable[object]) -> StoreUnavailable:
    """The StoreUnavailable that a call ends with, within its bound."""
    started = time.monotonic()
    with pytest.raises(StoreUnavailable) as raised:
        await call
    assert time.monotonic() - started < BOUND_S + SLACK_S
    return raised.value


async def until_it_works(call: Callable[[], Awaitable[object]]) -> None:
    deadline = time.monotonic() + 10
    while True:
        try:
            await call()
        except StoreUnavailable:
            assert time.monotonic() < deadline
        else:
            return


@pytest.mark.parametrize("connected", [True, False])
async def test_a_frozen_redis_costs_each_call_its_bound(
    valkey: EmbeddedRedis, store: RedisStore, call: Call, connected: bool
) -> None:
    if connected:
        await call(store)
    os.kill(valkey.pid, signal.SIGSTOP)
    for _ in range(3):
        error = await failure(call(store))
        assert error.cause is StoreFault.TIMEOUT
        assert store.name in str(error)
    os.kill(valkey.pid, signal.SIGCONT)
    await until_it_works(lambda: call(store))


async def test_many_failed_calls_use_up_no_connections(valkey: EmbeddedRedis) -> None:
    store = RedisStore(valkey.url, bound_s=0.02)
    os.kill(valkey.pid, signal.SIGSTOP)
    for _ in range(30):
        assert (await failure(store.read(["a"]))).cause is StoreFault.TIMEOUT
    os.kill(valkey.pid, signal.SIGCONT)
    await until_it_works(lambda: store.read(["a"]))
    await store.aclose()


async def test_a_redis_that_was_killed_and_comes_back_empty_works_again(
    valkey: EmbeddedRedis, store: RedisStore, call: Call
) -> None:
    await call(store)
    await valkey.kill()
    for _ in range(3):
        assert (await failure(call(store))).cause is StoreFault.UNREACHABLE
    await valkey.start()
    await until_it_works(lambda: call(store))


async def test_scripts_survive_a_redis_that_forgot_them(valkey: EmbeddedRedis, store: RedisStore) -> None:
    assert await store.publish("a", message(1), TTL_S)
    async with redis.asyncio.Redis.from_url(valkey.url) as stranger:
        await stranger.script_flush()
    assert await store.publish("a", message(2), TTL_S)
    assert await store.put_drain(DRAIN)


async def test_nobody_there_is_told_as_such() -> None:
    port = free_port()
    store = RedisStore(f"redis://:secret@127.0.0.1:{port}", bound_s=BOUND_S)
    error = await failure(store.read(["a"]))
    assert error.cause is StoreFault.UNREACHABLE
    assert "secret" not in str(error)
    assert f"127.0.0.1:{port}" in str(error)
    await store.aclose()


async def test_a_demoted_primary_is_left_as_soon_as_it_says_so(valkey: EmbeddedRedis, store: RedisStore) -> None:
    assert await store.publish("a", message(1), TTL_S)
    async with redis.asyncio.Redis.from_url(valkey.url) as stranger:
        await stranger.replicaof("127.0.0.1", 1)
        assert (await failure(store.publish("a", message(2), TTL_S))).cause is StoreFault.READ_ONLY
        assert not store._pool._available_connections[0].is_connected  # The next call connects anew.
        await stranger.replicaof("NO", "ONE")
    assert await store.publish("a", message(2), TTL_S)


async def test_a_full_redis_is_told_as_such(valkey: EmbeddedRedis, store: RedisStore) -> None:
    async with redis.asyncio.Redis.from_url(valkey.url) as stranger:
        await stranger.config_set("maxmemory", "1")
        assert (await failure(store.publish("a", message(2), TTL_S))).cause is StoreFault.FULL
        await store.read(["a"])
        await stranger.config_set("maxmemory", "0")
    assert await store.publish("a", message(2), TTL_S)


async def test_a_wrong_password_is_told_as_such(valkey: EmbeddedRedis, call: Call) -> None:
    async with redis.asyncio.Redis.from_url(valkey.url) as stranger:
        await stranger.config_set("requirepass", "right")
        for url in (valkey.url, valkey.url.replace("//", "//:wrong@")):
            store = RedisStore(url, bound_s=BOUND_S)
            assert (await failure(call(store))).cause is StoreFault.DENIED
            await store.aclose()
        store = RedisStore(valkey.url.replace("//", "//:right@"), bound_s=BOUND_S)
        await call(store)
        await store.aclose()


async def test_a_key_of_another_type_is_written_over(valkey: EmbeddedRedis, store: RedisStore) -> None:
    async with redis.asyncio.Redis.from_url(valkey.url) as stranger:
        await stranger.lpush(heartbeat_key("a"), "not ours")
    assert not (await store.read(["a"])).heartbeats
    assert await store.publish("a", message(1), TTL_S)


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        (b"-LOADING Redis is loading the dataset in memory\r\n", StoreFault.LOADING),
        (b"-MOVED 866 127.0.0.1:7001\r\n", StoreFault.MOVED),
        (b"-CLUSTERDOWN The cluster is down\r\n", StoreFault.MOVED),
        (b"-MASTERDOWN Link with MASTER is down\r\n", StoreFault.MOVED),
        (b"-NOPERM this user has no permissions\r\n", StoreFault.DENIED),
        (b"-BUSY Redis is busy running a script\r\n", StoreFault.BUSY),
        (b"-ERR something else\r\n", StoreFault.ERROR),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", StoreFault.ERROR),
        (b"*1\r\n$1\r\nx\r\n", StoreFault.ERROR),
        (b"$99999999999999999999\r\n", StoreFault.TIMEOUT),
        (b"*x\r\n", StoreFault.ERROR),
        (b"", StoreFault.UNREACHABLE),
    ],
)
async def test_every_answer_but_the_right_one_is_store_unavailable(answer: bytes, cause: StoreFault) -> None:
    """Against a server that answers every command so; b"" closes the connection."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(65536):
            if not answer:
                break
            writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    store = RedisStore(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}", bound_s=BOUND_S)
    assert (await failure(store.read(["a"]))).cause is cause
    assert (await failure(store.read(["a"]))).cause is cause
    await store.aclose()
    server.close()


async def test_a_cancelled_call_leaves_no_answer_for_the_next(valkey: EmbeddedRedis) -> None:
    """Cancelled at any moment from connecting to the answer; after that every answer must fit its question."""
    store = RedisStore(valkey.url, bound_s=10.0)
    names = [f"c{number}" for number in range(20)]
    for name in names:
        await store.publish(name, message(1, name), TTL_S)
    rng = random.Random(7)

    async def ask(name: str) -> None:
        assert dict((await store.read([name])).heartbeats) == {name: message(1, name)}

    for _ in range(60):
        if rng.random() < 0.3:
            await store._drop_idle()  # So that some are cancelled while they connect.
        os.kill(valkey.pid, signal.SIGSTOP)
        asked = [asyncio.ensure_future(ask(rng.choice(names))) for _ in range(3)]
        for _ in range(rng.randrange(12)):
            await asyncio.sleep(0)
        if rng.random() < 0.5:
            os.kill(valkey.pid, signal.SIGCONT)
            await asyncio.sleep(rng.random() * 0.002)
        for task in asked:
            task.cancel()
        cancelled_at = time.monotonic()
        ended = await asyncio.gather(*asked, return_exceptions=True)
        assert time.monotonic() - cancelled_at < SLACK_S, "a cancellation was swallowed"
        assert all(error is None or isinstance(error, asyncio.CancelledError) for error in ended)
        os.kill(valkey.pid, signal.SIGCONT)
        for name in rng.sample(names, 4):
            await ask(name)
    await store.aclose()


async def test_calls_side_by_side_get_their_own_answers(valkey: EmbeddedRedis) -> None:
    store = RedisStore(valkey.url, bound_s=10.0)
    names = [f"c{number}" for number in range(8)]
    await asyncio.gather(*(store.publish(name, message(1, name), TTL_S) for name in names))
    readings = await asyncio.gather(*(store.read([name]) for name in names))
    assert [dict(reading.heartbeats) for reading in readings] == [{name: message(1, name)} for name in names]
    await store.aclose()


async def test_closing_a_store_whose_redis_is_frozen_ends(valkey: EmbeddedRedis) -> None:
    store = RedisStore(valkey.url, bound_s=BOUND_S)
    await store.read(["a"])
    os.kill(valkey.pid, signal.SIGSTOP)
    started = time.monotonic()
    await store.aclose()
    assert time.monotonic() - started < BOUND_S + SLACK_S


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("redis://localhost", "localhost:6379"),
        ("rediss://user:secret@redis.internal:6380/2", "redis.internal:6380/2"),
        ("redis://10.0.0.1:6379/0", "10.0.0.1:6379"),
        ("unix:///run/redis.sock", "/run/redis.sock"),
    ],
)
def test_a_store_is_named_without_credentials(url: str, name: str) -> None:
    assert name_of(url) == name
    assert RedisStore(url).name == name


def test_settings_in_the_url_cannot_undo_ours() -> None:
    with pytest.raises(ValueError, match="socket_timeout"):
        RedisStore("redis://localhost?socket_timeout=60")
    store = RedisStore("redis://localhost", bound_s=0.25)
    kept = store._pool.connection_kwargs
    assert (kept["socket_timeout"], kept["socket_connect_timeout"]) == (None, 0.25)
    assert kept["retry"].get_retries() == 0
