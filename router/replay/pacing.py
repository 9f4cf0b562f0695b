"""Sending a trace when its times come, whatever the answers do: the loop is open. Speaks to the event loop."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from random import Random
from typing import Final

import msgspec

from federation.clock import Clock
from router.replay.client import Client, encode_headers
from router.replay.prompts import chat_body, prompt_text
from router.replay.tally import Answer, Tally
from router.replay.traces import Arrival

BURST_MAX: Final = 32  # Calls sent before answers are looked at again, when many are due at once.
REGION_HEADER: Final = "x-client-region"


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How a trace is replayed."""

    model: str
    speed: float = 1.0  # Gaps between arrivals are divided by it.
    for_s: float | None = None  # Nothing is sent after so many seconds; None: the whole trace.
    drain_s: float = 120.0  # How long answers are waited for after the last call was sent.
    stream: bool = True
    regions: tuple[str, ...] = ()  # Where calls say that they come from, drawn at random; none: they say nothing.
    in_flight_max: int = 2_000
    tokens_scale: float = 1.0  # Lengths are multiplied by it.
    seed: int = 0


def scaled(tokens: int, scale: float) -> int:
    """A length to ask for: at least one token."""
    return max(1, round(tokens * scale))


def due(arrivals: Sequence[Arrival], plan: Plan) -> int:
    """How many arrivals fall within the plan's time."""
    if plan.for_s is None:
        return len(arrivals)
    return sum(arrival.at_s / plan.speed <= plan.for_s for arrival in arrivals)


async def replay(arrivals: Sequence[Arrival], plan: Plan, client: Client, tally: Tally, clock: Clock) -> None:
    """Send what the plan says and fill `tally`; returns when every call has ended, or `drain_s` after the last."""
    rng = Random(plan.seed)
    headers = [encode_headers([(REGION_HEADER, region)]) for region in plan.regions] or [b""]
    started = clock.monotonic()
    try:
        since_pause = 0
        for number, arrival in enumerate(arrivals[: due(arrivals, plan)]):
            wait_s = arrival.at_s / plan.speed - (clock.monotonic() - started)
            if wait_s > 0 or since_pause >= BURST_MAX:
                await asyncio.sleep(max(0.0, wait_s))
                since_pause = 0
            since_pause += 1
            tally.late_s_max = max(tally.late_s_max, clock.monotonic() - started - arrival.at_s / plan.speed)
            _send(arrival, number, plan, rng.choice(headers), client, tally.add, tally)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(plan.drain_s):
                await client.quiet.wait()
    finally:
        await client.close()
        tally.wall_s = clock.monotonic() - started


def _send(
    arrival: Arrival,
    number: int,
    plan: Plan,
    headers: bytes,
    client: Client,
    done: Callable[[Answer], None],
    tally: Tally,
) -> None:
    if client.in_flight >= plan.in_flight_max:
        tally.fail("not sent", f"{plan.in_flight_max} calls are under way (--max-in-flight); an open loop cannot wait")
        return
    prompt = prompt_text(arrival, number, scaled(arrival.prompt_tokens, plan.tokens_scale))
    tokens_max = scaled(arrival.output_tokens, plan.tokens_scale)
    body = chat_body(plan.model, prompt, tokens_max, stream=plan.stream)
    tally.sent += 1
    client.send(body, headers, stream=plan.stream, done=done)
