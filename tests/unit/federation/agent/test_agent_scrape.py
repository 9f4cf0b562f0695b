"""Looking at model servers over real sockets: whoever does not answer well is not ready."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

import pytest

from federation.agent import scrape
from federation.agent.facts import ScrapeResult
from federation.agent.scrape import Scraper
from federation.clock import ManualClock
from federation.embedded import free_port

PAGE = b'vllm:num_requests_running{model_name="m"} 2.0\n'
MODELS = json.dumps({"data": [{"id": "m"}, {"id": "lora", "parent": "m"}]}).encode()
BOUND_S = 0.5

Answer = tuple[int, bytes] | Callable[[asyncio.StreamWriter], Awaitable[None]]


class Double:
    """A model server in this process: answers each path as told, and counts how often it was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {"/metrics": (200, PAGE), "/v1/models": (200, MODELS)}
        self.asked: dict[str, int] = {}
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                path = head.split()[1].decode()
                self.asked[path] = self.asked.get(path, 0) + 1
                answer = self.answers.get(path, (404, b""))
                if callable(answer):
                    await answer(writer)
                    return
                status, body = answer
                writer.write(b"HTTP/1.1 %d X\r\ncontent-length: %d\r\n\r\n%s" % (status, len(body), body))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def running(double: Double) -> AsyncIterator[Double]:
    server = await asyncio.start_server(double.serve, "127.0.0.1", double.port)
    double.port = server.sockets[0].getsockname()[1]
    try:
        yield double
    finally:
        server.close()


@pytest.fixture
async def double() -> AsyncIterator[Double]:
    async with running(Double()) as made:
        yield made


def scraper(*doubles: Double, clock: ManualClock | None = None) -> Scraper:
    return Scraper([made.url for made in doubles], clock or ManualClock(), BOUND_S)


async def silence(_: asyncio.StreamWriter) -> None:
    await asyncio.sleep(30)


async def reset(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def drip(writer: asyncio.StreamWriter) -> None:
    """A byte now and then: no single read is ever late."""
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")
    while not writer.is_closing():
        writer.write(b"a")
        await writer.drain()
        await asyncio.sleep(0.05)


async def flood(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
    while not writer.is_closing():
        writer.write(b"vllm:x 1\n" * 10_000)
        await writer.drain()


async def noise(writer: asyncio.StreamWriter) -> None:
    writer.write(b"\x00\x01not http\r\n\r\n")
    await writer.drain()


async def test_a_server_that_answers_is_ready_with_its_figures(double: Double) -> None:
    async with scraper(double) as looking:
        (facts,) = await looking.scrape()
    assert (facts.url, facts.result, facts.ready) == (double.url, ScrapeResult.OK, True)
    assert facts.page is not None
    assert facts.page.models["m"].running == 2.0
    assert (facts.served.models, dict(facts.served.adapters)) == (("m",), {"m": ("lora",)})


@pytest.mark.parametrize(
    ("answers", "result"),
    [
        ({"/metrics": silence}, ScrapeResult.TIMEOUT),
        ({"/metrics": drip}, ScrapeResult.TIMEOUT),
        ({"/v1/models": silence}, ScrapeResult.TIMEOUT),
        ({"/metrics": (500, b"")}, ScrapeResult.STATUS),
        ({"/metrics": (503, b"")}, ScrapeResult.STATUS),
        ({"/v1/models": (503, b"loading")}, ScrapeResult.STATUS),
        ({"/metrics": (301, b"")}, ScrapeResult.STATUS),
        ({"/metrics": (200, b"<html>log in</html>")}, ScrapeResult.GARBAGE),
        ({"/metrics": (200, b"")}, ScrapeResult.GARBAGE),
        ({"/v1/models": (200, b"{}")}, ScrapeResult.GARBAGE),
        ({"/metrics": (404, b""), "/v1/models": (200, b'{"data": []}')}, ScrapeResult.NO_MODELS),
        ({"/metrics": (404, b""), "/v1/models": (404, b"")}, ScrapeResult.STATUS),
        ({"/metrics": reset}, ScrapeResult.BROKEN),
        ({"/metrics": noise}, ScrapeResult.BROKEN),
    ],
)
async def test_whoever_does_not_answer_well_is_not_ready(
    double: Double, answers: Mapping[str, Answer], result: ScrapeResult
) -> None:
    double.answers.update(answers)
    async with scraper(double) as looking:
        (facts,) = await looking.scrape()
    assert facts.result is result
    assert not facts.ready


async def test_nobody_there_is_refused() -> None:
    absent = Double()
    absent.port = free_port()
    async with scraper(absent) as looking:
        assert (await looking.scrape())[0].result is ScrapeResult.REFUSED


async def test_an_endless_answer_is_not_read_to_its_end(double: Double, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scrape, "PAGE_BYTES_MAX", 100_000)
    double.answers["/metrics"] = flood
    async with scraper(double) as looking:
        assert (await looking.scrape())[0].result is ScrapeResult.OVERSIZED


@pytest.mark.parametrize("status", [401, 403, 404, 405, 501])
async def test_a_server_without_metrics_is_ready_with_unknown_load(double: Double, status: int) -> None:
    double.answers["/metrics"] = (status, b"")
    async with scraper(double) as looking:
        (facts,) = await looking.scrape()
        assert (facts.result, facts.ready, facts.page) == (ScrapeResult.NO_METRICS, True, None)
        double.answers["/v1/models"] = (503, b"")
        assert not (await looking.scrape())[0].ready  # The list is all that shows that it lives.


async def test_metrics_of_an_unknown_kind_are_no_metrics(double: Double) -> None:
    double.answers["/metrics"] = (200, b"tgi_queue_size 3\n")
    async with scraper(double) as looking:
        assert (await looking.scrape())[0].result is ScrapeResult.NO_METRICS


async def test_a_list_behind_a_key_is_made_up_for_by_the_metrics(double: Double) -> None:
    double.answers["/v1/models"] = (401, b"")
    async with scraper(double) as looking:
        (facts,) = await looking.scrape()
    assert facts.ready
    assert facts.served.models == ()


async def test_one_frozen_server_costs_the_bound_and_hides_no_other(double: Double) -> None:
    frozen = Double()
    frozen.answers["/metrics"] = silence
    async with running(frozen), scraper(frozen, double) as looking:
        for _ in range(3):
            started = time.monotonic()
            stuck, well = await looking.scrape()
            assert time.monotonic() - started < BOUND_S + 2.0
            assert (stuck.result, well.result) == (ScrapeResult.TIMEOUT, ScrapeResult.OK)


async def test_models_are_asked_for_again_every_ten_seconds_and_after_an_absence(double: Double) -> None:
    clock = ManualClock()
    async with scraper(double, clock=clock) as looking:
        for _ in range(3):
            await looking.scrape()
        assert double.asked == {"/metrics": 3, "/v1/models": 1}
        clock.advance(10.0)
        await looking.scrape()
        assert double.asked["/v1/models"] == 2
        double.answers["/metrics"] = (503, b"")
        await looking.scrape()
        double.answers["/metrics"] = (200, PAGE)
        double.answers["/v1/models"] = (200, b'{"data": [{"id": "other"}]}')
        (facts,) = await looking.scrape()
        assert facts.served.models == ("other",)


async def test_a_server_that_went_away_keeps_its_models_and_comes_back(double: Double) -> None:
    async with scraper(double) as looking:
        await looking.scrape()
        double.answers["/metrics"] = reset
        (facts,) = await looking.scrape()
        assert (facts.ready, facts.served.models, facts.page) == (False, ("m",), None)
        double.answers["/metrics"] = (200, PAGE)
        assert (await looking.scrape())[0].ready
