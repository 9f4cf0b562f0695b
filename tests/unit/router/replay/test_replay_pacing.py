"""Sending when the time has come, whatever the answers do."""

import asyncio
from collections.abc import Sequence

import pytest

from federation.clock import SystemClock
from router.replay.client import Done
from router.replay.pacing import Plan, due, replay, scaled
from router.replay.tally import Answer, Tally
from router.replay.traces import Arrival


class SilentClient:
    """Takes calls and answers those whose number is in `answered`."""

    def __init__(self, answered: Sequence[int] = ()) -> None:
        self.sent: list[tuple[bytes, bytes, float]] = []
        self.in_flight = 0
        self.quiet = asyncio.Event()
        self.answered = answered
        self.closed = False
        self.started = asyncio.get_running_loop().time()

    def send(self, body: bytes, headers: bytes, *, stream: bool, done: Done) -> None:
        now = asyncio.get_running_loop().time() - self.started
        if len(self.sent) in self.answered:
            done(Answer(sent_at=0.0, first_at=1.0))
        else:
            self.in_flight += 1
        self.sent.append((body, headers, now))
        if not self.in_flight:
            self.quiet.set()

    async def close(self) -> None:
        self.closed = True


def arrivals(*times: float) -> list[Arrival]:
    return [Arrival(at_s, 10, 5) for at_s in times]


async def test_arrivals_do_not_wait_for_answers_and_gaps_are_divided_by_speed() -> None:
    client, tally = SilentClient(), Tally()
    plan = Plan(model="m", speed=10.0, drain_s=0.0)
    await replay(arrivals(0.0, 1.0, 2.0), plan, client, tally, SystemClock())  # type: ignore[arg-type]
    times = [at for _, _, at in client.sent]
    assert tally.sent == 3
    assert times == [pytest.approx(0.0, abs=0.08), pytest.approx(0.1, abs=0.08), pytest.approx(0.2, abs=0.08)]
    assert client.closed
    assert 0 <= tally.late_s_max < 0.1


async def test_nothing_is_sent_after_its_time() -> None:
    plan = Plan(model="m", speed=2.0, for_s=1.0)
    assert due(arrivals(0.0, 1.0, 2.0, 2.1), plan) == 3
    assert due(arrivals(0.0, 9.0), Plan(model="m")) == 2


async def test_beyond_the_bound_a_call_fails_unsent() -> None:
    client, tally = SilentClient(), Tally()
    plan = Plan(model="m", in_flight_max=2, drain_s=0.0)
    await replay(arrivals(0.0, 0.0, 0.0), plan, client, tally, SystemClock())  # type: ignore[arg-type]
    assert (tally.sent, tally.failed) == (2, 1)
    assert "--max-in-flight" in tally.first_messages["not sent"]


async def test_regions_are_drawn_by_seed_and_lengths_scaled() -> None:
    drawn = []
    for _ in range(2):
        client, tally = SilentClient(answered=range(20)), Tally()
        plan = Plan(model="m", regions=("eu", "us"), tokens_scale=0.5, seed=3)
        await replay(arrivals(*[0.0] * 20), plan, client, tally, SystemClock())  # type: ignore[arg-type]
        drawn.append([headers for _, headers, _ in client.sent])
        assert all(b'"max_tokens":2' in body for body, _, _ in client.sent)
        assert tally.done == 20
    assert drawn[0] == drawn[1]
    assert set(drawn[0]) == {b"x-client-region: eu\r\n", b"x-client-region: us\r\n"}


def test_a_length_is_never_nothing() -> None:
    assert scaled(0, 1.0) == 1
    assert scaled(1, 0.1) == 1
    assert scaled(100, 0.25) == 25
