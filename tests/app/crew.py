"""`tradewind serve --workers` before clusters scripted by the test, and clients that know which worker they reached."""

import asyncio
import contextlib
import json
import os
import re
import signal
import ssl
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import httpx

from tests.edge.harness import MODEL, RawClient, Request, ScriptedCluster, answers, completion

WAIT_S = 20.0  # For what should happen at once; a busy machine is forgiven.
NOBODY = -1
PATIENT = {"probe_timeout_s": 5.0}  # The clusters live in the test's own loop, which may be late on a busy machine.
DISTANCE_S = {"near": 0.0, "far": 0.1}  # Of probes: both are on this machine, and would be found out.
REGIONS = {"near": "us-central1", "far": "europe-west4"}


async def until(condition: Callable[[], Any], what: str, within_s: float = WAIT_S) -> Any:
    """Ask until the answer (awaited, if it can be) is true."""
    deadline = asyncio.get_running_loop().time() + within_s
    while True:
        answer = condition()
        if asyncio.iscoroutine(answer):
            answer = await answer
        if answer:
            return answer
        assert asyncio.get_running_loop().time() < deadline, f"not within {within_s} s: {what} ({answer!r})"
        await asyncio.sleep(0.01)


class Cluster(ScriptedCluster):
    """Answers probes, and calls by its script."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.probes = 0
        self.calls = 0
        self.call: Callable[[Request], Any] = answers(completion(name))
        self.plays(self._answer)

    async def _answer(self, request: Request) -> None:
        if request.line.startswith("GET"):
            self.probes += 1
            await asyncio.sleep(DISTANCE_S[self.name])
            await answers(b"{}")(request)
        else:
            self.calls += 1
            await self.call(request)


class Crew:
    """The parent as a child process of the test, its workers, and the clusters."""

    def __init__(self, folder: Path, trust: ssl.SSLContext | None) -> None:
        self.folder = folder
        self.trust = trust  # Of clients; None: no TLS.
        self.clusters = {name: Cluster(name) for name in REGIONS}
        self.pids: set[int] = set()  # Of every process that was seen.
        self.http = httpx.AsyncClient(timeout=WAIT_S, verify=trust or True)
        self._clients: list[RawClient] = []

    @property
    def near(self) -> Cluster:
        return self.clusters["near"]

    @property
    def far(self) -> Cluster:
        return self.clusters["far"]

    async def start(self, workers: int, slots: int, settings: dict[str, Any]) -> None:
        for cluster in self.clusters.values():
            await cluster.start()
        rows = [
            {"name": name, "region": REGIONS[name], "endpoint": one.endpoint, "models": {MODEL: {"slots": slots}}}
            for name, one in self.clusters.items()
        ]
        (self.folder / "inventory.yaml").write_text(json.dumps({"clusters": rows}))
        written = {
            "region": "us-central1",
            "inventory": str(self.folder / "inventory.yaml"),
            "port": 0,
            "admin_port": 0,
            "federation": PATIENT,
            "shutdown": {"lame_duck_s": 0.0, "grace_s": 10.0},
            **settings,
        }
        config = self.folder / "serve.yaml"
        config.write_text(json.dumps(written))
        self.log = (self.folder / "stderr").open("ab")
        command = (sys.executable, "-m", "router.cli.main", "serve", str(config), "--workers", str(workers))
        self.process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=self.log, env={**os.environ, **TOKENLESS}
        )
        assert self.process.stdout is not None
        line = (await asyncio.wait_for(self.process.stdout.readline(), 60)).decode()
        assert line.startswith("ready "), self.said()
        told = json.loads(line.removeprefix("ready "))
        self.url, self.admin = told["url"], told["admin"]
        self.port = int(self.url.rpartition(":")[2])
        self.pids.add(self.process.pid)
        await self.workers()

    async def stop(self) -> None:
        for client in self._clients:
            client.close()
        await self.http.aclose()
        for pid in self.pids:
            self.signal(pid, signal.SIGCONT)
        if self.process.returncode is None:
            for _ in range(2):
                self.process.send_signal(signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.process.wait(), 10)
        for pid in self.pids:
            self.signal(pid, signal.SIGKILL)
        await self.process.wait()
        self.log.close()
        for cluster in self.clusters.values():
            await cluster.stop()

    def said(self) -> str:
        return (self.folder / "stderr").read_text()

    def signal(self, pid: int, number: signal.Signals) -> None:
        assert pid in self.pids
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)

    # What the parent says.

    async def status(self) -> dict[str, Any]:
        answer = await self.http.get(f"{self.admin}/admin/status")
        assert answer.status_code == 200, answer.text
        status: dict[str, Any] = answer.json()
        self.pids.update(row["pid"] for row in status["workers"])
        return status

    async def workers(self, phase: str = "listening") -> dict[str, int]:
        """Place -> pid of the workers that are so far."""
        return {row["worker"]: row["pid"] for row in (await self.status())["workers"] if row["phase"] == phase}

    async def with_spare(self) -> int:
        """Wait until a spare is warm; its pid."""
        return int(await until(self._spare, "a spare is warm"))

    async def _spare(self) -> int | None:
        return (await self.workers("warm")).get("spare")

    async def page(self) -> dict[str, float]:
        """Every sample of the metrics."""
        text = (await self.http.get(f"{self.admin}/metrics")).text
        return {
            name: float(value)
            for name, value in (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
        }

    async def metric(self, name: str, *labels: str) -> float:
        """The sum of a metric's samples that carry these labels, each as `name="value"`."""
        return sum(
            value
            for sample, value in (await self.page()).items()
            if sample.partition("{")[0] == name and all(label in sample for label in labels)
        )

    async def drain(self, cluster: str) -> dict[str, Any]:
        answer = await self.http.put(f"{self.admin}/admin/drains/{cluster}", json={"reason": "test", "for_s": 60})
        assert answer.status_code == 200, answer.text
        told: dict[str, Any] = answer.json()
        return told

    # Clients.

    async def client(self, tls: bool = True) -> RawClient:
        trust = self.trust if tls else None
        client = RawClient(*await asyncio.open_connection("127.0.0.1", self.port, ssl=trust))
        self._clients.append(client)
        return client

    async def client_of(self, pid: int) -> RawClient:
        """A connection that this worker has taken."""
        for _ in range(50):
            client = await self.client()
            if await self.owner(client) == pid:
                return client
        raise AssertionError(f"worker {pid} takes no connection")

    async def owner(self, client: RawClient) -> int:
        """The worker that has taken this connection; NOBODY if it was closed again before that could be seen."""
        port = client.writer.get_extra_info("sockname")[1]

        def owner() -> int | None:
            return NOBODY if client.reader.at_eof() else owner_of(port, self.port, self.pids)

        return int(await until(owner, "somebody takes the connection"))


TOKENLESS = {"TRADEWIND_ADMIN_TOKEN": ""}


@contextlib.asynccontextmanager
async def crew(
    folder: Path, workers: int = 2, slots: int = 64, trust: ssl.SSLContext | None = None, **settings: Any
) -> AsyncIterator[Crew]:
    """Start it all, and end it all."""
    running = Crew(folder, trust)
    try:
        await running.start(workers, slots, settings)
        yield running
    finally:
        await running.stop()


def owner_of(client_port: int, server_port: int, pids: Sequence[int] | set[int]) -> int | None:
    """The process that holds the server's end of a connection on loopback; None while nobody has taken it."""
    wanted = f"0100007F:{server_port:04X} 0100007F:{client_port:04X} 01"
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if " ".join(fields[1:4]) == wanted and fields[9] != "0":
            return next((pid for pid in pids if f"socket:[{fields[9]}]" in descriptors_of(pid)), None)
    return None


def descriptors_of(pid: int) -> set[str]:
    found = set()
    with contextlib.suppress(OSError):
        for entry in os.scandir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                found.add(os.readlink(entry.path))
    return found


def is_running(pid: int) -> bool:
    """Whether a process lives; one that has ended and was not waited for does not."""
    with contextlib.suppress(OSError):
        match = re.search(r"^State:\s+(\S)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
        return match is not None and match[1] not in "ZX"
    return False
