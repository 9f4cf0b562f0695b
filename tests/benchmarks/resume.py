"""Streams that survive the loss of their region, and how long their clients wait: `python -m tests.benchmarks.resume`.

A whole fleet in processes: three emulated regions, their agents, one front door. Hundreds of
streams run over it when one region is killed (-9) or frozen (SIGSTOP). Each stream's text is
compared byte for byte with that of an undisturbed server. The gap is the longest time in which a
client got nothing, counted from the last bytes before the fault; beside it stands what a fresh
call from the lost region waits for its first byte in the same seconds.
"""

import asyncio
import json
import os
import platform
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import httpx

from federation.lab.model_server import ModelServer, ModelServerSettings
from tests.app.fleet import MODEL, REGIONS, Fleet

LOST = "europe-west4"
REPORT = Path("docs/benchmarks/resume.md")
SPEED = 0.4  # Of the emulated models, and of the network between regions: 16 tokens/s a stream.
REPLICAS = 6  # Of each region: two regions have slots for the streams of three.
STARTS_PER_S = 100.0
FRESH_EVERY_S = 0.1
FRESH_FOR_S = 3.0
WAIT_S = 120.0
UNDISTURBED_AT_ONCE = 32


def prompt(number: int) -> str:
    return f"Tell me about ship number {number}, and where it has been."


def asked(number: int, tokens: int, *, stream: bool) -> bytes:
    messages = [{"role": "user", "content": prompt(number)}]
    body = {"model": MODEL, "messages": messages, "max_tokens": tokens, "ignore_eos": True, "stream": stream}
    if stream:
        body["stream_options"] = {"include_usage": True}
    return json.dumps(body).encode()


class LiveStream(asyncio.Protocol):
    """One stream as its client reads it: the bytes, and when they came."""

    def __init__(self, origin: str, body: bytes) -> None:
        self.ended = asyncio.Event()
        self.first_byte_at: float | None = None
        self.sent_at = 0.0
        self.gap_s = 0.0  # The longest silence that ended after `disturbed`.
        self._origin = origin
        self._body = body
        self._last_at = 0.0
        self._disturbed = False
        self._received: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        lines = ["POST /v1/chat/completions HTTP/1.1", "Host: door", "Connection: close"]
        lines += [f"X-Client-Region: {self._origin}", f"Content-Length: {len(self._body)}", "", ""]
        self.sent_at = self._last_at = time.monotonic()
        transport.write("\r\n".join(lines).encode() + self._body)

    def data_received(self, data: bytes) -> None:
        now = time.monotonic()
        if self.first_byte_at is None:
            self.first_byte_at = now
        if self._disturbed:
            self.gap_s = max(self.gap_s, now - self._last_at)
        self._last_at = now
        self._received.append(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended.set()

    def disturbed(self) -> None:
        """The fault is done: from here on silences count."""
        self._disturbed = True

    @property
    def region(self) -> str:
        """Where it began."""
        for line in b"".join(self._received[:2]).split(b"\r\n"):
            if line.startswith(b"x-tradewind-region: "):
                return line.partition(b": ")[2].decode()
        return ""

    def read(self) -> tuple[str, bool, int]:
        """Its text, whether it ended as an undisturbed one does (one id, one role, [DONE]), and the tokens it tells."""
        text, ids, roles, ends, tokens, done = "", set(), 0, 0, 0, False
        for event in self._events():
            if event == b"[DONE]":
                done = True
                continue
            part = json.loads(event)
            if "error" in part:
                return text, False, tokens
            ids.add(part["id"])
            for choice in part["choices"]:
                text += choice["delta"].get("content") or ""
                roles += "role" in choice["delta"]
                ends += choice["finish_reason"] is not None
            if part.get("usage"):
                tokens = part["usage"]["completion_tokens"]
        return text, done and (len(ids), roles, ends) == (1, 1, 1), tokens

    def _events(self) -> list[bytes]:
        body, chunks = b"".join(self._received).partition(b"\r\n\r\n")[2], []
        while body:
            size, _, body = body.partition(b"\r\n")
            length = int(size, 16)
            chunks.append(body[:length])
            body = body[length + 2 :]
        lines = b"".join(chunks).split(b"\n")
        return [line.removeprefix(b"data: ") for line in lines if line.startswith(b"data: ")]


@dataclass
class Figures:
    """What one fault did to the streams of its region."""

    fault: str
    streams: int
    on_lost: int = 0
    survived: int = 0
    others_survived: int = 0
    gaps_s: list[float] = field(default_factory=list)  # Of those that survived.
    fresh_ttft_s: list[float] = field(default_factory=list)
    outcomes: dict[str, float] = field(default_factory=dict)

    @property
    def share(self) -> float:
        return self.survived / self.on_lost

    def row(self) -> str:
        gaps = [quantile(self.gaps_s, share) for share in (0.5, 0.99, 1.0)]
        ttft = [quantile(self.fresh_ttft_s, share) for share in (0.5, 0.99)]
        cells = [self.fault, self.streams, self.on_lost, f"{self.survived} ({self.share:.1%})"]
        cells += [f"{value:.2f}" for value in (*gaps, *ttft)]
        return "| " + " | ".join(map(str, cells)) + " |"


HEADER = """\
| fault | streams | in the lost region | survived, text equal | gap p50 s | p99 s | max s | fresh TTFT p50 s | p99 s |
|---|---:|---:|---:|---:|---:|---:|---:|---:|"""


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that `share` of them do not exceed; NaN of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


async def undisturbed(numbers: Sequence[int], tokens: int) -> dict[int, str]:
    """The texts that an emulated server gives to whoever asks it directly."""
    settings = ModelServerSettings(region="here", cluster="here", models=(MODEL,), replicas=1, speed=1000.0)
    server = ModelServer(settings, time.time)
    addresses = await server.start()
    found: dict[int, str] = {}
    turns = asyncio.Semaphore(UNDISTURBED_AT_ONCE)

    async def ask(client: httpx.AsyncClient, number: int) -> None:
        async with turns:
            body = asked(number, tokens, stream=False)
            answer = await client.post("/v1/chat/completions", content=body)
            found[number] = answer.json()["choices"][0]["message"]["content"]

    async with httpx.AsyncClient(base_url=addresses.endpoint, timeout=WAIT_S) as client:
        await asyncio.gather(*(ask(client, number) for number in numbers))
    server.stop()
    await asyncio.sleep(0)
    return found


async def disturb(fleet: Fleet, fault: str, streams: int, tokens: int) -> Figures:
    """Streams over all regions, the fault in one of them, and what became of each stream."""
    loop = asyncio.get_running_loop()
    host, _, port = fleet.url.removeprefix("http://").partition(":")

    async def begin(origin: str, body: bytes) -> LiveStream:
        _, stream = await loop.create_connection(lambda: LiveStream(origin, body), host, int(port))
        return stream

    live: list[LiveStream] = []
    due = loop.time()
    for number in range(streams):
        live.append(await begin(REGIONS[number % len(REGIONS)], asked(number, tokens, stream=True)))
        due += 1 / STARTS_PER_S
        await asyncio.sleep(max(0.0, due - loop.time()))
    async with asyncio.timeout(WAIT_S):
        while any(stream.first_byte_at is None for stream in live):
            await asyncio.sleep(0.05)
    await asyncio.sleep(1.0)
    hit = {number: one for number, one in enumerate(live) if one.region == LOST and not one.ended.is_set()}
    getattr(fleet, fault)("model", LOST)
    for stream in hit.values():
        stream.disturbed()
    if fault == "freeze":
        await _ejected(fleet)
    fresh = []
    for _ in range(int(FRESH_FOR_S / FRESH_EVERY_S)):
        fresh.append(await begin(LOST, asked(len(live) + len(fresh), 1, stream=True)))
        await asyncio.sleep(FRESH_EVERY_S)
    async with asyncio.timeout(WAIT_S):
        await asyncio.gather(*(stream.ended.wait() for stream in (*live, *fresh)))
    texts = await undisturbed(range(streams), tokens)
    whole = {number for number, one in enumerate(live) if one.read() == (texts[number], True, tokens)}
    outcomes = ("resumed", "complete", "not_kept", "no_candidate", "failed", "suspected", "budget", "unreadable")
    return Figures(
        fault=fault,
        streams=streams,
        on_lost=len(hit),
        survived=len(whole & set(hit)),
        others_survived=len(whole - set(hit)),
        gaps_s=[one.gap_s for number, one in hit.items() if number in whole],
        fresh_ttft_s=[one.first_byte_at - one.sent_at for one in fresh if one.first_byte_at is not None],
        outcomes={name: fleet.metric("tradewind_resumes_total", outcome=name) for name in outcomes},
    )


async def _ejected(fleet: Fleet) -> None:
    async with asyncio.timeout(WAIT_S):
        while (await asyncio.to_thread(fleet.cluster, LOST))["standing"]["state"] != "ejected":
            await asyncio.sleep(0.05)


def run(fault: str, streams: int, tokens: int, speed: float = SPEED) -> Figures:
    """One fleet, one fault."""
    with Fleet("--seed", "8", "--restart-after", "0", "--replicas", str(REPLICAS), "--speed", str(speed)) as fleet:
        fleet.wait_fresh()
        return asyncio.run(disturb(fleet, fault, streams, tokens))


def report(rounds: Sequence[Figures], tokens: int) -> str:
    """The page that holds the figures."""
    cores = os.cpu_count()
    machine = f"Python {platform.python_version()}, {cores} cores, {platform.machine()}"
    ttft = statistics.median(value for one in rounds for value in one.fresh_ttft_s)
    return f"""# Streams that survive the loss of their region

Three emulated regions of {REPLICAS} replicas, their agents, one front door and the clients on one machine. While the
streams run, each of {tokens} tokens with a limit and counts asked for, one region's model servers are killed
(`kill -9`) or frozen (SIGSTOP). A stream has survived if its text is byte for byte that of an undisturbed server, with
one id, one role, one end and the right count of tokens. The *gap* is the longest time in which its client got nothing.
A fresh call from the lost region in the same seconds waits the *fresh TTFT* (median of all rounds {ttft:.2f} s): what a
stream that goes on has to wait for at least. Models and network run at {SPEED:g} of their speed, so that {cores} cores
can carry them; so round trips between regions are {1 / SPEED:g} times as long as in life, and a stream that goes on
pays two, one of them for the count of its tokens.

Made by `python -m tests.benchmarks.resume` ({machine}).

{HEADER}
{chr(10).join(one.row() for one in rounds)}

A frozen region breaks nothing by itself: until probes have called it unreachable (three silent ones, about 1.5 s) its
streams only wait, which is most of their gap.
"""


@click.command()
@click.option("--streams", default=500, show_default=True)
@click.option("--tokens", default=300, show_default=True)
@click.option("--rounds", default=3, show_default=True)
@click.option("--write/--no-write", default=True, show_default=True, help=f"Write {REPORT}.")
def main(streams: int, tokens: int, rounds: int, write: bool) -> None:
    """Kill and freeze a region in mid-stream, and print what became of its streams."""
    found: list[Figures] = []
    click.echo(HEADER)
    for fault in ("kill", "freeze"):
        for _ in range(rounds):
            figures = run(fault, streams, tokens)
            found.append(figures)
            told: dict[str, Any] = {name: int(count) for name, count in figures.outcomes.items() if count}
            click.echo(f"{figures.row()}  {told}")
    if write:
        REPORT.write_text(report(found, tokens))


if __name__ == "__main__":
    main()
