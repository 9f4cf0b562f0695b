"""Calls at a steady rate, whether or not earlier ones have returned; a record of each. Speaks to the front door."""

import asyncio
from collections import Counter, deque
from collections.abc import Callable

from tests.soak.ask import Ask, Kind, ask
from tests.soak.connection import Answer, Connection, Ended
from tests.soak.reading import mistake, read_answer
from tests.soak.verdict import Outcome, Record

CALL_S_MAX = 90.0
UNDER_WAY_MAX = 600  # Beyond it a call is left out and counted: the machine cannot bear it.
IDLE_MAX = 20
REUSED = 3  # Of four calls, where an idle connection is there.
LEAVES_S = 0.2  # Of a client that leaves before the first byte.
EVENT_TO_TEXT = 10  # An event is some ten times as long as its text.
SLOW_BYTES, SLOW_S = 8 * 1024, 0.05  # Between two reads.


class Load:
    """`ended` is told of each call when it is over."""

    def __init__(
        self, url: str, key: str, rate: float, seed: int, now: Callable[[], float], ended: Callable[[Record], None]
    ) -> None:
        host, _, port = url.removeprefix("http://").rpartition(":")
        self._address = (host, int(port))
        self._key = key
        self._rate = rate
        self._seed = seed
        self._now = now
        self._ended = ended
        self._idle: deque[Connection] = deque()
        self.under_way = 0
        self.left_out = 0
        self.late_s_max = 0.0  # How far the load itself fell behind.
        self.counts: Counter[tuple[Kind, Outcome]] = Counter()

    async def run(self, seconds: float) -> None:
        """Until all calls of so many seconds have ended."""
        async with asyncio.TaskGroup() as group:
            for number in range(int(seconds * self._rate)):
                due = number / self._rate
                await asyncio.sleep(max(0.0, due - self._now()))
                self.late_s_max = max(self.late_s_max, self._now() - due)
                if self.under_way >= UNDER_WAY_MAX:
                    self.left_out += 1
                    continue
                self.under_way += 1
                group.create_task(self._call(number))

    def close(self) -> None:
        """Leave the idle connections."""
        while self._idle:
            self._idle.pop().close()

    async def _call(self, number: int) -> None:
        asked = ask(number, self._seed)
        records = [Record(number, one, self._now()) for one in (asked, *asked.then)]
        reuse = number % 4 < REUSED
        connection: Connection | None = None
        try:
            async with asyncio.timeout(CALL_S_MAX):
                connection = await self._connection(asked, reuse)
                answers = await self._exchange(connection, asked, len(records), reuse)
            self._judge(records, answers)
        except Ended as ended:
            self._judge(records, ended.args[0])
        except TimeoutError:
            for record in records:
                record.error = f"nothing more came within {CALL_S_MAX:g} s"
        except OSError as error:
            for record in records:
                record.error = f"the front door takes no connection: {error}"
        finally:
            if connection is not None:
                self._put_back(connection, reuse)
            self.under_way -= 1
        for record in records:
            record.ended_at = self._now()
            self.counts[record.kind, record.outcome] += 1
            self._ended(record)

    async def _exchange(self, connection: Connection, asked: Ask, answers: int, keep: bool) -> list[Answer]:
        request = asked.raw(self._key, keep_alive=keep)
        if asked.leaves_after == 0.0:
            await connection.send_and_wait(request, LEAVES_S)
            return [Answer()]
        slow = asked.kind in (Kind.SLOW_STREAM, Kind.SLOW_VECTORS)
        enough = bytes_until_leaving(asked)
        return await connection.exchange(
            request, answers, lambda answer: enough is None or len(answer.body) < enough, SLOW_S if slow else 0.0
        )

    async def _connection(self, asked: Ask, reuse: bool) -> Connection:
        if asked.kind in (Kind.SLOW_STREAM, Kind.SLOW_VECTORS):
            return await Connection.open(*self._address, receive_bytes=SLOW_BYTES)
        while reuse and self._idle:
            connection = self._idle.pop()
            if connection.usable:
                return connection
            connection.close()
        return await Connection.open(*self._address)

    def _put_back(self, connection: Connection, reuse: bool) -> None:
        if reuse and connection.usable and len(self._idle) < IDLE_MAX:
            self._idle.append(connection)
        else:
            connection.close()

    @staticmethod
    def _judge(records: list[Record], answers: list[Answer]) -> None:
        """Every answer by itself: what came, and whether that is right."""
        for record, answer in zip(records, answers, strict=True):
            asked = record.ask
            record.status, record.received, record.marks = answer.status, len(answer.body), answer.headers
            try:
                said = read_answer(asked, answer.status, bytes(answer.body))
            except (ValueError, KeyError, IndexError, TypeError) as error:
                said = None
                record.error = f"unreadable: {error!r}"
            if said is not None:
                record.said = said.text
            if said is not None and answer.complete:
                record.error = mistake(asked, answer.status, said)
                done = Outcome.SERVED if answer.status == 200 else Outcome.REFUSED
                record.outcome = Outcome.FAILED if record.error else done
            elif asked.leaves_after is not None and said is not None:
                wrong = not (asked.text or "").startswith(said.text)
                record.error = said.error or ("wrong text before it left" if wrong else "")
                record.outcome = Outcome.FAILED if record.error else Outcome.LEFT
            elif not record.error or not answer.complete:
                record.error = f"the connection ended after {len(answer.body)} bytes; {record.error}".rstrip("; ")


def bytes_until_leaving(asked: Ask) -> float | None:
    """How much of the body a client takes; None: all of it."""
    if asked.leaves_after is None:
        return None
    return EVENT_TO_TEXT * asked.leaves_after * len((asked.text or "").encode())
