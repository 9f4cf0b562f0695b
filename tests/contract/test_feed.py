"""The feed: what it hears from stores, good and bad, and what it does about it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from random import Random

import pytest
import structlog
from prometheus_client import CollectorRegistry

from federation.clock import ManualClock
from federation.ejection import EjectionRules, ProbeResult, State
from federation.feed import INBOX_MAX, Feed
from federation.fold import ProbeSeen, ServedSeen
from federation.keys import heartbeat_key
from federation.liveness import Liveness
from federation.loops import Loops
from federation.metrics import FeedMetrics
from federation.model import Drain, Heartbeat, Mode
from federation.outcome import Outcome, OutcomeKind
from federation.store.interface import StoreFault
from federation.store.memory import MemoryStore
from federation.wire import Rejection, seal
from tests.build import DISTANCES, SECRET, A, heartbeat, spec

OTHER_SECRET = b"fedcba9876543210"


@dataclass
class World:
    """A feed of two clusters over stores in memory, on a clock that stands still between rounds."""

    stores: int = 1
    clock: ManualClock = field(default_factory=ManualClock)
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)

    def __post_init__(self) -> None:
        self.targets = [MemoryStore(self.clock, f"store-{number}") for number in range(self.stores)]
        self.feed = self.new_feed(self.registry)

    def new_feed(self, registry: CollectorRegistry) -> Feed:
        return Feed(
            specs={"a": spec("a"), "b": spec("b")},
            heartbeat_keys={"a": {"k1": SECRET}, "b": {"k1": OTHER_SECRET}},
            stores=self.targets,
            distances=DISTANCES,
            own_region=A,
            clock=self.clock,
            rng=Random(1),
            rules=EjectionRules(),
            metrics=FeedMetrics(registry),
            loops=Loops(registry, self.clock),
            poll_s=0.25,
            tick_s=0.05,
        )

    def say(self, beat: Heartbeat, *, secret: bytes = SECRET, key: str = "k1", store: int = 0) -> None:
        """An agent writes a heartbeat to one store."""
        self.targets[store].plant(heartbeat_key(beat.cluster), seal(beat, key, secret), 60)

    async def round(self, feed: Feed | None = None) -> None:
        """A quarter of a second: every store is read once, then the feed ticks."""
        feed = feed or self.feed
        self.clock.advance(0.25)
        for status in feed.stores:
            await feed._poll(status)
        feed.tick()

    def liveness(self, cluster: str) -> Liveness:
        view = self.feed.view.models.get("llama")
        pools = {pool.cluster: pool.liveness for pool in view.pools} if view is not None else {}
        return pools.get(cluster, Liveness.LOST)

    def rejected(self, cause: Rejection) -> float:
        return self.registry.get_sample_value("tradewind_heartbeats_rejected_total", {"cause": cause}) or 0.0


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
async def lines() -> AsyncIterator[list[dict[str, object]]]:
    with structlog.testing.capture_logs() as captured:
        yield captured  # type: ignore[misc]


async def test_a_heartbeat_is_fresh_once_it_has_advanced(world: World) -> None:
    world.say(heartbeat(seq=1))
    await world.round()
    assert world.liveness("a") is Liveness.STALE, "first sight may be a last word"
    world.say(heartbeat(seq=2))
    await world.round()
    assert world.liveness("a") is Liveness.FRESH


BAD: dict[Rejection, Callable[[World, int], None]] = {
    Rejection.BAD_SIGNATURE: lambda world, n: world.say(heartbeat(seq=100 + n), secret=OTHER_SECRET),
    Rejection.UNKNOWN_KEY: lambda world, n: world.say(heartbeat(seq=100 + n), key="k9"),
    Rejection.IMPLAUSIBLE: lambda world, n: world.say(heartbeat(seq=100 + n, interval_ms=1)),
    Rejection.OLDER: lambda world, n: world.say(heartbeat(seq=1, sent_unix_ms=n)),
    Rejection.MALFORMED: lambda world, n: world.targets[0].plant(heartbeat_key("a"), b"nonsense %d" % n, 60),
    Rejection.OVERSIZED: lambda world, n: world.targets[0].plant(heartbeat_key("a"), b"%d" % n + b"x" * 70_000, 60),
}


@pytest.mark.parametrize("cause", BAD, ids=str)
async def test_a_bad_heartbeat_is_counted_logged_once_and_disturbs_nothing(
    world: World, cause: Rejection, lines: list[dict[str, object]]
) -> None:
    for seq in (2, 3):
        world.say(heartbeat(seq=seq))
        world.say(heartbeat("b", seq=seq), secret=OTHER_SECRET)
        await world.round()
    before = world.feed.snapshot.beliefs["a"].heartbeat
    for number in range(3):
        BAD[cause](world, number)
        world.say(heartbeat("b", seq=10 + number), secret=OTHER_SECRET)
        await world.round()
        await world.round()
    assert world.rejected(cause) == 3, "each message once, however often it is read"
    assert [line["cause"] for line in lines if line["event"] == "heartbeat rejected"] == [cause]
    assert world.feed.snapshot.beliefs["a"].heartbeat == before
    held = world.feed.snapshot.beliefs["b"].heartbeat
    assert held is not None
    assert held.seq == 12, "the other cluster is heard"


async def test_a_key_may_rotate_while_both_ids_are_known(world: World) -> None:
    world.feed.declare({"a": spec("a")}, {"a": {"k1": SECRET, "k2": OTHER_SECRET}}, DISTANCES)
    for seq, (key, secret) in enumerate((("k1", SECRET), ("k1", SECRET), ("k2", OTHER_SECRET)), start=1):
        world.say(heartbeat(seq=seq), key=key, secret=secret)
        await world.round()
    assert world.liveness("a") is Liveness.FRESH
    assert world.rejected(Rejection.UNKNOWN_KEY) == 0


async def test_stores_are_merged_and_an_older_word_in_one_is_no_offence_for_long() -> None:
    world = World(stores=2)
    for seq in (1, 2, 3):
        world.say(heartbeat(seq=seq), store=0)
        await world.round()
    world.say(heartbeat(seq=2), store=1)
    for _ in range(5):
        await world.round()
    held = world.feed.snapshot.beliefs["a"].heartbeat
    assert held is not None
    assert held.seq == 3
    assert world.rejected(Rejection.OLDER) == 1, "read five times, judged once"


async def test_the_mode_is_frozen_only_while_no_store_answers() -> None:
    world = World(stores=2)
    world.targets[0].fault = StoreFault.TIMEOUT
    await world.round()
    assert world.feed.snapshot.mode is Mode.LIVE
    world.targets[1].fault = StoreFault.TIMEOUT
    await world.round()
    assert world.feed.snapshot.mode is Mode.FROZEN
    world.targets[1].fault = None
    for _ in range(6):
        await world.round()
    assert world.feed.snapshot.mode is Mode.LIVE


async def test_a_store_that_hangs_delays_no_other() -> None:
    """Each store has a loop of its own: one that never answers is one loop that waits."""

    class Hanging(MemoryStore):
        async def read(self, clusters):  # type: ignore[no-untyped-def]
            await asyncio.Event().wait()

    world = World(stores=2)
    world.targets[0] = Hanging(world.clock, "hanging")
    feed = world.new_feed(CollectorRegistry())
    world.say(heartbeat(seq=7), store=1)
    running = asyncio.create_task(feed.run())
    try:
        async with asyncio.timeout(5):
            while feed.snapshot.beliefs["a"].heartbeat is None:
                await asyncio.sleep(0.01)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_a_drain_is_written_to_every_store_and_written_back_to_an_empty_one() -> None:
    world = World(stores=2)
    until_ms = int(world.clock.wall() * 1000) + 60_000
    drain = Drain(cluster="a", active=True, reason="test", version_ms=1, until_unix_ms=until_ms)
    world.targets[1].fault = StoreFault.TIMEOUT
    assert await world.feed.drain(drain) == (1, 2)
    world.targets[1].fault = None
    world.targets[0].flush()
    await world.round()
    for target in world.targets:
        assert (await target.read(("a",))).drains["a"] == drain
    undrain = Drain(cluster="a", active=False, reason="over", version_ms=2, until_unix_ms=until_ms)
    assert await world.feed.drain(undrain) == (2, 2)
    newcomer = world.new_feed(CollectorRegistry())
    await world.round(newcomer)
    assert newcomer.snapshot.beliefs["a"].drain == undrain


async def test_whoever_waits_is_told_once_that_a_cluster_became_unreachable(world: World) -> None:
    told: list[str] = []
    world.feed.watch_calls(lambda cluster: {}, told.append)
    for _ in range(10):
        world.feed.report(Outcome("a", "llama", OutcomeKind.REFUSED))
    await world.round()
    await world.round()
    assert told == ["a"]


async def test_own_calls_in_flight_are_noted_when_a_heartbeat_arrives(world: World) -> None:
    world.feed.watch_calls(lambda cluster: {"llama": 3} if cluster == "a" else {}, lambda cluster: None)
    world.say(heartbeat(seq=1))
    await world.round()
    assert dict(world.feed.snapshot.beliefs["a"].own_at_arrival) == {"llama": 3}


async def test_events_beyond_the_inbox_are_dropped_and_counted(world: World) -> None:
    for _ in range(20_005):
        world.feed.report(Outcome("a", "llama", OutcomeKind.SERVED))
    assert world.registry.get_sample_value("tradewind_feed_events_dropped_total") == 5


async def test_a_cluster_that_falls_silent_again_during_its_back_off_is_told_again(world: World) -> None:
    """Calls that panic sent there in between must not be left waiting."""
    told: list[str] = []
    world.feed.watch_calls(lambda cluster: {}, told.append)
    silent, answered = ProbeSeen("a", ProbeResult.SILENT), ProbeSeen("a", ProbeResult.ANSWERED, 0.01)
    for events in ([silent] * 3, [answered], [silent] * 3):
        for event in events:
            world.feed.put(event)
        world.feed.tick()
    assert told == ["a", "a"]


async def test_the_end_of_a_drain_is_said_when_it_ends_by_itself(world: World, lines: list[dict[str, object]]) -> None:
    until_ms = int(world.clock.wall() * 1000) + 1_000
    await world.feed.drain(Drain(cluster="a", active=True, reason="test", version_ms=1, until_unix_ms=until_ms))
    world.clock.advance(2.0)
    world.feed.tick()
    said = [(line["after"], line["detail"]) for line in lines if line.get("kind") == "drain"]
    assert said == [("drained", "test"), ("serving", "expired")]


async def test_what_this_process_saw_is_passed_on_once_and_what_it_was_told_is_not(world: World) -> None:
    feed = world.feed
    passed: list[object] = []
    feed.pass_on(passed.extend)
    own = ProbeSeen("a", ProbeResult.ANSWERED, 0.01)
    feed.put(own)
    feed.served("a")
    feed.hear([ProbeSeen("b", ProbeResult.SILENT)] * 3)
    feed.tick()
    assert passed == [ServedSeen("a", 1), own]
    assert feed.snapshot.beliefs["b"].standing.state is State.EJECTED, "but it counts"
    feed.tick()
    assert len(passed) == 2


async def test_what_others_saw_is_bounded_like_the_rest(world: World) -> None:
    world.feed.hear(ProbeSeen("b", ProbeResult.ANSWERED) for _ in range(INBOX_MAX + 5))
    assert world.registry.get_sample_value("tradewind_feed_events_dropped_total") == 5
