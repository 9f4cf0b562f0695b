"""The stage of a run: cores dealt out, upstream and load running, one proxy at a time beside them."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.benchmarks.child import Child
from tests.benchmarks.cpu import tree_of
from tests.benchmarks.install import environment_of
from tests.benchmarks.proxies import Place, Proxy, free_port

ANSWER_S = 60.0
STREAMS_GONE_S = 5.0


class Failure(Exception):
    """Why a figure could not be had, in a line. `errors` were counted; `again`: a second try is fair."""

    def __init__(self, why: str, errors: int = 0, again: bool = False) -> None:
        super().__init__(why)
        self.errors = errors
        self.again = again


@dataclass(frozen=True)
class Target:
    """What the load is sent to."""

    port: int
    key: str
    pids: list[int]


class Bench:
    """Upstream and load for a whole run. On two cores the proxy has the first, and all else the second."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cores = cores = sorted(os.sched_getaffinity(0))
        self.proxy_core = cores[:1]
        self.upstream_cores = cores[1:2] or cores
        self.load_cores = cores[2:3] or self.upstream_cores
        self.rest = cores[3:] or self.load_cores
        self.started = 0

    def __enter__(self) -> "Bench":
        os.sched_setaffinity(0, set(self.rest))
        python = (sys.executable, "-m")
        said = self.folder / "said"
        self.upstream = Child((*python, "tests.benchmarks.upstream"), self.upstream_cores, said, talks=True)
        self.load = Child((*python, "tests.benchmarks.load"), self.load_cores, said, talks=True)
        self.upstream_port = int(self.upstream.read(ANSWER_S)["port"])
        self.direct = Target(self.upstream_port, "none", [self.upstream.pid])
        return self

    def __exit__(self, *_: object) -> None:
        self.load.end()
        self.upstream.end()
        os.sched_setaffinity(0, self.cores)

    @contextmanager
    def running(self, proxy: Proxy) -> Iterator[tuple[Child, Target]]:
        """A proxy that was started just now and answers rightly."""
        self.started += 1
        folder = self.folder / f"{proxy.name}-{self.started}"
        folder.mkdir()
        place = Place(folder, environment_of(proxy), free_port(), self.upstream_port, free_port())
        child = Child(proxy.command(place), self.proxy_core, folder / "said", dict(proxy.environ))
        try:
            self._await_ready(proxy, child, place.port)
            told = self.order(do="verify", port=place.port, key=proxy.key, same_bytes=proxy.same_bytes)
            if "failure" in told:
                raise Failure(f"answers wrongly: {told['failure']}")
            yield child, Target(place.port, proxy.key, tree_of(child.pid))
        finally:
            child.end()

    def _await_ready(self, proxy: Proxy, child: Child, port: int) -> None:
        waited_s = 0.0
        while True:
            told = self.order(do="wait_ready", port=port, key=proxy.key, within_s=1.0)
            if "failure" not in told:
                return
            waited_s += 1.0
            if not child.running():
                raise Failure(f"ended while it started: {child.last_words()}")
            if waited_s >= proxy.ready_s:
                raise Failure(f"{told['failure']} (of {proxy.ready_s:g}); {child.last_words()}")

    def order(self, **command: object) -> dict[str, Any]:
        """What the load tells of a command."""
        return self.load.ask(ANSWER_S + float(str(command.get("window_s", 0))), **command)

    def pace(self, interval_s: float) -> None:
        """How often the streams to come get an event; waits until those before have ended."""
        self.await_no_streams()
        self.upstream.ask(ANSWER_S, interval_s=interval_s)

    def await_no_streams(self) -> None:
        """Until the proxy has let go of what its clients left."""
        until = time.monotonic() + STREAMS_GONE_S
        while left := self.upstream.ask(ANSWER_S)["streams"]:
            if time.monotonic() > until:
                raise Failure(f"{left} streams went on upstream {STREAMS_GONE_S:g} s after their clients had left")
            time.sleep(0.02)

    @contextmanager
    def uploading(self, target: Target, path: str, size: int) -> Iterator[Child]:
        """Files sent one after another meanwhile."""
        command = (sys.executable, "-m", "tests.benchmarks.upload", str(target.port), target.key, path, str(size))
        child = Child(command, self.rest, self.folder / "said", talks=True)
        try:
            yield child
        finally:
            child.end()
