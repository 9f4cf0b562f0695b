"""The heartbeat's loop: keeps its beat, says what it cannot see, and stays within a message's size."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from random import Random

import msgspec
import pytest

from federation.agent.facts import ScrapeResult, Served, ServerFacts
from federation.agent.key import AgentKey
from federation.agent.loop import Agent, loop_bounds
from federation.agent.metrics import AgentMetrics
from federation.agent.scrape import Scraper
from federation.agent.settings import AgentSettings, KeySettings
from federation.clock import SystemClock
from federation.model import Heartbeat
from federation.role_port import LoopAges
from federation.store import MemoryStore, StoreFault
from federation.wire import MESSAGE_BYTES_MAX, unseal

SECRET = "0123456789abcdef"
INTERVAL_S = 0.1


class Seen(Scraper):
    """A scraper that was told what it sees."""

    def __init__(self) -> None:
        self.facts: tuple[ServerFacts, ...] = ()
        self.takes_s = 0.0
        self.error: Exception | None = None

    async def scrape(self) -> tuple[ServerFacts, ...]:
        await asyncio.sleep(self.takes_s)
        if self.error is not None:
            raise self.error
        return self.facts


class Rig:
    def __init__(self, clock: SystemClock) -> None:
        settings = AgentSettings(
            cluster="c1",
            region="r",
            model_servers=(),
            stores=("redis://unused",),
            key=KeySettings(id="k1", secret_env="KEY"),
            interval_s=INTERVAL_S,
        )
        self.seen = Seen()
        self.stores = [MemoryStore(clock, "first"), MemoryStore(clock, "second")]
        self.ages = LoopAges(clock, loop_bounds(settings, self.stores))
        self.metrics = AgentMetrics(self.ages)
        key = AgentKey(settings.key, {"KEY": SECRET})
        self.agent = Agent(settings, key, self.seen, self.stores, clock, Random(1), self.ages, self.metrics)

    async def heartbeat(self, condition: Callable[[Heartbeat], bool] = lambda _: True, store: int = 0) -> Heartbeat:
        """The first heartbeat in a store that meets a condition."""
        deadline = time.monotonic() + 20
        while True:
            message = (await self.stores[store].read(["c1"])).heartbeats.get("c1")
            if message is not None:
                found = unseal(message, "c1", {"c1": {"k1": SECRET.encode()}})
                if condition(found):
                    return found
            assert time.monotonic() < deadline
            await asyncio.sleep(0.005)

    def value(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(f"tradewind_agent_{name}", labels) or 0.0


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    made = Rig(SystemClock())
    running = asyncio.ensure_future(made.agent.run())
    yield made
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running


def ready(models: tuple[str, ...], adapters: dict[str, tuple[str, ...]] | None = None) -> tuple[ServerFacts, ...]:
    return (ServerFacts("http://a", ScrapeResult.NO_METRICS, Served(models, adapters or {})),)


async def test_every_store_gets_the_same_heartbeats(rig: Rig) -> None:
    rig.seen.facts = ready(("m",))
    first = await rig.heartbeat(lambda found: bool(found.pools))
    second = await rig.heartbeat(lambda found: found.seq >= first.seq, store=1)
    assert (first.epoch, first.pools, first.interval_ms) == (second.epoch, second.pools, 100)
    await rig.agent.attempted()
    assert rig.agent.unready() is None


async def test_one_failing_store_holds_up_no_other(rig: Rig) -> None:
    rig.stores[0].fault = StoreFault.TIMEOUT
    await rig.heartbeat(lambda found: found.seq >= 8, store=1)
    assert rig.value("heartbeats_total", store="second", result="written") >= 8
    assert rig.value("store_answers", store="first") == 0


async def test_an_agent_that_cannot_look_says_so_and_repeats_its_last_knowledge(rig: Rig) -> None:
    rig.seen.facts = ready(("m",))
    await rig.heartbeat(lambda found: bool(found.pools) and found.observed)
    rig.seen.error = RuntimeError("a mistake of ours")
    blind = await rig.heartbeat(lambda found: not found.observed and found.observed_age_ms > 0)
    assert [pool.model for pool in blind.pools] == ["m"]
    rig.seen.error = None
    await rig.heartbeat(lambda found: found.observed and found.seq > blind.seq)
    assert rig.value("loop_failures_total", loop="heartbeat") >= 1


async def test_the_beat_is_kept_on_an_absolute_schedule(rig: Rig) -> None:
    """20 beats, each with a look that takes a third of the interval, take 20 intervals and not 27."""
    rig.seen.takes_s = INTERVAL_S / 3
    first, started = await rig.heartbeat(), time.monotonic()
    last = await rig.heartbeat(lambda found: found.seq >= first.seq + 20)
    missed = rig.value("ticks_missed_total")  # On a loaded machine.
    assert time.monotonic() - started < (last.seq - first.seq + missed + 3) * INTERVAL_S


async def test_looks_that_take_too_long_cost_beats_and_are_counted(rig: Rig) -> None:
    rig.seen.takes_s = 2.5 * INTERVAL_S
    await rig.heartbeat(lambda found: found.seq >= 3)
    assert rig.value("ticks_missed_total") >= 4


@pytest.mark.parametrize(
    ("models", "adapters", "kept"),
    [
        pytest.param(("m",), {"m": tuple(f"{n:0100d}" for n in range(2000))}, 1, id="too many adapters"),
        pytest.param(tuple(f"{n:0256d}" for n in range(200)), {}, 100, id="too many pools"),
    ],
)
async def test_a_heartbeat_that_would_be_too_large_is_trimmed(
    rig: Rig, models: tuple[str, ...], adapters: dict[str, tuple[str, ...]], kept: int
) -> None:
    rig.seen.facts = ready(models, adapters)
    found = await rig.heartbeat(lambda found: bool(found.pools))
    assert len(found.pools) == kept
    assert not found.pools[0].adapters
    assert len(msgspec.json.encode(found)) <= MESSAGE_BYTES_MAX
    assert rig.value("heartbeats_trimmed_total") >= 1


async def test_a_loop_that_stands_still_is_unhealthy(rig: Rig, tmp_path: Path) -> None:
    await rig.heartbeat()
    assert rig.ages.overdue() is None
    rig.ages._beats["heartbeat"] -= 60
    assert str(rig.ages.overdue()).startswith("loop heartbeat last came round 60")
