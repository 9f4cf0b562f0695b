"""A front door of several processes: frozen, killed, drained and ended, under load."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from federation.embedded import EmbeddedRedis
from tests.app.crew import NOBODY, PATIENT, WAIT_S, Crew, crew, is_running, until
from tests.edge.authority import Authority
from tests.edge.harness import STREAM_HEAD, Hangs, RawClient, Request, answers, chunk, completion, post, sse

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc to tell which worker has a connection")

FIRST, LAST = sse("a")


async def slowly(request: Request) -> None:
    """A call that takes a little, so that some are under way at any time."""
    await asyncio.sleep(0.02)
    await answers(completion("near"))(request)


@dataclass
class Steady:
    """Calls on connections that stay open, and on ones that are new; every call is accounted for."""

    here: Crew
    kept: int = 8
    served: int = 0
    failed: list[tuple[int, float]] = field(default_factory=list)  # Of each call: its worker; when it connected.
    refused: int = 0  # New connections that were not taken.
    new: int = 0

    async def __aenter__(self) -> "Steady":
        self._stop = asyncio.Event()
        self._tasks = [asyncio.create_task(self._keep(), name=f"kept {number}") for number in range(self.kept)]
        self._tasks.append(asyncio.create_task(self._renew()))
        await until(lambda: self.served > 2 * self.kept, "the load is on")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stop.set()
        for task in self._tasks:
            await asyncio.wait_for(task, WAIT_S)

    def failed_elsewhere(self, victim: int, gone_at: float) -> list[tuple[int, float]]:
        """Calls that failed, less those on connections of a worker that went away then."""
        return [(owner, since) for owner, since in self.failed if owner not in (victim, NOBODY) or since > gone_at]

    async def more(self, calls: int) -> None:
        """Wait until so many more were served."""
        wanted = self.served + calls
        await until(lambda: self.served >= wanted, f"{calls} more calls")

    async def _keep(self) -> None:
        while not self._stop.is_set():
            client = await self.here.client()
            since = asyncio.get_running_loop().time()
            owner = await self.here.owner(client)
            while not self._stop.is_set():
                closes = await self._call(client, owner, since)
                if closes is None:
                    break  # Its worker is gone; connect again.
                if closes:
                    return  # Asked to go elsewhere, as a load balancer would.
            client.close()

    async def _renew(self) -> None:
        while not self._stop.is_set():
            try:
                client = await self.here.client()
            except OSError:
                self.refused += 1
                return
            since = asyncio.get_running_loop().time()
            owner = await self.here.owner(client)
            self.new += 1
            if await self._call(client, owner, since):
                return
            client.close()

    async def _call(self, client: RawClient, owner: int, since: float) -> bool | None:
        """Whether the answer said that the connection closes; None if there was none."""
        try:
            await client.send(post())
            answer = await client.answer()
        except (OSError, asyncio.IncompleteReadError):
            self.failed.append((owner, since))
            return None
        assert (answer.status, answer.complete) == (200, True), answer
        self.served += 1
        return "connection" in answer and answer["connection"] == "close"


async def test_death_of_a_worker_harms_its_own_connections_alone_and_it_is_replaced(tmp_path: Path) -> None:
    async with crew(tmp_path) as here:
        here.near.call = slowly
        spare = await here.with_spare()
        victim = (await here.workers())["1"]
        async with Steady(here) as load:
            await load.more(50)
            before, served = await here.page(), load.served
            here.signal(victim, signal.SIGKILL)
            killed_at = asyncio.get_running_loop().time()

            async def replaced() -> bool:
                return (await here.workers()).get("1") == spare

            await until(replaced, "the spare has taken its place", 1.0)
            told_late = load.served - served + load.kept
            await load.more(100)
            assert load.failed_elsewhere(victim, killed_at) == []
            assert load.refused == 0
        after = await here.page()
        counted = [name for name in before if name.partition("{")[0].endswith(("_total", "_count", "_bucket", "_sum"))]
        assert [name for name in counted if after[name] < before[name]] == []
        assert after["tradewind_worker_restarts_total"] == 1
        assert after["tradewind_workers"] == 2
        total = await here.metric("tradewind_calls_total", 'outcome="served"')
        assert total <= load.served
        assert total >= load.served - told_late, "what the dead one counted since its last word is all that is missing"
        await here.with_spare()  # The next death is prepared for.


async def test_what_a_dead_worker_had_told_stays_and_its_gauges_go(tmp_path: Path) -> None:
    async with crew(tmp_path) as here:
        hangs = Hangs()
        here.near.call = hangs
        victim = (await here.workers())["2"]
        holding = await here.client_of(victim)
        await holding.send(post())
        await hangs.began.wait()
        here.near.call = answers(completion("near"))
        client = await here.client_of(victim)
        for _ in range(5):
            await client.send(post())
            assert (await client.answer()).status == 200
        page = await here.page()
        assert page["tradewind_calls_in_flight"] == 1
        assert await here.metric("tradewind_calls_total", 'outcome="served"') == 5
        here.signal(victim, signal.SIGKILL)

        async def gone() -> bool:
            return victim not in (await here.workers()).values()

        await until(gone, "it is gone")
        page = await here.page()
        assert page["tradewind_calls_in_flight"] == 0
        assert await here.metric("tradewind_calls_total", 'outcome="served"') == 5
        assert await here.metric("tradewind_ttft_seconds_count") == 5
        status = await here.status()
        assert (status["calls_in_flight"], status["decisions"]) == (0, {"nearest": 5})


async def test_frozen_worker_holds_up_neither_the_parent_nor_the_others(tmp_path: Path) -> None:
    async with crew(tmp_path) as here:
        frozen, other = (await here.workers()).values()
        mine, theirs = await here.client_of(frozen), await here.client_of(other)
        for client in (mine, theirs):
            await client.send(post())
            assert (await client.answer()).status == 200
        assert await here.metric("tradewind_calls_total") == 2
        here.signal(frozen, signal.SIGSTOP)
        await mine.send(post())
        for _ in range(20):  # New connections, and one that stood.
            fresh = await here.client()
            for client in (fresh, theirs):
                await client.send(post())
                assert (await client.answer()).status == 200
            assert await here.owner(fresh) == other
        async with asyncio.timeout(1.0):
            page = await here.page()
        assert await here.metric("tradewind_calls_total") == 42, "the frozen one's last figures are there"
        await until(lambda: here.metric("tradewind_worker_report_age_seconds", 'worker="1"'), "age")

        async def old() -> bool:
            age_s = await here.metric("tradewind_worker_report_age_seconds", 'worker="1"')
            return age_s > 1.5

        await until(old, "its age is told")
        assert page["tradewind_workers"] == 2
        await here.drain("near")  # Nobody waits for it.
        here.signal(frozen, signal.SIGCONT)
        answer = await mine.answer()
        assert (answer.status, answer["x-tradewind-cluster"]) == (200, "near")

        async def moved() -> bool:
            await mine.send(post())
            return (await mine.answer())["x-tradewind-cluster"] == "far"

        await until(moved, "what it missed, it is told")


async def test_frozen_parent_disturbs_no_call_and_workers_probe_for_themselves(tmp_path: Path) -> None:
    async with crew(tmp_path) as here:
        here.near.call = slowly
        async with Steady(here) as load:
            here.signal(here.process.pid, signal.SIGSTOP)
            probes = here.near.probes
            await until(lambda: here.near.probes > probes + 8, "probes by the workers")
            await here.near.refuse()  # The fleet changes, and nobody tells them.
            await until(lambda: here.far.requests, "calls go elsewhere")
            await load.more(50)
            assert (load.failed, load.refused) == ([], 0)
            here.signal(here.process.pid, signal.SIGCONT)

            async def ejected() -> bool:
                status = await here.status()
                return bool(status["clusters"][1]["standing"]["state"] == "ejected")

            await until(ejected, "the parent sees it too")
            await load.more(20)
            assert (load.failed, load.refused) == ([], 0)
        assert len(await here.workers()) == 2

        def left_to_it() -> bool:
            """Also by the spare, if it was there in time."""
            said = here.said()
            return 2 <= said.count("probing ourselves") == said.count("parent speaks again")

        await until(left_to_it, "and they leave the probes to it again")


async def test_workers_whose_parent_died_finish_their_calls_and_end(tmp_path: Path) -> None:
    async with crew(tmp_path) as here:
        await here.with_spare()
        hangs = Hangs(STREAM_HEAD + chunk(FIRST), chunk(LAST) + b"0\r\n\r\n")
        here.near.call = hangs
        client = await here.client()
        await client.send(post(stream=True))
        await client.head()
        assert await client.chunk() == FIRST
        children = here.pids - {here.process.pid}
        here.process.kill()
        await here.process.wait()

        def port_is_free() -> bool:
            with socket.socket() as attempt:
                attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                with contextlib.suppress(OSError):
                    attempt.bind(("127.0.0.1", here.port))
                    attempt.listen()
                    return True
            return False

        await until(port_is_free, "the next parent can have the port", 3.0)
        owner = await here.owner(client)
        await until(lambda: [pid for pid in children if is_running(pid)] == [owner], "the idle ones end")
        hangs.go.set()
        assert await client.chunk() == LAST
        assert await client.chunk() is None
        await until(lambda: not is_running(owner), "it has nothing left to do", 5.0)


@pytest.mark.parametrize("stores", [0, 1])
async def test_drain_reaches_every_worker_within_a_second(tmp_path: Path, stores: int) -> None:
    async with contextlib.AsyncExitStack() as stack:
        urls = [(await stack.enter_async_context(EmbeddedRedis())).url for _ in range(stores)]
        here = await stack.enter_async_context(crew(tmp_path, stores=urls))
        workers = await here.workers()
        clients = [await here.client_of(pid) for pid in workers.values()]
        told = await here.drain("near")
        assert (told["stores_written"], told["stores_configured"]) == (stores, stores)

        async def elsewhere() -> bool:
            for client in clients:
                await client.send(post())
            return {(await client.answer())["x-tradewind-cluster"] for client in clients} == {"far"}

        await until(elsewhere, "all place elsewhere", 1.0)
        if stores:
            return
        # The spare knows as well, and so does one that is started later.
        for _ in range(2):
            spare = await here.with_spare()
            here.signal(workers["1"], signal.SIGKILL)
            clients = [await here.client_of(spare)]
            assert await elsewhere()
            workers = await here.workers()


async def test_what_one_worker_sees_of_a_cluster_all_know(tmp_path: Path) -> None:
    # No probe tells them within this test: see the first ones out.
    async with crew(tmp_path, federation={"probe_s": 60.0, **PATIENT}) as here:
        first, second = [await here.client_of(pid) for pid in (await here.workers()).values()]
        await here.near.refuse()
        for number in range(3):
            await first.send(post())
            answer = await first.answer()
            assert (answer["x-tradewind-cluster"], answer["x-tradewind-attempts"]) == ("far", "2"), number

        async def known() -> bool:
            return (await here.status())["clusters"][1]["standing"]["state"] == "ejected"

        await until(known, "the parent knows", 1.0)
        await asyncio.sleep(0.1)  # Two ticks: the other is told when the parent is.
        await second.send(post())
        answer = await second.answer()
        assert (answer["x-tradewind-cluster"], answer["x-tradewind-attempts"]) == ("far", "1")
        assert await here.metric("tradewind_attempts_total", 'outcome="refused"') == 3


async def test_calls_of_all_workers_count_against_the_slots(tmp_path: Path) -> None:
    async with crew(tmp_path, slots=2) as here:
        hangs = Hangs()
        here.near.call = hangs
        workers = list((await here.workers()).values())
        for pid in workers:
            await (await here.client_of(pid)).send(post())
        await hangs.began.wait()
        await until(lambda: here.near.calls == 2, "both are there")
        here.near.call = answers(completion("near"))

        async def full() -> bool:
            [near] = [one for one in (await here.status())["clusters"] if one["cluster"] == "near"]
            return near["models"][0]["own_in_flight"] == 2

        await until(full, "the parent knows the sum")
        explained = (await here.http.get(f"{here.admin}/admin/explain", params={"model": "tiny"})).json()
        assert [(row["cluster"], row["verdict"]) for row in explained["rows"]] == [
            ("near", "full"),
            ("far", "has room"),
        ]

        async def told() -> bool:
            asked = [await here.client_of(pid) for pid in workers]
            for client in asked:
                await client.send(post())
            return {(await client.answer())["x-tradewind-decision"] for client in asked} == {"overflow"}

        await until(told, "each worker is told of the other's call", 2.0)
        hangs.go.set()


async def test_end_by_signal_under_load_loses_nothing(tmp_path: Path) -> None:
    async with crew(tmp_path, shutdown={"lame_duck_s": 1.0, "grace_s": 10.0}) as here:
        await here.with_spare()
        hangs = Hangs(STREAM_HEAD + chunk(FIRST), chunk(LAST) + b"0\r\n\r\n")
        here.near.call = hangs
        streaming = await here.client()
        await streaming.send(post(stream=True))
        await streaming.head()
        assert await streaming.chunk() == FIRST
        here.near.call = slowly
        watching = await here.http.get(f"{here.url}/readyz")
        assert watching.status_code == 200
        async with Steady(here, kept=16) as load:
            await load.more(50)
            here.process.send_signal(signal.SIGTERM)
            for place, ready in ((here.admin, "/readyz"), (here.url, "/readyz")):

                async def unready(url: str = place + ready) -> bool:
                    return (await here.http.get(url)).status_code == 503

                await until(unready, "load balancers are told", 0.9)
        assert (load.failed, load.refused) == ([], 0)

        def closed() -> bool:
            with socket.socket() as attempt:
                return attempt.connect_ex(("127.0.0.1", here.port)) != 0

        await until(closed, "the port is closed", 3.0)
        assert here.process.returncode is None, "a call is still under way"
        hangs.go.set()
        assert await streaming.chunk() == LAST
        assert await streaming.chunk() is None
        assert await asyncio.wait_for(here.process.wait(), 5) == 0
        assert [pid for pid in here.pids if is_running(pid)] == []


async def test_worker_that_is_told_to_end_finishes_its_calls_while_another_has_its_place(tmp_path: Path) -> None:
    async with crew(tmp_path) as here:
        spare = await here.with_spare()
        hangs = Hangs(STREAM_HEAD + chunk(FIRST), chunk(LAST) + b"0\r\n\r\n")
        here.near.call = hangs
        leaving = (await here.workers())["2"]
        streaming = await here.client_of(leaving)
        await streaming.send(post(stream=True))
        await streaming.head()
        assert await streaming.chunk() == FIRST
        here.near.call = slowly
        async with Steady(here) as load:
            here.signal(leaving, signal.SIGTERM)

            async def replaced() -> bool:
                return (await here.workers()).get("2") == spare

            await until(replaced, "its place is taken")
            left_at = asyncio.get_running_loop().time()
            await load.more(50)
            # A connection that rested may be closed as a call is sent.
            assert load.failed_elsewhere(leaving, left_at) == []
            assert load.refused == 0
        hangs.go.set()
        assert await streaming.chunk() == LAST
        assert await streaming.chunk() is None
        await until(lambda: not is_running(leaving), "it has ended")


async def test_end_with_a_frozen_worker_leaves_nothing_behind(tmp_path: Path) -> None:
    async with crew(tmp_path, shutdown={"lame_duck_s": 0.0, "grace_s": 1.0}) as here:
        await here.with_spare()
        frozen = (await here.workers())["1"]
        here.signal(frozen, signal.SIGSTOP)
        here.process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(here.process.wait(), 15) == 0
        assert [pid for pid in here.pids if is_running(pid)] == []
        with socket.socket() as attempt:
            assert attempt.connect_ex(("127.0.0.1", here.port)) != 0


async def test_connections_that_stay_are_spread_evenly(tmp_path: Path) -> None:
    async with crew(tmp_path, workers=2) as here:
        clients = await asyncio.gather(*(here.client() for _ in range(64)))
        for client in clients:
            await client.send(post())
        for client in clients:
            assert (await client.answer()).status == 200

        async def counted() -> list[int]:
            rows = [row for row in (await here.status())["workers"] if row["worker"] != "spare"]
            counts = [row["connections"] for row in rows]
            return counts if sum(counts) == 64 else []

        counts = await until(counted, "all are counted")
        # With the event loop's own server one of two had up to 49 of 64.
        assert min(counts) >= 22, counts


async def test_every_worker_shows_the_present_certificate_and_the_parent_its_own(tmp_path: Path) -> None:
    authority = Authority()

    def put(name: str, serial: int) -> None:
        made = tmp_path / "made"
        made.mkdir(exist_ok=True)
        for path in authority.issue("127.0.0.1", serial=serial).write(made, name):
            os.replace(path, tmp_path / path.name)

    put("door", 0xA1)
    put("admin", 0xAD)
    pairs = {
        setting: {"cert_file": f"{name}.pem", "key_file": f"{name}.key"}
        for setting, name in (("tls", "door"), ("admin_tls", "admin"))
    }
    async with crew(tmp_path, trust=authority.trusted(), **pairs) as here:
        assert {place.partition(":")[0] for place in (here.url, here.admin)} == {"https"}
        spare = await here.with_spare()
        workers = await here.workers()
        assert await serial_at(here.admin, authority) == 0xAD
        # Whoever never finishes a handshake, or speaks none, is in nobody's way.
        silent = [await here.client(tls=False) for _ in range(8)]
        await silent[0].send(b"GET / HTTP/1.1\r\n\r\n")
        standing = [await here.client_of(pid) for pid in workers.values()]
        for client in standing:
            assert serial_of(client) == 0xA1
            await client.send(post())
            assert (await client.answer()).status == 200

        put("door", 0xA2)
        put("admin", 0xAE)

        async def renewed() -> bool:
            return {serial_of(await here.client_of(pid)) for pid in workers.values()} == {0xA2}

        await until(renewed, "both show the new one")

        async def renewed_there() -> bool:
            return await serial_at(here.admin, authority) == 0xAE

        await until(renewed_there, "so does the parent")
        for client in standing:
            await client.send(post())
            assert (await client.answer()).status == 200, "connections that stand are left alone"

        here.signal(workers["1"], signal.SIGKILL)

        async def renewed_by_the_spare() -> bool:
            client = await here.client_of(spare)
            await client.send(post())
            assert (await client.answer()).status == 200
            return serial_of(client) == 0xA2

        await until(renewed_by_the_spare, "the spare reads files as well")
        ended_at = asyncio.get_running_loop().time()
        here.process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(here.process.wait(), WAIT_S) == 0
        assert asyncio.get_running_loop().time() - ended_at < 9.0, "nobody waits for a handshake that never comes"
        assert "Traceback" not in here.said()


def serial_of(client: RawClient) -> int:
    """The number of the certificate that a connection was shown."""
    return int(client.writer.get_extra_info("peercert")["serialNumber"], 16)


async def serial_at(url: str, authority: Authority) -> int:
    host, port = url.removeprefix("https://").split(":")
    client = RawClient(*await asyncio.open_connection(host, int(port), ssl=authority.trusted()))
    try:
        return serial_of(client)
    finally:
        client.close()


def test_workers_that_never_come_up_are_given_up_with_a_status(tmp_path: Path) -> None:
    (tmp_path / "inventory.yaml").write_text(
        "clusters: [{name: near, region: us-central1, endpoint: 'http://127.0.0.1:9'}]"
    )
    config = f"{{region: us-central1, inventory: {tmp_path}/inventory.yaml, port: 0, admin_port: 0, workers: 2}}"
    # A configuration that can be read once only: the workers find nothing there.
    done = subprocess.run(
        [sys.executable, "-m", "router.cli.main", "serve", "/dev/stdin"],
        input=config,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert "worker cannot begin" in done.stderr
    assert "no worker came up" in done.stderr
