"""What a call leaves in the log: a line where it failed, none else unless asked, and never what was said in it."""

import json

import pytest
import structlog.testing

from router.edge.call_log import LINES_PER_S, CallLog, LineLimit, outcomes_told
from router.errors import Kind
from tests.edge.harness import answers, completion, post, stage, then_closes


def lines_of(captured: list[dict[str, object]]) -> list[dict[str, object]]:
    return [line for line in captured if line["event"] in ("call failed", "call ended")]


async def test_a_call_that_failed_leaves_one_line() -> None:
    async with stage() as here:
        for cluster in here.clusters.values():
            cluster.plays(answers(b"x", 503))
        with structlog.testing.capture_logs() as captured:
            answer = await here.ask(post())
            assert answer.status == 502
        [line] = lines_of(captured)
        assert isinstance(line.pop("ms"), int)
        assert line == {
            "event": "call failed",
            "log_level": "warning",
            "outcome": "upstream_failed",
            "request_id": answer["x-request-id"],
            "path": "/v1/chat/completions",
            "tenant": "anonymous",
            "model": "tiny",
            "origin": "us-central1",
            "stream": False,
            "cluster": "far",
            "region": "europe-west4",
            "decision": "failover",
            "attempts": 3,
            "last_attempt": "unavailable",
        }


async def test_a_stream_that_broke_leaves_a_line_with_its_time_to_first_byte() -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    async with stage(names=["near"]) as here:
        here.near.plays(then_closes(head + b"a\r\ndata: {}\n\n\r\n"))
        with structlog.testing.capture_logs() as captured:
            await here.ask(post(stream=True))
        [line] = lines_of(captured)
        assert (line["outcome"], line["last_attempt"], line["stream"]) == ("stream_broken", "broken", True)
        assert isinstance(line["ttft_ms"], int)


async def test_what_went_well_or_was_the_clients_doing_leaves_none() -> None:
    async with stage() as here:
        with structlog.testing.capture_logs() as captured:
            assert (await here.ask(post())).status == 200
            assert (await here.ask(post(b"{"))).status == 400
            here.near.plays(answers(b'{"error":{"message":"too long"}}', 400))
            assert (await here.ask(post())).status == 400
        assert lines_of(captured) == []


async def test_every_call_leaves_one_where_that_is_wanted() -> None:
    secret = "the words of a prompt"
    async with stage() as here:
        here.door.call_log = CallLog("all")
        with structlog.testing.capture_logs() as captured:
            body = {"model": "tiny", "messages": [{"role": "user", "content": secret}]}
            assert (await here.ask(post(json.dumps(body).encode()))).body == completion("near")
            assert (await here.ask(post(b"{"))).status == 400
        served, refused = lines_of(captured)
        assert (served["event"], served["outcome"], served["cluster"]) == ("call ended", "served", "near")
        assert (refused["outcome"], "model" in refused, "cluster" in refused) == ("bad_body", False, False)
        assert secret not in str(captured)


async def test_an_outage_leaves_a_bounded_number() -> None:
    async with stage(names=["near"]) as here:
        here.near.plays(answers(b"x", 503))
        with structlog.testing.capture_logs() as captured:
            for _ in range(4 * LINES_PER_S):
                assert (await here.ask(post())).status >= 500
        lines = lines_of(captured)
        assert LINES_PER_S <= len(lines) < 4 * LINES_PER_S


def test_limit_counts_what_it_leaves_out_for_each_kind() -> None:
    limit = LineLimit(lines_per_s=2)
    assert [limit.left_out("a", now) for now in (0.0, 0.1, 0.2, 0.9)] == [0, 0, None, None]
    assert limit.left_out("b", 0.9) == 0
    assert [limit.left_out("a", now) for now in (1.0, 1.1, 1.2, 3.0)] == [2, 0, None, 1]


@pytest.mark.parametrize(
    ("which", "told"), [("none", set()), ("all", {*Kind, "served", "cancelled", "passed_through"})]
)
def test_all_or_none(which: str, told: set[str]) -> None:
    assert outcomes_told(which) == told


def test_failures_that_are_told_are_those_that_someone_on_call_can_act_on() -> None:
    told = outcomes_told("failed")
    assert told > {Kind.NO_ROOM, Kind.NO_CLUSTER, Kind.STREAM_BROKEN, Kind.FIRST_BYTE_TIMEOUT, Kind.INTERNAL}
    assert not told & {Kind.BAD_BODY, Kind.INVALID_API_KEY, Kind.MODEL_NOT_FOUND, Kind.REFUSED_BY_CLUSTER, "served"}
