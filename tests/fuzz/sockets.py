"""The same over real sockets: clients, front door and clusters in one process, every byte through the kernel."""

import asyncio
import contextlib
from random import Random

from router.edge.call_log import CallLog
from router.settings import TimeoutSettings
from tests.edge.harness import RawClient, Request, Stage, reset, stage
from tests.fuzz.desync import MODEL, PATHS, Counts, differences, marked_answer
from tests.fuzz.reference import Incomplete, Invalid, read_answer
from tests.fuzz.requests import framed, segments

CLIENTS = 24
PIPELINE_MAX = 10
TIMES = TimeoutSettings(idle_s=1.0, first_byte_s=2.0, body_s=5.0)
WAIT_S = 60.0


def run(seed: int, calls: int) -> tuple[list[str], Counts]:
    """So many calls or a few more; what went wrong, and the counts."""
    return asyncio.run(_run(seed, calls))


async def _run(seed: int, calls: int) -> tuple[list[str], Counts]:
    counts = Counts()
    faults: list[str] = []
    async with stage(slots=1_000_000, timeouts=TIMES) as here:
        here.door.call_log = CallLog("none")
        here.door.budget.tokens = here.door.budget.tokens_max = 1e12
        for number, cluster in enumerate(here.clusters.values()):
            cluster.plays(_Marked(Random(f"cluster {seed} {number}")))
        async with asyncio.TaskGroup() as group:
            for number in range(CLIENTS):
                group.create_task(
                    _client(here, Random(f"client {seed} {number}"), f"{number:x}", calls, counts, faults)
                )
        counts.upstream_connections = sum(cluster.connections for cluster in here.clusters.values())
        await here.settled()
    return faults, counts


class _Marked:
    """Answers made of their request's mark, whole or cut."""

    def __init__(self, rng: Random) -> None:
        self.rng = rng

    async def __call__(self, request: Request) -> None:
        rng = self.rng
        answer, ends = marked_answer(rng, request.headers["x-request-id"].encode())
        chance = rng.random()
        if chance < 0.04:
            answer = answer[: rng.randrange(len(answer))]
        for piece in segments(rng, answer)[:50] if chance < 0.04 else segments(rng, answer):
            await request.send(piece)
            if rng.random() < 0.1:
                await asyncio.sleep(0)
        if chance < 0.04:
            reset(request.writer)
            raise ConnectionResetError
        if ends or chance > 0.98:
            request.writer.close()
            raise ConnectionResetError


async def _client(here: Stage, rng: Random, name: str, calls: int, counts: Counts, faults: list[str]) -> None:
    """Connections one after the other, until enough calls were made or something went wrong."""
    number = 0
    while counts.calls < calls and not faults:
        number += 1
        client = await here.client(receive_buffer=8_192 if rng.random() < 0.1 else None)
        marks = [f"{name}-{number}-{index}".encode() for index in range(rng.randint(1, PIPELINE_MAX))]
        counts.calls += len(marks)
        leaves = rng.random() < 0.15
        try:
            async with asyncio.timeout(WAIT_S):
                await _converse(client, rng, marks, leaves, counts, faults)
        except ConnectionError:
            counts.broken += 1
        except TimeoutError:
            faults.append(f"connection {name}-{number} hangs")
        counts.cancelled += leaves
        here._clients.remove(client)
        client.close()
        for cluster in here.clusters.values():
            cluster.requests.clear()


async def _converse(
    client: RawClient, rng: Random, marks: list[bytes], leaves: bool, counts: Counts, faults: list[str]
) -> None:
    sending = asyncio.ensure_future(_send(client, rng, marks))
    received = bytearray()
    at = read = 0
    leave_at = rng.randrange(20_000) if leaves else 1 << 60
    try:
        while read < len(marks):
            data = await client.reader.read(rng.choice((100, 5_000, 65_536)))
            received += data
            while True:
                try:
                    answer = read_answer(bytes(received), at, ended=not data)
                except Incomplete:
                    break
                except Invalid as error:
                    faults.append(f"no answer ({error}): {bytes(received[at:][:200])!r}")
                    return
                faults += differences(marks[read], answer, complete=True)
                counts.saw(answer, complete=True)
                at = answer.end
                read += 1
                if read == len(marks) and at < len(received):
                    faults.append(f"bytes behind the last answer: {bytes(received[at:][:200])!r}")
                if read == len(marks) or at == len(received):
                    break
            if not data or len(received) > leave_at:
                try:
                    read_answer(bytes(received), at)
                except Incomplete as error:
                    if error.message is not None:
                        faults += differences(marks[read], error.message, complete=False)
                counts.broken += not leaves
                return
    finally:
        sending.cancel()
        with contextlib.suppress(asyncio.CancelledError, ConnectionError):
            await sending


async def _send(client: RawClient, rng: Random, marks: list[bytes]) -> None:
    for mark in marks:
        pad = b"<%s>" % mark * rng.choice((1, 1, 50, 2_000))
        framing, body = framed(rng, b'{"model":"%s","prompt":"%s"}' % (MODEL.encode(), pad))
        lines = [b"POST %s HTTP/1.1" % rng.choice(PATHS), b"Host: door", b"x-request-id: " + mark, *framing, b"", b""]
        for piece in segments(rng, b"\r\n".join(lines) + body):
            client.writer.write(piece)
            if rng.random() < 0.1:
                await client.writer.drain()
                await asyncio.sleep(0)
    await client.writer.drain()
