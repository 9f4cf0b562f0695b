"""The control plane dies; calls do not notice."""

import asyncio
import signal
import time
from pathlib import Path

from tests.app.fleet import REGIONS, Fleet, until
from tests.app.load import Load


async def test_a_minute_without_an_agent_makes_its_cluster_stale_then_lost_and_still_used() -> None:
    region = "europe-west4"
    with Fleet("--seed", "7", "--restart-after", "0") as fleet:
        fleet.wait_fresh()
        async with Load(fleet.url, rate=10.0, max_tokens=10) as load:
            killed_at = asyncio.get_running_loop().time()
            fleet.kill("agent", region)
            await asyncio.to_thread(until, lambda: fleet.cluster(region)["liveness"] == "stale", 6.0, "stale")
            await asyncio.to_thread(until, lambda: fleet.cluster(region)["liveness"] == "lost", 15.0, "lost")
            await load.run_for(60.0 - (asyncio.get_running_loop().time() - killed_at))
            assert fleet.cluster(region)["standing"]["state"] == "admitted"
        assert not load.failed()
        recently = load.placed_in(region, asyncio.get_running_loop().time() - 10.0)
        assert recently, "silence alone never takes a cluster out"
        assert {record.decision for record in recently} == {"nearest"}


async def test_redis_frozen_half_a_minute_then_killed_and_back_empty_harms_no_call() -> None:
    with Fleet("--seed", "8", "--restart-after", "3") as fleet:
        fleet.wait_fresh()
        async with Load(fleet.url, rate=10.0, max_tokens=10) as load:
            fleet.freeze("redis")
            await asyncio.to_thread(
                until, lambda: fleet.admin("GET", "/admin/status")["mode"] == "frozen", 5.0, "frozen mode"
            )
            await load.run_for(27.0)
            assert fleet.ready() == 200
            fleet.kill("redis")
            status = await asyncio.to_thread(fleet.admin, "GET", "/admin/status")
            assert {entry["liveness"] for entry in status["clusters"]} == {"lost"}
            assert {entry["standing"]["state"] for entry in status["clusters"]} == {"admitted"}
            await asyncio.to_thread(until, fleet.redis_answers, 15.0, "Redis is back")
            await asyncio.to_thread(fleet.wait_fresh, 3.0)
            assert fleet.ready() == 200
        assert not load.failed()
        assert {record.decision for record in load.records} == {"nearest"}


def test_old_words_in_redis_are_not_taken_for_fresh_by_a_front_door_that_starts() -> None:
    with Fleet("--seed", "9", "--restart-after", "1") as fleet:
        fleet.wait_fresh()
        for region in REGIONS:
            fleet.freeze("agent", region)
        fleet.kill("serve")
        until(lambda: _answers(fleet), 20.0, "a new front door")
        seen: set[str] = set()
        deadline = time.monotonic() + 3.0
        while time.monotonic() < deadline:
            seen |= {entry["liveness"] for entry in fleet.admin("GET", "/admin/status")["clusters"]}
            assert fleet.ask("europe-west4")["x-tradewind-region"] == "europe-west4"
        assert "fresh" not in seen
        for region in REGIONS:
            fleet.thaw("agent", region)
        fleet.wait_fresh(5.0)


def _answers(fleet: Fleet) -> bool:
    try:
        return fleet.admin("GET", "/admin/status")["uptime_s"] < 10.0
    except Exception:
        return False


def test_a_drain_outlives_a_redis_that_comes_back_empty_on_every_front_door() -> None:
    region = "europe-west4"
    with Fleet("--seed", "10", "--front-doors", "2", "--restart-after", "1") as fleet:
        for index in (0, 1):
            fleet.wait_fresh(index=index)
        fleet.admin("PUT", f"/admin/drains/{region}-a", json={"for_s": 600, "reason": "maintenance"})
        until(lambda: fleet.cluster(region, 1)["drain"], 1.0, "the other front door knows")
        fleet.kill("redis")
        until(lambda: fleet.admin("GET", "/admin/status")["mode"] == "frozen", 5.0, "Redis is gone")
        until(lambda: fleet.admin("GET", "/admin/status")["mode"] == "live", 15.0, "Redis is back")
        for index in (0, 1):
            fleet.wait_fresh(5.0, index=index)
            assert fleet.cluster(region, index)["drain"]["reason"] == "maintenance"
            assert fleet.ask(region, index=index)["x-tradewind-region"] != region
        # A front door that never saw the drain learns of it from the store: it was written back.
        fleet.kill("serve", index=1)
        until(lambda: _drained(fleet, region), 20.0, "a new front door knows")


def _drained(fleet: Fleet, region: str) -> bool:
    try:
        status = fleet.admin("GET", "/admin/status", 1)
    except Exception:
        return False
    entry = next(entry for entry in status["clusters"] if entry["region"] == region)
    return status["uptime_s"] < 10.0 and entry["drain"] is not None


async def test_sigterm_under_load_turns_readyz_first_and_cuts_no_call() -> None:
    """Two front doors; a balancer, played here, moves to the other one when /readyz says so."""
    settings = {"TRADEWIND_SHUTDOWN__LAME_DUCK_S": "1"}
    with Fleet("--seed", "11", "--front-doors", "2", "--restart-after", "0", settings=settings) as fleet:
        for index in (0, 1):
            fleet.wait_fresh(index=index)
        ending = fleet.part("serve", index=1)
        async with Load(ending["url"], rate=30.0, max_tokens=200) as load:
            await load.run_for(2.0)
            told_at = asyncio.get_running_loop().time()
            fleet.send_signal("serve", signal.SIGTERM, index=1)
            await asyncio.to_thread(until, lambda: fleet.ready(1) == 503, 1.0, "not ready, and still there to say so")
            sent = len(load.records)
            await load.stop()
        assert sent > 50
        assert not load.failed()
        last = max(record.ended_at or 0.0 for record in load.records if record.stream)
        assert last > told_at + 2.0, "streams ran on after the listeners had closed"
        await asyncio.to_thread(until, lambda: not Path(f"/proc/{ending['pid']}").exists(), 5.0, "the process ends")
