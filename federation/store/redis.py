"""The outside world of Redis: one target, its keys, its scripts, and its many ways to fail.

Commands are those of Redis 7.2 and Valkey 7.2. A call that failed in any way drops the idle
connections: after a failover an old connection leads to the demoted primary for as long as
it is kept, and the name is only looked up again when connecting.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlsplit

import structlog
from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AskError,
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    ClusterDownError,
    MaxConnectionsError,
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from federation.keys import drain_key, heartbeat_key
from federation.model import Drain
from federation.store.interface import BOUND_S, StoreFault, StoreReading, StoreUnavailable
from federation.store.records import DRAIN_AHEAD_MS_MAX, DRAIN_KEPT_MS, decode_drain, encode_drain, order_of

log = structlog.get_logger()

T = TypeVar("T")

CONNECTIONS_MAX = 8  # One loop reads or writes; the rest is for an operator's acts beside it.

# Text order in Lua follows the server's locale, so the words are compared byte by byte.
# A key of another type is overwritten: pcall turns WRONGTYPE into a table.
PUBLISH = """
local standing = redis.pcall('GET', KEYS[1])
if type(standing) == 'string' then
  local old, new = string.match(standing, '^tw1 ([%d%.]+) '), ARGV[1]
  if old then
    for i = 1, math.max(#old, #new) do
      local a, b = string.byte(old, i) or -1, string.byte(new, i) or -1
      if a > b then return 0 end
      if a < b then break end
    end
  end
end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
"""

# The server's clock decides on the TTL, as it does on expiry.
PUT_DRAIN = f"""
local standing = redis.pcall('GET', KEYS[1])
if type(standing) == 'string' then
  local well, record = pcall(cjson.decode, standing)
  if well and type(record) == 'table' and type(record.version_ms) == 'number'
    and record.version_ms >= tonumber(ARGV[1]) then return 0 end
end
local time = redis.call('TIME')
local ahead_ms = tonumber(ARGV[3]) - (time[1] * 1000 + math.floor(time[2] / 1000))
local ttl_ms = math.min(math.max(ahead_ms, 0), {DRAIN_AHEAD_MS_MAX}) + {DRAIN_KEPT_MS}
redis.call('SET', KEYS[1], ARGV[2], 'PX', string.format('%.0f', ttl_ms))
return 1
"""

_FAULTS: tuple[tuple[type[BaseException], StoreFault], ...] = (
    (ReadOnlyError, StoreFault.READ_ONLY),
    (BusyLoadingError, StoreFault.LOADING),
    (OutOfMemoryError, StoreFault.FULL),
    (AskError, StoreFault.MOVED),  # MOVED is a kind of ASK to the client.
    (ClusterDownError, StoreFault.MOVED),
    (TryAgainError, StoreFault.MOVED),
    (AuthenticationError, StoreFault.DENIED),
    (AuthorizationError, StoreFault.DENIED),
    (NoPermissionError, StoreFault.DENIED),
    (MaxConnectionsError, StoreFault.BUSY),
    (RedisTimeoutError, StoreFault.TIMEOUT),
    (TimeoutError, StoreFault.TIMEOUT),
    (RedisConnectionError, StoreFault.UNREACHABLE),
    (OSError, StoreFault.UNREACHABLE),
)

# Errors that the client knows only as text.
_FAULT_WORDS = {
    "READONLY": StoreFault.READ_ONLY,
    "LOADING": StoreFault.LOADING,
    "MASTERDOWN": StoreFault.LOADING,
    "OOM": StoreFault.FULL,
    "MOVED": StoreFault.MOVED,
    "CROSSSLOT": StoreFault.MOVED,
    "NOAUTH": StoreFault.DENIED,
    "WRONGPASS": StoreFault.DENIED,
    "NOPERM": StoreFault.DENIED,
    "BUSY": StoreFault.BUSY,
}


class RedisStore:
    """One Redis target. `url` is redis://, rediss:// or unix://; its query may hold TLS settings only."""

    def __init__(self, url: str, *, name: str | None = None, bound_s: float = BOUND_S) -> None:
        """Raises ValueError, in one sentence, for an address that cannot be used. Connects only when first asked."""
        assert bound_s > 0
        self._name = name or name_of(url)
        self._bound_s = bound_s
        self._pool = _pool(url, bound_s)
        self._redis: Redis = Redis(connection_pool=self._pool)
        self._malformed: frozenset[str] = frozenset()  # Already logged.

    @property
    def name(self) -> str:
        return self._name

    async def read(self, clusters: Sequence[str]) -> StoreReading:
        if not clusters:
            return StoreReading({}, {})
        keys = [*map(heartbeat_key, clusters), *map(drain_key, clusters)]
        values: list[bytes | None] = await self._bounded(lambda: self._ask("MGET", *keys))
        if not isinstance(values, list) or len(values) != len(keys):
            raise StoreUnavailable(self._name, StoreFault.ERROR, "MGET was not answered with one value a key")
        heartbeats = {
            cluster: message
            for cluster, message in zip(clusters, values[: len(clusters)], strict=True)
            if message is not None
        }
        drains: dict[str, Drain] = {}
        malformed: list[str] = []
        for cluster, record in zip(clusters, values[len(clusters) :], strict=True):
            if record is None:
                continue
            if (drain := decode_drain(cluster, record)) is not None:
                drains[cluster] = drain
            else:
                malformed.append(cluster)
        self._log_malformed(malformed)
        return StoreReading(heartbeats, drains, tuple(malformed))

    async def publish(self, cluster: str, message: bytes, ttl_s: float) -> bool:
        order = order_of(message)
        assert order is not None, "only sealed heartbeats are published"
        assert ttl_s > 0
        return await self._script(PUBLISH, heartbeat_key(cluster), order, message, int(ttl_s * 1000))

    async def put_drain(self, drain: Drain) -> bool:
        record = encode_drain(drain)
        return await self._script(PUT_DRAIN, drain_key(drain.cluster), drain.version_ms, record, drain.until_unix_ms)

    async def aclose(self) -> None:
        """Close all connections; never fails and ends within the bound."""
        try:
            async with asyncio.timeout(self._bound_s):
                await self._redis.aclose()
                await self._pool.disconnect()
        except (RedisError, OSError) as error:
            log.debug("store did not close in good order", store=self._name, error=str(error))

    async def _script(self, script: str, key: str, *arguments: bytes | int) -> bool:
        sha = hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()

        async def run() -> Any:
            try:
                return await self._ask("EVALSHA", sha, 1, key, *arguments)
            except NoScriptError:  # It was restarted, or never saw the script.
                return await self._ask("EVAL", script, 1, key, *arguments)

        return bool(await self._bounded(run) == 1)

    async def _ask(self, *command: bytes | str | int) -> Any:
        return await self._redis.execute_command(*command)  # type: ignore[no-untyped-call]

    async def _bounded(self, call: Callable[[], Awaitable[T]]) -> T:
        """Run a call within the bound and translate, here and nowhere else, what can go wrong."""
        try:
            async with asyncio.timeout(self._bound_s):
                return await call()
        except (RedisError, OSError, EOFError, ValueError) as error:
            # ValueError: what the parser raises for an answer that is not Redis'.
            cause = fault_of(error)
            failure = StoreUnavailable(
                self._name, cause, str(error).rstrip(".") or f"no answer within {self._bound_s:g} s"
            )
        await self._drop_idle()
        raise failure

    async def _drop_idle(self) -> None:
        try:
            async with asyncio.timeout(self._bound_s):
                await self._pool.disconnect(inuse_connections=False)
        except (RedisError, OSError):
            pass  # They are dropped all the same; only the farewell failed.

    def _log_malformed(self, clusters: Sequence[str]) -> None:
        for cluster in clusters:
            if cluster not in self._malformed:
                log.warning("drain record is malformed and ignored", store=self._name, key=drain_key(cluster))
        self._malformed = frozenset(clusters)


def name_of(url: str) -> str:
    """`host:port` (or the socket's path) of a Redis URL: what may be shown, without credentials."""
    parts = urlsplit(url)
    if parts.scheme == "unix":
        return parts.path
    database = parts.path.strip("/")
    return f"{parts.hostname or 'localhost'}:{parts.port or 6379}" + (
        f"/{database}" if database not in ("", "0") else ""
    )


def fault_of(error: BaseException) -> StoreFault:
    """What kind of failure an error of the Redis client or the socket is."""
    for kind, fault in _FAULTS:
        if isinstance(error, kind):
            return fault
    words = str(error).split(None, 1)
    return _FAULT_WORDS.get(words[0], StoreFault.ERROR) if words else StoreFault.ERROR


def _pool(url: str, bound_s: float) -> ConnectionPool:
    # Settings in the query would silently win over those below.
    refused = [key for key, _ in parse_qsl(urlsplit(url).query, keep_blank_values=True) if not key.startswith("ssl_")]
    if refused:
        raise ValueError(f"the Redis URL for {name_of(url)} sets {refused[0]!r}; only ssl_ settings may stand in it")
    return ConnectionPool.from_url(
        url,
        max_connections=CONNECTIONS_MAX,
        protocol=2,  # No HELLO and no notices by the server: connecting costs no round trip.
        decode_responses=False,
        # The bound around each call is the only one. With a timeout here the client sends under asyncio.wait_for,
        # which before Python 3.12 may swallow a cancellation: the call would outlive its bound, the loop its end.
        socket_timeout=None,
        socket_connect_timeout=bound_s,
        socket_keepalive=True,
        retry=Retry(NoBackoff(), 0),
        retry_on_error=[],
        health_check_interval=0,  # A health check costs a hidden round trip; a dead connection shows within the bound.
        driver_info=None,
    )
