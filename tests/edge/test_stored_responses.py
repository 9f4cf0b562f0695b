"""A call that goes on from a response goes to the cluster that keeps it, or nowhere."""

import asyncio
import hashlib
import json

import pytest

from federation.outcome import OutcomeKind
from router.auth import ApiKeys, KeyRow
from router.edge import holders
from router.settings import TimeoutSettings
from router.stored import Holder
from tests.edge.harness import (
    MODEL,
    STREAM_HEAD,
    Hangs,
    Request,
    ScriptedCluster,
    Stage,
    answers,
    chunk,
    post,
    stage,
    streams,
    then_resets,
    until,
)
from tests.edge.test_paths import RESPONSES, named

BOTH = pytest.mark.parametrize("plain", [False, True], ids=["edge", "asgi"])
NEW = json.dumps({"id": "resp_new", "object": "response"}).encode()


def going_on(response_id: str = "resp_1", headers: list[tuple[str, str]] | None = None, **fields: object) -> bytes:
    body = {"model": MODEL, "input": "And?", "previous_response_id": response_id, **fields}
    return post(body, RESPONSES, headers or [])


class Keeps:
    """A cluster that keeps some responses: it answers GET for them, and POST as told."""

    def __init__(self, cluster: ScriptedCluster, *ids: str, other: int = 404) -> None:
        self.ids = ids
        self.other = other
        self.posts = 0
        cluster.plays(self)

    async def __call__(self, request: Request) -> None:
        method, path, _ = request.line.split(" ")
        if method == "POST":
            self.posts += 1
            await answers(NEW)(request)
        else:
            found = path.removeprefix(f"{RESPONSES}/") in self.ids
            await answers(b"{}", 200 if found else self.other)(request)


@BOTH
@pytest.mark.parametrize("stream", [False, True])
async def test_answer_that_passed_by_is_remembered(stream: bool, plain: bool) -> None:
    created = named("response.created", sequence_number=0, response={"id": "resp_1"})
    first = streams(created, named("response.completed")) if stream else answers(b'{"id":"resp_1","output":[]}')
    async with stage(plain=plain) as here:
        here.near.plays(answers(b"", 503))
        here.middle.plays(first, answers(NEW))
        answer = await here.ask(post(path=RESPONSES, stream=stream))
        assert answer["x-tradewind-cluster"] == "middle"
        here.near.plays(answers(b'{"id":"resp_2"}'))
        answer = await here.ask(going_on())
        assert (answer.status, answer["x-tradewind-cluster"], answer.body) == (200, "middle", NEW)
        assert len(here.near.requests) == 1
        assert (await here.ask(going_on("resp_new")))["x-tradewind-cluster"] == "middle"
        assert [request.line.split()[0] for request in here.middle.requests] == ["POST"] * 3  # Nobody was asked.


@BOTH
async def test_cluster_that_keeps_it_is_found_by_asking(plain: bool) -> None:
    async with stage(plain=plain) as here:
        near, middle, far = Keeps(here.near), Keeps(here.middle), Keeps(here.far, "resp_1")
        answer = await here.ask(going_on())
        assert (answer.status, answer["x-tradewind-cluster"], answer["x-tradewind-attempts"]) == (200, "far", "1")
        assert (near.posts, middle.posts, far.posts) == (0, 0, 1)
        assert here.door.responses.memory.get("resp_1") == Holder("far", None)
        asked = len(here.near.requests)
        assert (await here.ask(going_on()))["x-tradewind-cluster"] == "far"
        assert len(here.near.requests) == asked


@BOTH
async def test_response_that_nobody_keeps_is_not_found(plain: bool) -> None:
    async with stage(plain=plain) as here:
        kept = [Keeps(here.near), Keeps(here.middle, other=405), Keeps(here.far, other=400)]
        answer = await here.ask(going_on())
        assert (answer.status, answer.code, answer["x-should-retry"]) == (404, "not_found", "false")
        assert answer.json["error"]["param"] == "previous_response_id"
        assert not any(one.posts for one in kept)


@BOTH
@pytest.mark.parametrize("other", [500, 503, 401, 429])
async def test_cluster_that_cannot_say_makes_it_unknown(other: int, plain: bool) -> None:
    async with stage(plain=plain) as here:
        Keeps(here.near), Keeps(here.middle), Keeps(here.far, other=other)
        answer = await here.ask(going_on())
        assert (answer.status, answer.code) == (503, "no_cluster")
        assert int(answer["retry-after"]) >= 1


@BOTH
async def test_cluster_that_is_silent_makes_it_unknown(plain: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holders, "ASK_S", 0.2)
    async with stage(plain=plain) as here:
        Keeps(here.near), Keeps(here.middle)
        here.far.plays(Hangs())
        answer = await here.ask(going_on())
        assert (answer.status, answer.code) == (503, "no_cluster")


async def test_silent_cluster_does_not_keep_a_call_from_who_keeps_its_response() -> None:
    async with stage() as here:
        hangs = Hangs()
        here.near.plays(hangs)
        Keeps(here.middle), Keeps(here.far, "resp_1")
        assert (await here.ask(going_on()))["x-tradewind-cluster"] == "far"
        await hangs.abandoned()


@BOTH
@pytest.mark.parametrize("fault", [then_resets(), answers(b"x", 503), answers(b"x", 429), answers(b"x", 500)])
async def test_nobody_else_is_tried(fault: object, plain: bool) -> None:
    async with stage(plain=plain) as here:
        here.door.responses.memory.put("resp_1", Holder("middle", None))
        here.middle.plays(fault)  # type: ignore[arg-type]
        answer = await here.ask(going_on())
        assert answer.status in (429, 502)
        assert answer["x-tradewind-attempts"] == "1"
        assert not here.near.requests
        assert not here.far.requests


async def test_stream_that_breaks_is_not_begun_elsewhere() -> None:
    created = named("response.created", sequence_number=0, response={"id": "resp_2"})
    async with stage() as here:
        here.door.responses.memory.put("resp_1", Holder("middle", None))
        here.middle.plays(then_resets(STREAM_HEAD + chunk(created)))
        answer = await here.ask(going_on(stream=True))
        assert b"stream_broken" in answer.events[-1]
        assert not here.near.requests


async def test_ejected_keeper_makes_it_refused_with_the_reason() -> None:
    async with stage() as here:
        here.door.responses.memory.put("resp_1", Holder("middle", None))
        await here.middle.refuse()
        for _ in range(10):
            answer = await here.ask(going_on())
            assert answer.status == 503
            here.door.feed.tick()
        assert "middle" not in [cluster for (cluster, kind) in here.attempts() if kind == OutcomeKind.SERVED]
        assert not here.near.requests


async def test_keeper_outside_the_allowed_regions_is_not_asked() -> None:
    async with stage() as here:
        kept = [Keeps(here.near), Keeps(here.middle), Keeps(here.far, "resp_1")]
        answer = await here.ask(going_on(headers=[("x-tradewind-regions", "us-central1,us-east4")]))
        assert answer.status == 404
        assert not here.far.requests
        assert not any(one.posts for one in kept)


async def test_keeper_that_has_forgotten_it_says_so_itself_and_keeps_its_model() -> None:
    async with stage() as here:
        here.door.responses.memory.put("resp_1", Holder("near", None))
        body = b'{"error":{"message":"Response with id \'resp_1\' not found. (model x)","code":404}}'
        here.near.plays(answers(body, 404), answers(NEW))
        answer = await here.ask(going_on())
        assert (answer.status, answer.body) == (404, body)
        here.door.feed.tick()
        assert (await here.ask(post(path=RESPONSES)))["x-tradewind-cluster"] == "near"


async def test_response_of_another_tenant_does_not_exist() -> None:
    hashes = {name: hashlib.sha256(f"key-{name}".encode()).hexdigest() for name in ("ann", "bob")}
    keys = ApiKeys([KeyRow(id=name, tenant=name, sha256=found) for name, found in hashes.items()])
    async with stage(keys=keys) as here:
        here.near.plays(answers(b'{"id":"resp_1"}'), answers(NEW))
        ann, bob = ([("authorization", f"Bearer key-{name}")] for name in ("ann", "bob"))
        assert (await here.ask(post(path=RESPONSES, headers=ann))).status == 200
        answer = await here.ask(going_on(headers=bob))
        assert (answer.status, answer.json["error"]["param"]) == (404, "previous_response_id")
        assert (await here.ask(going_on(headers=ann))).status == 200


@pytest.mark.parametrize("response_id", ["", "a/../../admin", "a b", "x" * 200, "é"])
async def test_id_that_is_none_is_asked_of_nobody(response_id: str) -> None:
    async with stage() as here:
        answer = await here.ask(going_on(response_id))
        assert (answer.status, answer.code) == (404, "not_found")
        assert not here.near.requests


async def test_only_so_many_are_looked_for_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holders, "ASKED_AT_ONCE_MAX", 1)
    async with stage(names=["near"]) as here:
        hangs = Hangs(then=b"HTTP/1.1 404 X\r\ncontent-length: 0\r\n\r\n")
        here.near.plays(hangs)
        first = asyncio.ensure_future(here.ask(going_on()))
        await hangs.began.wait()
        answer = await here.ask(going_on("resp_2"))
        assert (answer.status, answer.code) == (503, "too_busy")
        hangs.go.set()
        assert (await first).status == 404


async def test_client_that_leaves_while_it_is_looked_for_leaves_nothing_behind() -> None:
    async with stage(names=["near"]) as here:
        hangs = Hangs(then=b"HTTP/1.1 200 X\r\ncontent-length: 0\r\n\r\n")
        here.near.plays(hangs, answers(NEW))
        client = await here.client()
        await client.send(going_on())
        await hangs.began.wait()
        client.close()
        await here.settled()
        hangs.go.set()
        await until(lambda: here.door.responses.memory.get("resp_1"), "it is found all the same")
        assert len(here.near.requests) == 1


async def test_deadline_passes_while_it_is_looked_for() -> None:
    async with stage(names=["near"], timeouts=TimeoutSettings(connect_s=5)) as here:
        here.near.plays(Hangs())
        answer = await here.ask(going_on(headers=[("x-tradewind-deadline-ms", "100")]))
        assert (answer.status, answer.code) == (504, "deadline_exceeded")
        await looked_for(here)


async def looked_for(here: Stage) -> None:
    """Wait until nobody is asked any more."""
    await until(lambda: not here.door.responses._asking, "asking ends")
