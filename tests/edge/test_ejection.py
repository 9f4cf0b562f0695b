"""A cluster is found to be unreachable while calls wait there."""

import asyncio

import pytest

from federation.ejection import ProbeResult
from federation.fold import ProbeSeen
from tests.edge.harness import STREAM_HEAD, Hangs, chunk, completion, head, post, sse, stage, streams

FIRST, LAST = sse("a")


@pytest.mark.parametrize(
    ("first", "stream"),
    [
        pytest.param(b"", False, id="waiting"),
        pytest.param(b"", True, id="stream waiting"),
        pytest.param(STREAM_HEAD, True, id="head but no event"),
        pytest.param(STREAM_HEAD + chunk(b"data: ha"), True, id="half an event"),
    ],
)
async def test_calls_that_wait_at_an_unreachable_cluster_go_elsewhere_at_once(first: bytes, stream: bool) -> None:
    async with stage() as here:
        hangs = Hangs(first)
        here.near.plays(hangs)
        here.middle.plays(streams(FIRST, LAST)) if stream else None
        clients = [await here.client() for _ in range(5)]
        for client in clients:
            await client.send(post(stream=stream))
        await here.near.received(5)
        await asyncio.sleep(0.05)
        here.door.cluster_unreachable("near")
        for client in clients:
            answer = await client.answer()
            assert answer.body == (FIRST + LAST if stream else completion("middle"))
            assert (answer["x-tradewind-decision"], answer["x-tradewind-attempts"]) == ("failover", "2")
        await hangs.abandoned()
        assert here.attempts() == {("near", "abandoned"): 5, ("middle", "served"): 5}
        assert here.standing("near").failures == 0, "we ended them ourselves"


async def test_calls_that_are_being_answered_are_left_alone() -> None:
    async with stage() as here:
        hangs = Hangs(STREAM_HEAD + chunk(FIRST), chunk(LAST) + b"0\r\n\r\n")
        here.near.plays(hangs)
        client = await here.client()
        await client.send(post(stream=True))
        await client.head()
        assert await client.chunk() == FIRST
        here.door.cluster_unreachable("near")
        hangs.go.set()
        assert await client.chunk() == LAST
        assert await client.chunk() is None
        assert here.attempts() == {("near", "served"): 1}


async def test_calls_at_other_clusters_are_left_alone() -> None:
    async with stage() as here:
        hangs = Hangs(b"", head(200, {"content-length": "2"}) + b"ok")
        here.near.plays(hangs)
        client = await here.client()
        await client.send(post())
        await hangs.began.wait()
        here.door.cluster_unreachable("far")
        here.door.cluster_unreachable("unknown")
        hangs.go.set()
        assert (await client.answer()).body == b"ok"


async def test_a_call_with_nowhere_left_to_go_gets_its_error() -> None:
    async with stage(names=("near",)) as here:
        hangs = Hangs()
        here.near.plays(hangs)
        client = await here.client()
        await client.send(post())
        await hangs.began.wait()
        here.door.cluster_unreachable("near")
        answer = await client.answer()
        assert (answer.status, answer.code, answer["x-tradewind-attempts"]) == (502, "upstream_failed", "1")
        await hangs.abandoned()


async def test_clusters_lost_one_after_the_other_are_each_left_and_three_attempts_are_the_end() -> None:
    async with stage() as here:
        hangs = {name: Hangs() for name in here.clusters}
        for name, cluster in here.clusters.items():
            cluster.plays(hangs[name])
        client = await here.client()
        await client.send(post())
        for number, name in enumerate(here.clusters, 1):
            await hangs[name].began.wait()
            assert here.door.in_flight == {(name, "tiny"): 1}
            here.door.cluster_unreachable(name)
            await hangs[name].abandoned()
            assert here.attempts()[name, "abandoned"] == 1
            assert sum(here.attempts().values()) == number
        answer = await client.answer()
        assert (answer.status, answer["x-tradewind-attempts"]) == (502, "3")


async def test_the_loss_of_a_cluster_does_not_draw_on_the_retry_budget() -> None:
    async with stage(slots=10_000) as here:
        here.door.budget.tokens = 0.0
        here.door.budget.per_call = 0.0
        hangs = Hangs()
        here.near.plays(hangs)
        clients = [await here.client() for _ in range(50)]
        for client in clients:
            await client.send(post())
        await here.near.received(50)
        here.door.cluster_unreachable("near")
        for client in clients:
            assert (await client.answer())["x-tradewind-cluster"] == "middle"


async def test_silent_probes_take_waiting_calls_elsewhere_and_keep_new_ones_away() -> None:
    async with stage() as here:
        hangs = Hangs()
        here.near.plays(hangs)
        client = await here.client()
        await client.send(post())
        await hangs.began.wait()
        for _ in range(3):
            here.door.feed.put(ProbeSeen("near", ProbeResult.SILENT))
        here.door.feed.tick()
        assert (await client.answer())["x-tradewind-cluster"] == "middle"
        assert (await here.ask(post()))["x-tradewind-attempts"] == "1"
        assert len(here.near.requests) == 1


async def test_resting_connections_to_an_unreachable_cluster_are_closed() -> None:
    async with stage() as here:
        await here.ask(post())
        pool = here.door.pools["near"]
        assert len(pool.idle) == 1
        here.door.cluster_unreachable("near")
        await asyncio.sleep(0.02)
        assert pool.idle == []
        assert pool.open == 0
