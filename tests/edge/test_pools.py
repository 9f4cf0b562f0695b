"""Connections to a cluster: bounded, warmed, spread over its addresses, which DNS names in the background."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterable, Iterator

import pytest
import structlog.testing

from federation.clock import SystemClock
from federation.ejection import State
from router.edge.dialer import PoolDialer
from router.edge.pool import ClusterPool, PoolDirectory
from router.edge.resolver import LOOKUPS_MAX, Resolver
from router.edge.warming import keep_warm
from router.settings import EdgeSettings, TimeoutSettings
from tests.edge.harness import (
    STREAM_HEAD,
    Hangs,
    answers,
    chunk,
    completion,
    post,
    sse,
    stage,
    until,
)

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"


def loop_time() -> float:
    return asyncio.get_running_loop().time()


# Bounded.


async def test_a_cluster_with_every_connection_taken_is_passed_over_and_nothing_is_held_against_it() -> None:
    edge = EdgeSettings(connections_max=2, warm_connections=0)
    hangs = Hangs(then=OK)
    async with stage(edge=edge) as here:
        here.near.plays(hangs)
        waiting = [await here.client() for _ in range(2)]
        for number, client in enumerate(waiting):
            await client.send(post())
            await here.near.received(number + 1)
        for _ in range(10):
            answer = await here.ask(post())
            assert (answer["x-tradewind-cluster"], answer["x-tradewind-attempts"]) == ("middle", "2")
        assert here.attempts() == {("near", "pool_full"): 10, ("middle", "served"): 10}
        standing = here.standing("near")
        assert (standing.state, standing.failures, standing.refused) == (State.ADMITTED, 0.0, 0)
        assert here.near.connections == 2
        hangs.go.set()
        for client in waiting:
            assert (await client.answer()).body == b"{}"
        here.near.plays(answers(b"room again"))
        assert (await here.ask(post())).body == b"room again"


async def test_with_every_pool_full_the_answer_says_that_we_are_too_busy() -> None:
    edge = EdgeSettings(connections_max=1, warm_connections=0)
    hangs = Hangs(then=OK)
    async with stage(edge=edge) as here:
        waiting = []
        for cluster in here.clusters.values():
            cluster.plays(hangs)
            client = await here.client()
            await client.send(post())
            await cluster.received()
            waiting.append(client)
        answer = await here.ask(post())
        assert (answer.status, answer.code) == (503, "too_busy")
        assert "retry-after" in answer
        hangs.go.set()
        for client in waiting:
            assert (await client.answer()).status == 200


async def test_probes_get_through_where_calls_have_taken_every_connection() -> None:
    """Else a cluster that froze with all of them taken would never be found out."""
    async with stage(edge=EdgeSettings(connections_max=1, warm_connections=0)) as here:
        hangs = Hangs(then=OK)
        here.near.plays(hangs, answers(b"well"))
        client = await here.client()
        await client.send(post())
        await here.near.received()
        dialer = PoolDialer(here.door.pools, "us-central1", SystemClock())
        answer = await dialer.probe("near", "/health", 5.0)
        assert answer is not None
        assert answer.status == 200
        hangs.go.set()
        assert (await client.answer()).status == 200


# Warmed.


async def test_connections_stand_ready_before_a_call_and_again_after_a_loss() -> None:
    async with stage() as here:
        near = here.door.pools["near"]
        keep_warm(here.door)
        await until(lambda: all(len(pool.idle) == 2 for pool in here.door.pools.values()), "two each")
        keep_warm(here.door)
        await here.ask(post())
        assert here.near.connections == 2
        for connection in list(near.idle):
            connection.transport.abort()
        await until(lambda: not near.idle, "they are lost")
        near.warm(loop_time() + 1.0, 2)  # So young a loss is not mended in the same round; see below.
        await until(lambda: len(near.idle) == 2, "two again")
        assert here.near.connections == 4


async def test_a_cluster_that_wants_no_idle_connection_is_asked_ever_less_often() -> None:
    async with stage() as here:
        near = here.door.pools["near"]

        async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            raise ConnectionResetError

        here.near.on_connect = hang_up
        now, tries = loop_time(), []
        for step in range(80):  # A minute and a third of rounds, one a second.
            before = here.near.connections
            near.warm(now + step, 1)
            await until(lambda: near._warming == 0 and near.open == 0, "the connection is lost")
            if here.near.connections > before:
                tries.append(step)
        assert tries == [0, 1, 3, 7, 15, 31, 61]


async def test_nobody_warms_a_cluster_where_nobody_answers() -> None:
    async with stage() as here:
        await here.near.refuse()
        for _ in range(3):
            assert (await here.ask(post()))["x-tradewind-cluster"] == "middle"
        assert here.standing("near").state is State.EJECTED
        await here.near.start()
        before = here.near.connections
        keep_warm(here.door)
        await until(lambda: len(here.door.pools["far"].idle) == 2, "the others are warmed")
        assert here.near.connections == before
        assert here.door.pools["near"].open == 0


async def test_warming_keeps_within_the_bound() -> None:
    async with stage(edge=EdgeSettings(connections_max=3, warm_connections=3)) as here:
        near = here.door.pools["near"]
        hangs = Hangs(then=OK)
        here.near.plays(hangs)
        client = await here.client()
        await client.send(post())
        await here.near.received()
        keep_warm(here.door)
        await until(lambda: len(near.idle) == 2, "as many as there is room for")
        keep_warm(here.door)
        await asyncio.sleep(0)
        assert near.open + len(near._connecting) == 3
        hangs.go.set()
        await client.answer()


# Spread.


@contextlib.contextmanager
def silent_at(address: str, port: int) -> Iterator[None]:
    """A listener whose queue is full: the kernel drops the knocking, as a dead machine would."""
    listener = socket.socket()
    listener.bind((address, port))
    listener.listen(0)
    fillers = []
    for _ in range(4):
        filler = socket.socket()
        filler.setblocking(False)
        filler.connect_ex((address, port))
        fillers.append(filler)
    try:
        yield
    finally:
        for sock in (listener, *fillers):
            sock.close()


async def test_one_dead_address_of_three_fails_no_call() -> None:
    """Nobody listens at 127.0.0.2 and 127.0.0.3: they refuse."""
    async with stage(timeouts=TimeoutSettings(connect_s=5.0)) as here:
        here.door.pools["near"].book.replace(("127.0.0.1", "127.0.0.2", "127.0.0.3"))
        here.near.plays(answers(b"here", headers={"connection": "close"}))
        for _ in range(9):
            answer = await here.ask(post())
            assert (answer.body, answer["x-tradewind-attempts"]) == (b"here", "1")
        assert here.attempts() == {("near", "served"): 9}


async def test_an_address_that_is_silent_is_overtaken_and_then_left_alone() -> None:
    async with stage(timeouts=TimeoutSettings(connect_s=2.0)) as here:
        near = here.door.pools["near"]
        with silent_at("127.0.0.2", here.near.port):
            near.book.replace(("127.0.0.1", "127.0.0.2"))
            here.near.plays(answers(b"here", headers={"connection": "close"}))
            for _ in range(6):
                answer = await here.ask(post())
                assert (answer.body, answer["x-tradewind-attempts"]) == (b"here", "1")
            rests = {address.text: address.rests_until > loop_time() for address in near.book}
            assert rests == {"127.0.0.1": False, "127.0.0.2": True}
            await until(lambda: near.open == 0 and not near._connecting, "the one that was overtaken is let go")


async def test_with_every_address_dead_the_attempt_ends_in_time() -> None:
    async with stage(timeouts=TimeoutSettings(connect_s=0.4)) as here:
        near = here.door.pools["near"]
        near.book.replace(("127.0.0.2", "127.0.0.3"))
        assert (await here.ask(post()))["x-tradewind-cluster"] == "middle"
        assert here.attempts()["near", "refused"] == 1
        with silent_at("127.0.0.2", here.near.port), silent_at("127.0.0.3", here.near.port):
            assert (await here.ask(post()))["x-tradewind-cluster"] == "middle"
        assert here.attempts()["near", "connect_timeout"] == 1
        await until(lambda: not near._connecting, "nothing goes on")


async def test_new_connections_go_round_the_addresses() -> None:
    async with stage() as here:
        near = here.door.pools["near"]
        others = [await asyncio.start_server(here.near._serve, f"127.0.0.{n}", here.near.port) for n in (2, 3)]
        near.book.replace(("127.0.0.1", "127.0.0.2", "127.0.0.3"))
        near.warm(loop_time(), 6)
        await until(lambda: len(near.idle) == 6, "six connections")
        peers = sorted(connection.transport.get_extra_info("peername")[0] for connection in near.idle)
        assert peers == [f"127.0.0.{n}" for n in (1, 1, 2, 2, 3, 3)]
        for server in others:
            server.close()


# Named.


class Lookups:
    """A scripted DNS, asked on threads as the real one is."""

    def __init__(self, *told: Iterable[str] | Exception) -> None:
        self.told = list(told)
        self.asked: list[str] = []
        self.go = threading.Event()
        self.go.set()

    def __call__(self, host: str, port: int) -> Iterable[str]:
        self.asked.append(host)
        assert self.go.wait(20)
        answer = self.told.pop(0) if len(self.told) > 1 else self.told[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


class Hands:
    """A clock moved by hand."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


def named(count: int) -> PoolDirectory:
    return {
        f"c{number}": ClusterPool(
            f"c{number}", f"http://c{number}.test:80", connect_s=1.0, idle_max=1, connections_max=10
        )
        for number in range(count)
    }


async def test_a_name_that_is_unknown_at_the_start_is_asked_again_soon_and_then_ever_less_often() -> None:
    hands = Hands()
    lookups = Lookups(OSError("no such name"))
    resolver, pools = Resolver(lookups, hands), named(1)
    asked_at = []
    with structlog.testing.capture_logs() as lines:
        for _ in range(400):
            before = len(lookups.asked)
            resolver.look(pools)
            await until(lambda: not resolver.asking, "the answer is in")
            if len(lookups.asked) > before:
                asked_at.append(hands.now_s - 1_000.0)
            hands.now_s += 0.25
    assert asked_at == [0.0, 1.0, 3.0, 7.0, 15.0, 31.0, 61.0, 91.0]
    assert len(lines) == 4, "the 1st, 2nd, 4th and 8th failure"
    lookups.told = [("10.0.0.2", "10.0.0.1")]
    hands.now_s += 30.0
    resolver.look(pools)
    await until(lambda: len(pools["c0"].book), "resolved")
    assert pools["c0"].book.texts == ("10.0.0.1", "10.0.0.2")


async def test_a_failure_keeps_the_addresses_that_are_known() -> None:
    hands = Hands()
    resolver, pools = Resolver(Lookups(("10.0.0.1",), OSError("down"), (), ("10.0.0.9",)), hands), named(1)
    seen = []
    for _ in range(4):
        resolver.look(pools)
        await until(lambda: not resolver.asking, "the answer is in")
        seen.append(pools["c0"].book.texts)
        hands.now_s += 40.0
    assert seen == [("10.0.0.1",)] * 3 + [("10.0.0.9",)]


async def test_a_resolver_that_hangs_holds_a_few_threads_and_nobody_up() -> None:
    hands = Hands()
    lookups = Lookups(("10.0.0.1",))
    lookups.go.clear()
    resolver, pools = Resolver(lookups, hands), named(12)
    try:
        began = loop_time()
        await resolver.settle(pools, 0.1)
        assert loop_time() - began < 5.0
        for _ in range(50):
            resolver.look(pools)
            hands.now_s += 10.0
        threads = [thread for thread in threading.enumerate() if thread.name.startswith("resolve ")]
        assert len(threads) == resolver.asking == LOOKUPS_MAX
        assert all(thread.daemon for thread in threads), "the process can end without them"
        await until(lambda: len(lookups.asked) == LOOKUPS_MAX, "each asks once")
        assert len(set(lookups.asked)) == LOOKUPS_MAX
    finally:
        lookups.go.set()
    await resolver.settle(pools, 10.0)
    assert all(pool.book.texts == ("10.0.0.1",) for pool in pools.values())


async def test_a_cluster_that_joins_is_resolved_at_once_and_others_are_not_forgotten() -> None:
    hands = Hands()
    lookups = Lookups(("10.0.0.1",))
    resolver, pools = Resolver(lookups, hands), named(2)
    joins = {"c1": pools.pop("c1")}
    await resolver.settle(pools, 10.0)
    hands.now_s += 1.0
    await resolver.settle(joins, 10.0)
    assert joins["c1"].book.texts == ("10.0.0.1",)
    resolver.look(pools | joins)
    assert lookups.asked == ["c0.test", "c1.test"]


async def test_where_dns_no_longer_leads_idle_connections_close_and_calls_finish() -> None:
    async with stage() as here:
        near = here.door.pools["near"]
        hangs = Hangs(STREAM_HEAD + chunk(sse("a")[0]), chunk(sse("b")[1]) + b"0\r\n\r\n")
        here.near.plays(hangs, answers(b"resting"), answers(completion("moved")))
        client = await here.client()
        await client.send(post(stream=True))
        await hangs.began.wait()
        await here.ask(post())
        await until(lambda: near.idle, "it rests")
        moved = await asyncio.start_server(here.near._serve, "127.0.0.2", here.near.port)
        near.move(("127.0.0.2",))
        await until(lambda: not near.idle, "the idle one is closed")
        hangs.go.set()
        assert (await client.answer()).body == sse("a")[0] + sse("b")[1]
        assert (await here.ask(post())).body == completion("moved")
        await until(lambda: near.open == 1, "the old one is not used again")
        assert near.idle[0].transport.get_extra_info("peername")[0] == "127.0.0.2"
        moved.close()


async def test_no_call_asks_dns() -> None:
    """The name leads nowhere; whoever dialled it, instead of the addresses that are known, would not get there."""
    async with stage() as here:
        near = here.door.pools["near"]
        near.host, near.is_named = "no-such-host.invalid", True
        client = await here.client()
        await client.send(post())
        answer = await client.answer()
        assert (answer["x-tradewind-cluster"], answer["x-tradewind-attempts"]) == ("near", "1")


async def test_the_systems_resolver_is_asked_on_a_thread_that_can_fail_to_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hands = Hands()
    pool = ClusterPool("a", "http://localhost:80", connect_s=1.0, idle_max=1, connections_max=1)
    resolver = Resolver(now=hands)

    def refuses(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuses)
        resolver.look({"a": pool})
    assert (resolver.asking, pool.book.texts) == (0, ())
    hands.now_s += 1.0
    resolver.look({"a": pool})
    await until(lambda: "127.0.0.1" in pool.book.texts, "the system knows localhost")
