"""Where calls go: nearest first, overflow when it is full, never where a drain stands."""

import asyncio
import time

import httpx
import pytest

from tests.app.fleet import MODEL, REGIONS, Fleet, until
from tests.app.load import Load


@pytest.mark.parametrize("region", REGIONS)
def test_an_idle_fleet_serves_a_call_in_its_own_region(fleet: Fleet, region: str) -> None:
    headers = fleet.ask(region)
    assert headers["x-tradewind-region"] == region
    assert headers["x-tradewind-decision"] == "nearest"


def test_calls_stay_within_the_regions_they_allow(fleet: Fleet) -> None:
    answer = httpx.post(
        f"{fleet.url}/v1/chat/completions",
        headers={"x-client-region": "us-central1", "x-tradewind-regions": "eu"},
        json={"model": MODEL, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2},
    )
    assert answer.status_code == 200
    assert answer.headers["x-tradewind-region"] == "europe-west4"


def test_explain_agrees_with_where_calls_go(fleet: Fleet) -> None:
    told = fleet.admin("GET", "/admin/explain", params={"model": MODEL, "from": "asia-northeast1"})
    first = next(row for row in told["rows"] if row["rank"] == 1)
    assert first["cluster"] == fleet.ask("asia-northeast1")["x-tradewind-cluster"]
    assert told["outcome"] == "nearest"


async def test_a_full_region_overflows_to_the_next_nearest_and_no_call_fails() -> None:
    """One replica of 48 slots in each region; far more long streams than that from one of them."""
    with Fleet("--seed", "2", "--replicas", "1") as fleet:
        fleet.wait_fresh()
        async with Load(fleet.url, rate=50.0, max_tokens=80, origins=("europe-west4",)) as load:
            await load.run_for(4.0)
        assert not load.failed()
        overflowed = [record for record in load.records if record.decision == "overflow"]
        assert {record.region for record in load.records} >= {"europe-west4", "us-central1"}
        assert overflowed
        assert {record.region for record in overflowed} <= {"us-central1", "asia-northeast1"}
        assert overflowed[0].region == "us-central1", "the next nearest comes first"
        assert fleet.metric("tradewind_calls_total", decision="overflow") == len(overflowed)


async def test_a_drain_takes_no_new_call_within_a_second_on_every_front_door_and_cuts_no_stream() -> None:
    with Fleet("--seed", "3", "--front-doors", "2") as fleet:
        for index in (0, 1):
            fleet.wait_fresh(index=index)
        async with Load(fleet.url, rate=20.0, max_tokens=60) as load:
            await asyncio.to_thread(until, lambda: len(load.placed_in("europe-west4", 0.0)) >= 3, 10.0, "calls there")
            drained_at = asyncio.get_running_loop().time()
            await asyncio.to_thread(
                fleet.admin, "PUT", "/admin/drains/europe-west4-a", json={"for_s": 6, "reason": "a rehearsal"}
            )
            other = await asyncio.to_thread(
                until, lambda: fleet.cluster("europe-west4", 1)["drain"], 1.0, "the other front door knows"
            )
            assert other["reason"] == "a rehearsal"
            await load.run_for(2.0)
            during = load.placed_in("europe-west4", drained_at + 1.0)
            await asyncio.to_thread(until, lambda: not fleet.cluster("europe-west4")["drain"], 8.0, "the drain ends")
            await asyncio.to_thread(
                until, lambda: fleet.ask("europe-west4")["x-tradewind-region"] == "europe-west4", 1.0, "calls again"
            )
        assert not during
        assert not load.failed(), "streams that ran there have finished"


def test_undrain_ends_a_drain_at_once(fleet: Fleet) -> None:
    fleet.admin("PUT", "/admin/drains/asia-northeast1-a", json={"for_s": 60, "reason": "a mistake"})
    assert fleet.ask("asia-northeast1")["x-tradewind-region"] != "asia-northeast1"
    started = time.monotonic()
    fleet.admin("DELETE", "/admin/drains/asia-northeast1-a")
    assert fleet.ask("asia-northeast1")["x-tradewind-region"] == "asia-northeast1"
    assert time.monotonic() - started < 1.0
