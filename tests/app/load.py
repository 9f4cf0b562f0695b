"""A steady load by the official client: open loop, half of it streams, every call accounted for."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import httpx
import openai

from tests.app.fleet import MODEL, REGIONS


@dataclass(slots=True)
class CallRecord:
    """One call as its client saw it. Times are loop seconds."""

    number: int
    stream: bool
    origin: str
    sent_at: float
    first_byte_at: float | None = None
    ended_at: float | None = None
    region: str = ""
    decision: str = ""
    error: str = ""
    text: str = ""


@dataclass(slots=True)
class Load:
    """Sends `rate` calls a second until told to stop, whether or not earlier ones have returned."""

    url: str
    rate: float = 50.0
    max_tokens: int = 25
    origins: tuple[str, ...] = REGIONS
    records: list[CallRecord] = field(default_factory=list)
    _stop: asyncio.Event = field(default_factory=asyncio.Event)
    _task: "asyncio.Task[None] | None" = None
    _client: openai.AsyncOpenAI = field(init=False)

    async def __aenter__(self) -> "Load":
        self._client = openai.AsyncOpenAI(
            base_url=f"{self.url}/v1",
            api_key="none",
            max_retries=0,
            timeout=60.0,
        )
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()
        await self._client.close()

    async def stop(self) -> None:
        """Send no more, and wait for what is under way."""
        self._stop.set()
        if self._task is not None:
            await self._task

    async def run_for(self, seconds: float) -> None:
        """Let the load run for a while: the time is what is tested here."""
        await asyncio.sleep(seconds)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        async with asyncio.TaskGroup() as group:
            while not self._stop.is_set():
                number = len(self.records)
                record = CallRecord(
                    number=number,
                    stream=number % 2 == 0,
                    origin=self.origins[number // 2 % len(self.origins)],
                    sent_at=loop.time(),
                )
                self.records.append(record)
                group.create_task(self._call(record))
                due += 1 / self.rate
                await asyncio.sleep(max(0.0, due - loop.time()))

    async def _call(self, record: CallRecord) -> None:
        loop = asyncio.get_running_loop()
        arguments: dict[str, Any] = {
            "model": MODEL,
            "messages": [{"role": "user", "content": f"Tell me about ship number {record.number}."}],
            "max_tokens": self.max_tokens,
            "extra_headers": {"x-client-region": record.origin},
            "extra_body": {"ignore_eos": True},
        }
        try:
            if record.stream:
                raw = await self._client.chat.completions.with_raw_response.create(stream=True, **arguments)
                self._place(record, raw.headers)
                done = False
                async for chunk in raw.parse():
                    if record.first_byte_at is None:
                        record.first_byte_at = loop.time()
                    if chunk.choices:
                        record.text += chunk.choices[0].delta.content or ""
                        done = done or chunk.choices[0].finish_reason is not None
                if not done:
                    record.error = "ended without a finish reason"
            else:
                raw = await self._client.chat.completions.with_raw_response.create(**arguments)
                self._place(record, raw.headers)
                record.first_byte_at = loop.time()
                record.text = raw.parse().choices[0].message.content or ""
        except openai.APIError as error:
            record.error = f"{type(error).__name__}: {error}"
        record.ended_at = loop.time()

    @staticmethod
    def _place(record: CallRecord, headers: httpx.Headers) -> None:
        record.region = headers["x-tradewind-region"]
        record.decision = headers["x-tradewind-decision"]

    # Reading the records.

    def failed(self) -> list[CallRecord]:
        return [record for record in self.records if record.error]

    def failed_before_first_byte(self) -> list[CallRecord]:
        """The ones that a front door could have saved."""
        return [record for record in self.failed() if record.first_byte_at is None]

    def placed_in(self, region: str, since: float) -> list[CallRecord]:
        """Calls sent after `since` that were served in a region."""
        return [record for record in self.records if record.region == region and record.sent_at > since]
