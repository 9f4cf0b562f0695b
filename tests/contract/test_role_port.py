"""A role's own port, over a real socket."""

import asyncio
import signal

import httpx
import pytest
from prometheus_client import CollectorRegistry, Gauge

from federation.clock import ManualClock
from federation.role_port import LoopAges, role_port


async def get(url: str) -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False, timeout=20) as client:
        return await client.get(url)


async def test_it_shows_metrics_and_health() -> None:
    registry = CollectorRegistry()
    Gauge("tradewind_test", "A figure.", registry=registry).set(3)
    wrong: list[str | None] = [None]
    async with role_port("127.0.0.1", 0, registry, lambda: wrong[0], lambda: "not yet") as url:
        answer = await get(f"{url}/metrics")
        assert "tradewind_test 3.0" in answer.text
        assert answer.headers["content-type"].startswith("text/plain; version=")
        assert (await get(f"{url}/healthz")).status_code == 200
        wrong[0] = "loop x is dead"
        answer = await get(f"{url}/healthz")
        assert (answer.status_code, answer.text) == (503, "loop x is dead\n")
        assert (await get(f"{url}/readyz")).text == "not yet\n"
        assert (await get(f"{url}/nothing")).status_code == 404
    with pytest.raises(httpx.ConnectError):
        await get(f"{url}/healthz")


async def test_ready_is_health_where_nothing_else_is_said() -> None:
    async with role_port("127.0.0.1", 0, CollectorRegistry(), lambda: "ill") as url:
        assert (await get(f"{url}/readyz")).status_code == 503


async def test_signals_stay_the_role_s() -> None:
    before = [signal.getsignal(sign) for sign in (signal.SIGTERM, signal.SIGINT)]
    async with role_port("127.0.0.1", 0, CollectorRegistry(), lambda: None) as url:
        await get(f"{url}/healthz")
        assert [signal.getsignal(sign) for sign in (signal.SIGTERM, signal.SIGINT)] == before


async def test_a_port_that_is_taken_is_an_error_at_once() -> None:
    async with role_port("127.0.0.1", 0, CollectorRegistry(), lambda: None) as url:
        with pytest.raises(OSError, match="in use"):
            async with role_port("127.0.0.1", int(url.rpartition(":")[2]), CollectorRegistry(), lambda: None):
                pass


async def test_a_client_that_stays_connected_does_not_hold_up_the_end() -> None:
    async with role_port("127.0.0.1", 0, CollectorRegistry(), lambda: None) as url:
        _, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        writer.write(b"GET /hea")
        await writer.drain()
        await get(f"{url}/healthz")
    writer.close()


def test_a_loop_that_no_longer_comes_round_is_named() -> None:
    clock = ManualClock()
    ages = LoopAges(clock, {"fast": 2.0, "slow": 10.0})
    clock.advance(2.0)
    assert ages.overdue() is None
    clock.advance(1.0)
    assert ages.overdue() == "loop fast last came round 3.0 s ago, at most 2 s are normal"
    ages.beat("fast")
    assert (ages.overdue(), ages.age_s("fast"), ages.age_s("slow")) == (None, 0.0, 3.0)
