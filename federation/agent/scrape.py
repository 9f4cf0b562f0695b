"""The outside world of model servers: their metrics pages and lists of models, over HTTP.

All servers are asked at once, each within the same bound, so a frozen one costs the bound
and no more. An answer larger than what a real server says is not read to its end.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from types import TracebackType

import httpx
import structlog

from federation.agent.exposition import Page, looks_like_exposition, read_page
from federation.agent.facts import ScrapeResult, Served, ServerFacts, read_models
from federation.clock import Clock

log = structlog.get_logger()

PAGE_BYTES_MAX = 4 * 1024 * 1024
MODELS_EACH_S = 10.0

# Neither says that the server is unwell: 404 and 405 no such page, 401 and 403 not for us,
# 501 llama.cpp started without --metrics.
_NO_METRICS = frozenset({401, 403, 404, 405, 501})
_NO_LIST = frozenset({401, 403, 404, 405})


class _Unready(Exception):
    def __init__(self, result: ScrapeResult, detail: str) -> None:
        super().__init__(detail)
        self.result = result


@dataclass(frozen=True, slots=True)
class _Known:
    """What we remember of a server between two looks."""

    result: ScrapeResult | None = None
    served: Served = field(default_factory=Served)
    listed_at: float | None = None  # When its models were last asked for, and answered.


class Scraper:
    """Looks at the same model servers again and again; holds the connections. Use as `async with`."""

    def __init__(self, urls: Sequence[str], clock: Clock, timeout_s: float) -> None:
        assert timeout_s > 0
        self._known = {url.rstrip("/"): _Known() for url in urls}
        self._clock = clock
        self._timeout_s = timeout_s
        self._http = httpx.AsyncClient(
            timeout=timeout_s,
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=None),
            headers={"accept-encoding": "identity"},  # Nothing to inflate: the bound on size is the bound on work.
            trust_env=False,  # A proxy of the environment is not the way to a model server beside us.
        )

    async def __aenter__(self) -> "Scraper":
        return self

    async def __aexit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        await self._http.aclose()

    async def scrape(self) -> tuple[ServerFacts, ...]:
        """One look at every server, in the order given; takes at most the bound. Never raises for what they do."""
        async with asyncio.TaskGroup() as looks:
            tasks = [looks.create_task(self._look(url)) for url in self._known]
        return tuple(task.result() for task in tasks)

    async def _look(self, url: str) -> ServerFacts:
        before, page, detail = self._known[url], None, ""
        now = self._clock.monotonic()
        try:
            async with asyncio.timeout(self._timeout_s):
                page = await self._metrics(url)
                if self._list_is_due(before, page, now):
                    before = replace(before, served=await self._models(url, before, page), listed_at=now)
            result = ScrapeResult.OK if page is not None else ScrapeResult.NO_METRICS
            if not before.served.models and not (page is not None and any(page.models)):
                raise _Unready(ScrapeResult.NO_MODELS, "neither /v1/models nor /metrics names a model")
        except _Unready as error:
            result, detail = error.result, str(error)
        except (TimeoutError, httpx.TimeoutException):
            result, detail = ScrapeResult.TIMEOUT, f"no answer within {self._timeout_s:g} s"
        except httpx.ConnectError as error:
            result, detail = ScrapeResult.REFUSED, str(error)
        except Exception as error:  # The top of a task: one server's oddity must not hide the others.
            result, detail = ScrapeResult.BROKEN, f"{type(error).__name__}: {error}"
        if result is not before.result:
            tell = log.info if result in (ScrapeResult.OK, ScrapeResult.NO_METRICS) else log.warning
            tell("model server", url=url, result=result.value, detail=detail, models=before.served.models)
        self._known[url] = replace(before, result=result)
        return ServerFacts(url, result, before.served, page, now)

    def _list_is_due(self, before: _Known, page: Page | None, now: float) -> bool:
        if page is None or before.result not in (ScrapeResult.OK, ScrapeResult.NO_METRICS):
            return True  # Without metrics the list is what shows that it lives; after an absence it may have changed.
        return before.listed_at is None or now - before.listed_at >= MODELS_EACH_S

    async def _metrics(self, url: str) -> Page | None:
        """The server's page; None if it shows none that we know."""
        status, body = await self._get(url + "/metrics")
        if status in _NO_METRICS:
            return None
        if status != 200:
            raise _Unready(ScrapeResult.STATUS, f"/metrics answered {status}")
        if not looks_like_exposition(body):
            raise _Unready(ScrapeResult.GARBAGE, "/metrics is not in the Prometheus text format")
        page = read_page(body)
        return page if page.engine is not None else None

    async def _models(self, url: str, before: _Known, page: Page | None) -> Served:
        status, body = await self._get(url + "/v1/models")
        if status in _NO_LIST and page is not None:
            return before.served  # Perhaps its metrics name them.
        if status != 200:
            raise _Unready(ScrapeResult.STATUS, f"/v1/models answered {status}")
        served = read_models(body)
        if served is None:
            raise _Unready(ScrapeResult.GARBAGE, "/v1/models is not a list of models")
        return served

    async def _get(self, url: str) -> tuple[int, bytes]:
        async with self._http.stream("GET", url) as answer:
            body = bytearray()
            async for part in answer.aiter_raw():
                body += part
                if len(body) > PAGE_BYTES_MAX:
                    raise _Unready(ScrapeResult.OVERSIZED, f"more than {PAGE_BYTES_MAX} bytes from {url}")
            return answer.status_code, bytes(body)
