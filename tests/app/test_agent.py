"""The agent as its own process, with a model server that is a process and a real Valkey; each is frozen in turn."""

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import httpx
import pytest

from federation.embedded import EmbeddedRedis, free_port
from federation.model import Heartbeat
from federation.store import StoreUnavailable
from federation.store.redis import RedisStore
from federation.wire import unseal

T = TypeVar("T")

SECRET = b"0123456789abcdef0123456789abcdef"
INTERVAL_S = 0.25
PATIENCE_S = 30.0

MODEL_SERVER = """
import json, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PAGE = b'vllm:num_requests_running{model_name="m"} 3.0\\nvllm:num_requests_waiting{model_name="m"} 1.0\\n'
MODELS = json.dumps({"data": [{"id": "m"}]}).encode()

class Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = PAGE if self.path == "/metrics" else MODELS
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass

server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
print(server.server_address[1], flush=True)
server.serve_forever()
"""


@asynccontextmanager
async def process(*arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    started = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        yield started
    finally:
        with contextlib.suppress(ProcessLookupError):
            started.kill()
        await started.wait()


async def line(of: asyncio.subprocess.Process) -> str:
    assert of.stdout is not None
    return (await asyncio.wait_for(of.stdout.readline(), PATIENCE_S)).decode().strip()


@asynccontextmanager
async def model_server() -> AsyncIterator[tuple[str, int]]:
    """The URL and pid of a model server with 3 calls running and 1 waiting."""
    async with process("-c", MODEL_SERVER) as started:
        yield f"http://127.0.0.1:{await line(started)}", started.pid


@asynccontextmanager
async def valkey() -> AsyncIterator[tuple[EmbeddedRedis, RedisStore]]:
    server = EmbeddedRedis()
    await server.start()
    store = RedisStore(server.url)
    try:
        yield server, store
    finally:
        await store.aclose()
        if server.running:
            os.kill(server.pid, signal.SIGCONT)
        await server.stop()


def write_config(folder: Path, model_servers: list[str], stores: list[str]) -> Path:
    (folder / "key").write_bytes(SECRET)
    path = folder / "agent.yaml"
    settings = {
        "cluster": "c1",
        "region": "us-central1",
        "model_servers": model_servers,
        "stores": stores,
        "key": {"id": "k1", "secret_file": "key"},
        "slots_per_replica": 8,
        "interval_s": INTERVAL_S,
    }
    path.write_text(json.dumps(settings))  # JSON is YAML.
    return path


@asynccontextmanager
async def agent(config: Path) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """The agent's process and the URL of its own port, once it said that it is ready."""
    async with process("-m", "router.cli.main", "agent", str(config)) as started:
        word, _, rest = (await line(started)).partition(" ")
        assert word == "ready"
        yield started, json.loads(rest)["port"]


async def heartbeat(store: RedisStore, secret: bytes = SECRET) -> Heartbeat | None:
    try:
        reading = await store.read(["c1"])
    except StoreUnavailable:
        return None
    message = reading.heartbeats.get("c1")
    return unseal(message, "c1", {"c1": {"k1": secret}}) if message is not None else None


async def until(ask: Callable[[], Awaitable[T]], condition: Callable[[T], object]) -> T:
    deadline = time.monotonic() + PATIENCE_S
    while not condition(answer := await ask()):
        assert time.monotonic() < deadline, f"still {answer}"
        await asyncio.sleep(0.01)
    return answer


async def next_heartbeats(store: RedisStore, count: int = 3) -> Heartbeat:
    """The `count`th heartbeat from now; how the agent is doing is judged by its seq, not by our clock."""
    seen = await until(lambda: heartbeat(store), lambda found: found is not None)
    assert seen is not None
    later = await until(lambda: heartbeat(store), lambda found: found is not None and found.seq >= seen.seq + count)
    assert later is not None
    return later


async def health(url: str, path: str = "/healthz") -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE_S) as client:
        return await client.get(url + path)


async def test_heartbeats_say_what_the_model_servers_say(tmp_path: Path) -> None:
    async with model_server() as (url, _), valkey() as (server, store):
        config = write_config(tmp_path, [url, f"http://127.0.0.1:{free_port()}"], [server.url])
        async with agent(config) as (_, port):
            found = await next_heartbeats(store)
            (pool,) = found.pools
            assert (found.cluster, found.region, found.interval_ms, found.observed) == (
                "c1",
                "us-central1",
                250,
                True,
            )
            assert (pool.model, pool.replicas_ready, pool.running, pool.waiting, pool.slots) == ("m", 1, 3, 1, 8)
            assert (await health(port)).status_code == 200
            assert (await health(port, "/readyz")).status_code == 200
            metrics = (await health(port, "/metrics")).text
            for name in ("scrapes_total", "heartbeats_total", "loop_age_seconds", "model_servers"):
                assert f"tradewind_agent_{name}{{" in metrics


async def test_a_frozen_model_server_is_not_ready_and_delays_nothing(tmp_path: Path) -> None:
    async with (
        model_server() as (url, _),
        model_server() as (frozen, pid),
        valkey() as (server, store),
        agent(write_config(tmp_path, [url, frozen], [server.url])),
    ):
        await until(lambda: heartbeat(store), lambda found: found and found.pools[0].replicas_ready == 2)
        os.kill(pid, signal.SIGSTOP)
        found = await until(lambda: heartbeat(store), lambda found: found and found.pools[0].replicas_ready == 1)
        assert found is not None
        pool = found.pools[0]
        assert (pool.replicas_desired, pool.running, pool.slots) == (2, 3, 8)
        before, started = await next_heartbeats(store, 1), time.monotonic()
        later = await next_heartbeats(store, 8)
        # Each waits for its bound, which is the interval here; a loaded machine adds to that.
        assert (time.monotonic() - started) / (later.seq - before.seq) < 4 * INTERVAL_S
        os.kill(pid, signal.SIGCONT)
        await until(lambda: heartbeat(store), lambda found: found and found.pools[0].replicas_ready == 2)


async def test_a_frozen_store_delays_no_other(tmp_path: Path) -> None:
    async with (
        valkey() as (frozen, its_store),
        valkey() as (server, store),
        agent(write_config(tmp_path, [], [frozen.url, server.url])) as (_, port),
    ):
        await next_heartbeats(its_store, 1)
        os.kill(frozen.pid, signal.SIGSTOP)
        before, started = await next_heartbeats(store, 1), time.monotonic()
        later = await next_heartbeats(store, 12)
        assert (time.monotonic() - started) / (later.seq - before.seq) < 4 * INTERVAL_S
        assert (await health(port)).status_code == 200
        os.kill(frozen.pid, signal.SIGCONT)
        caught_up = await until(lambda: heartbeat(its_store), lambda found: found and found.seq >= later.seq)
        assert caught_up is not None


async def test_a_store_that_comes_back_empty_is_filled_soon(tmp_path: Path) -> None:
    async with valkey() as (server, store), agent(write_config(tmp_path, [], [server.url])) as (_, port):
        before = await next_heartbeats(store, 1)
        await server.kill()
        gone = time.monotonic()
        await until(
            lambda: health(port, "/metrics"),
            lambda page: 'heartbeats_total{result="unreachable"' in page.text and time.monotonic() > gone + 2.0,
        )
        assert (await health(port)).status_code == 200  # A store's absence is not the agent's illness.
        await server.start()
        started = time.monotonic()
        after = await until(lambda: heartbeat(store), lambda found: found)
        assert after is not None
        assert after.order > before.order
        assert time.monotonic() - started < 5.0  # 3 s are promised; the rest is for a loaded machine.


async def test_it_is_ready_though_no_store_and_no_model_server_is_there(tmp_path: Path) -> None:
    config = write_config(tmp_path, [f"http://127.0.0.1:{free_port()}"], [f"redis://127.0.0.1:{free_port()}"])
    async with agent(config) as (_, port):
        assert (await health(port, "/readyz")).status_code == 200


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_cleanly(tmp_path: Path, sign: signal.Signals) -> None:
    async with valkey() as (server, _), agent(write_config(tmp_path, [], [server.url])) as (started, _):
        os.kill(server.pid, signal.SIGSTOP)  # Not even then does it hang.
        started.send_signal(sign)
        assert await asyncio.wait_for(started.wait(), PATIENCE_S) == 0
        assert started.stdout is not None
        assert await started.stdout.read() == b""


async def test_a_replaced_key_signs_from_then_on_and_a_bad_one_does_not(tmp_path: Path) -> None:
    async with valkey() as (server, store), agent(write_config(tmp_path, [], [server.url])) as (_, port):
        await next_heartbeats(store, 1)
        (tmp_path / "key").write_bytes(b"short")
        await until(lambda: health(port, "/metrics"), lambda page: 'key_changes_total{taken="false"} 1.0' in page.text)
        await next_heartbeats(store, 2)  # Still under the old key.
        new = b"a new secret that is long enough"
        (tmp_path / "new").write_bytes(new)
        os.replace(tmp_path / "new", tmp_path / "key")
        await until(lambda: health(port, "/metrics"), lambda page: 'key_changes_total{taken="true"} 1.0' in page.text)
        taken = time.monotonic()
        while time.monotonic() - taken < PATIENCE_S:
            with contextlib.suppress(Exception):
                if await heartbeat(store, new) is not None:
                    return
            await asyncio.sleep(0.01)
        pytest.fail("no heartbeat under the new key")


async def test_a_restarted_agent_succeeds_its_former_self(tmp_path: Path) -> None:
    async with valkey() as (server, store):
        config = write_config(tmp_path, [], [server.url])
        async with agent(config):
            first = await next_heartbeats(store, 5)
        async with agent(config):
            second = await until(lambda: heartbeat(store), lambda found: found and found.epoch > first.epoch)
            assert second is not None
            assert second.seq < first.seq


async def test_a_bad_file_is_told_line_by_line_with_status_2(tmp_path: Path) -> None:
    config = tmp_path / "agent.yaml"
    config.write_text("cluster: c1\nregion: 3\nport: x\n")
    started = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "router.cli.main", "agent", str(config)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, told = await asyncio.wait_for(started.communicate(), PATIENCE_S)
    assert (started.returncode, out) == (2, b"")
    lines = told.decode().splitlines()
    assert f"{config}: region: expected str, got int" in lines
    assert len(lines) == 5  # Two wrong, three missing.
