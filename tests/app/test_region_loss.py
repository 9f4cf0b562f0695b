"""The loss of a region: killed, frozen, all of them; and the way back."""

import asyncio
import time

import httpx
import pytest

from tests.app.fleet import MODEL, REGIONS, Fleet, until
from tests.app.load import Load

LOST = "europe-west4"


async def test_a_killed_region_fails_no_call_without_a_first_byte_and_comes_back_slowly() -> None:
    with Fleet("--seed", "4", "--restart-after", "5") as fleet:
        fleet.wait_fresh()
        async with Load(fleet.url) as load:
            await load.run_for(2.0)
            killed_at = asyncio.get_running_loop().time()
            fleet.kill("model", LOST)
            await asyncio.to_thread(
                until, lambda: fleet.cluster(LOST)["standing"]["state"] == "ejected", 1.0, "ejected within a second"
            )
            await load.run_for(2.0)
            away = load.placed_in(LOST, killed_at + 1.0)
            await asyncio.to_thread(
                until, lambda: fleet.cluster(LOST)["standing"]["state"] == "probation", 20.0, "on probation when back"
            )
            back_at = asyncio.get_running_loop().time()
            await load.run_for(3.0)
            trickle = len(load.placed_in(LOST, back_at))
            share = fleet.cluster(LOST)["standing"]["share"]
            await asyncio.to_thread(
                until, lambda: fleet.cluster(LOST)["standing"]["state"] == "admitted", 20.0, "admitted again"
            )
        assert not load.failed_before_first_byte()
        assert all(record.stream for record in load.failed())
        assert not away, "nobody was served there while it was gone"
        from_there = [r for r in load.records if r.origin == LOST and back_at < r.sent_at < back_at + 3.0]
        assert 0 < trickle < 0.6 * len(from_there), f"a trickle, not a flood: {trickle} of {len(from_there)}"
        assert 0.1 <= share < 1.0
        broken = [record for record in load.failed() if "broke off" not in record.error]
        assert not broken, "a stream that broke says so"


async def test_a_frozen_region_is_left_within_two_seconds_and_calls_that_wait_there_are_taken_elsewhere() -> None:
    with Fleet("--seed", "5", "--restart-after", "0") as fleet:
        fleet.wait_fresh()
        async with Load(fleet.url, max_tokens=20) as load:
            await load.run_for(2.0)
            frozen_at = asyncio.get_running_loop().time()
            fleet.freeze("model", LOST)
            await asyncio.to_thread(
                until, lambda: fleet.cluster(LOST)["standing"]["cause"] == "unreachable", 2.0, "unreachable in two"
            )
            await load.run_for(3.0)
            after = load.placed_in(LOST, frozen_at + 2.0)
            waited = [
                record
                for record in load.records
                if record.first_byte_at is not None and record.sent_at < frozen_at + 2.0
            ]
            rescued = [record for record in waited if record.decision == "failover"]
            fleet.thaw("model", LOST)
            await asyncio.to_thread(
                until, lambda: fleet.cluster(LOST)["standing"]["state"] == "admitted", 30.0, "admitted after its thaw"
            )
        assert not load.failed_before_first_byte()
        assert not after
        assert {record.stream for record in rescued} == {True, False}, "streams and plain calls alike"
        assert fleet_time(rescued) < 2.0 + 2.0, "taken elsewhere as soon as it was known, not at a time-out"


def fleet_time(records: list) -> float:
    """The longest wait for a first byte, in seconds."""
    return max(record.first_byte_at - record.sent_at for record in records)


@pytest.mark.parametrize("how", ["kill", "freeze"])
def test_with_all_regions_gone_a_call_is_refused_within_a_second(how: str) -> None:
    with Fleet("--seed", "6", "--restart-after", "0") as fleet:
        fleet.wait_fresh()
        for region in REGIONS:
            getattr(fleet, how)("model", region)
        if how == "freeze":
            for region in REGIONS:
                until(lambda region=region: fleet.cluster(region)["standing"]["state"] == "ejected", 4.0, "ejected")
        for _ in range(5):
            started = time.monotonic()
            answer = httpx.post(
                f"{fleet.url}/v1/chat/completions",
                json={"model": MODEL, "messages": [{"role": "user", "content": "Anyone?"}]},
                timeout=10.0,
            )
            assert time.monotonic() - started < 1.0
            assert answer.status_code == 503, answer.text
            assert int(answer.headers["retry-after"]) >= 1
            assert "x-should-retry" not in answer.headers
        assert fleet.ready() == 200
