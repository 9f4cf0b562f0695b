"""A publisher sends the newest heartbeat, whatever its store does."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable

import pytest

from federation.agent.metrics import AgentMetrics
from federation.agent.publish import Publisher
from federation.clock import SystemClock
from federation.model import Epoch, Heartbeat
from federation.role_port import LoopAges
from federation.store import MemoryStore, StoreFault
from federation.wire import seal


def message(seq: int) -> bytes:
    heartbeat = Heartbeat(cluster="a", region="r", epoch=Epoch(boot_ms=1), seq=seq, interval_ms=1000, sent_unix_ms=0)
    return seal(heartbeat, "k1", b"0123456789abcdef")


class Rig:
    def __init__(self) -> None:
        clock = SystemClock()
        self.store = MemoryStore(clock)
        self.metrics = AgentMetrics(LoopAges(clock, {}))
        self.beats = 0
        self.publisher = Publisher(self.store, "a", 60.0, clock, self.metrics, self.beat)

    def beat(self) -> None:
        self.beats += 1

    async def standing(self) -> bytes | None:
        """What is there, even while the store fails everyone else."""
        fault, self.store.fault = self.store.fault, None
        try:
            return (await self.store.read(["a"])).heartbeats.get("a")
        finally:
            self.store.fault = fault

    def count(self, result: str) -> float:
        labels = {"store": "memory", "result": result}
        return self.metrics.registry.get_sample_value("tradewind_agent_heartbeats_total", labels) or 0.0

    async def until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < deadline
            await asyncio.sleep(0.002)


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    made = Rig()
    running = asyncio.ensure_future(made.publisher.run())
    yield made
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running


async def test_what_is_offered_is_written(rig: Rig) -> None:
    rig.publisher.offer(message(1))
    await rig.publisher.attempted.wait()
    assert await rig.standing() == message(1)
    assert rig.count("written") == 1


async def test_of_several_offers_only_the_newest_is_sent(rig: Rig) -> None:
    for seq in (1, 2, 3):
        rig.publisher.offer(message(seq))
    await rig.publisher.attempted.wait()
    assert await rig.standing() == message(3)
    assert rig.count("written") == 1


async def test_a_store_that_returns_gets_the_newest_without_a_new_offer(rig: Rig) -> None:
    rig.store.fault = StoreFault.TIMEOUT
    for seq in range(1, 6):
        rig.publisher.offer(message(seq))
        failed = rig.count("timeout")
        await rig.until(lambda failed=failed: rig.count("timeout") > failed)  # type: ignore[misc]
    assert await rig.standing() is None
    rig.store.fault = None
    await rig.until(lambda: rig.count("written") == 1)
    assert await rig.standing() == message(5)


async def test_offers_do_not_shorten_the_pause_of_an_open_breaker(rig: Rig) -> None:
    rig.store.fault = StoreFault.UNREACHABLE
    started = time.monotonic()
    seq = 0
    while time.monotonic() - started < 1.0:
        seq += 1
        rig.publisher.offer(message(seq))
        await asyncio.sleep(0.005)
    # Three in a row without a pause, then after 0.25, 0.5 and 1 s.
    assert 3 <= rig.count("unreachable") <= 6


async def test_a_newer_heartbeat_of_another_agent_is_no_failure(rig: Rig) -> None:
    await rig.store.publish("a", message(9), 60.0)
    rig.publisher.offer(message(1))
    await rig.publisher.attempted.wait()
    assert rig.count("newer") == 1
    assert await rig.standing() == message(9)


async def test_it_comes_round_though_nothing_is_offered(rig: Rig) -> None:
    await rig.until(lambda: rig.beats >= 2)


async def test_an_unexpected_error_does_not_end_it(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object) -> bool:
        raise RuntimeError("a mistake of ours")

    with monkeypatch.context() as patch:
        patch.setattr(rig.store, "publish", broken)
        rig.publisher.offer(message(1))
        await rig.publisher.attempted.wait()
    await rig.until(lambda: rig.count("written") == 1)
    failures = {"loop": "publish memory"}
    assert rig.metrics.registry.get_sample_value("tradewind_agent_loop_failures_total", failures) == 1
