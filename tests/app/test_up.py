"""`tradewind up`: what it says, and that nothing is ever left behind."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.app.fleet import MODEL, until

READY_S_MAX = 60.0
END_S_MAX = 30.0
SMALL = ("--regions", "us-central1,europe-west4", "--replicas", "1")


class Up:
    """One `tradewind up` in a state folder and a temporary folder of its own; both must be empty at the end."""

    def __init__(self, folder: Path, *arguments: str, **environ: str) -> None:
        self.folder = folder
        (folder / "tmp").mkdir(parents=True)
        (folder / "state").mkdir()
        self.errors_file = folder / "stderr"
        with self.errors_file.open("wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "router.cli.main", "up", *arguments],
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env={**os.environ, "TMPDIR": str(folder / "tmp"), "XDG_STATE_HOME": str(folder / "state"), **environ},
            )
        self.told: dict[str, Any] = {}

    def ready(self) -> dict[str, Any]:
        """Wait for the ready line; what the JSON line before it said."""
        assert self.process.stdout is not None
        first, second = self.process.stdout.readline(), self.process.stdout.readline()
        assert second.startswith("ready http://127.0.0.1:"), self.errors()
        self.told = json.loads(first)
        return self.told

    def errors(self) -> str:
        return self.errors_file.read_text()

    def pids(self) -> list[int]:
        """Of every process that was started for it: they all work in its temporary folder."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):  # Gone, or dead and not yet buried.
                    if (entry / "cwd").readlink().is_relative_to(self.folder / "tmp"):
                        found.append(int(entry.name))
        return found

    def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        return self.process.wait(END_S_MAX)

    def assert_nothing_left(self) -> None:
        assert self.pids() == []
        assert list((self.folder / "tmp").iterdir()) == []
        assert [path for path in (self.folder / "state").rglob("*") if path.is_file()] == []


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Callable[..., Up]]:
    """Start an `up`; whatever a test leaves running is ended, children through the kernel."""
    started: list[Up] = []

    def start(*arguments: str, **environ: str) -> Up:
        started.append(Up(tmp_path / str(len(started)), "--json", *arguments, **environ))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
            one.process.wait()
        assert one.process.stdout is not None
        one.process.stdout.close()


ANY_PORT = ("--port", "0", "--admin-port", "0")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_everything(up: Callable[..., Up], number: signal.Signals) -> None:
    fleet = up(*SMALL, *ANY_PORT)
    told = fleet.ready()
    roles = sorted(process["role"] for process in told["processes"])
    assert roles == ["agent", "agent", "model", "model", "redis", "serve"]
    assert sorted(process["pid"] for process in told["processes"]) == sorted(fleet.pids())
    token = Path(told["token_file"])
    assert token.stat().st_mode & 0o777 == 0o600
    assert httpx.get(f"{told['url']}/healthz").status_code == 200
    assert fleet.end(number) == 0
    fleet.assert_nothing_left()


def test_a_child_that_cannot_obey_is_ended_all_the_same(up: Callable[..., Up]) -> None:
    fleet = up(*SMALL, *ANY_PORT)
    for process in fleet.ready()["processes"]:
        if process["role"] in ("model", "agent"):
            os.kill(process["pid"], signal.SIGSTOP)
    assert fleet.end(signal.SIGTERM) == 0
    fleet.assert_nothing_left()


def test_a_second_signal_does_not_wait_for_calls_under_way(up: Callable[..., Up]) -> None:
    fleet = up(*SMALL, *ANY_PORT)
    url = f"{fleet.ready()['url']}/v1/chat/completions"
    body = {"model": MODEL, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 2_000, "stream": True}
    with httpx.stream("POST", url, json={**body, "ignore_eos": True}, timeout=30) as answer:
        chunks = answer.iter_raw()
        next(chunks)
        fleet.process.send_signal(signal.SIGINT)
        until(lambda: "once more" in fleet.errors(), 10, "the first signal is heard")
        for _ in range(5):
            next(chunks)  # The call goes on.
        began = time.monotonic()
        assert fleet.end(signal.SIGINT) == 0
        assert time.monotonic() - began < 5
    fleet.assert_nothing_left()


def test_children_end_with_an_up_that_is_killed(up: Callable[..., Up]) -> None:
    fleet = up(*SMALL, *ANY_PORT)
    fleet.ready()
    assert fleet.pids()
    assert fleet.end(signal.SIGKILL) == -signal.SIGKILL
    until(lambda: fleet.pids() == [], 10, "no child is left")


def test_a_signal_before_it_is_ready_ends_everything(up: Callable[..., Up]) -> None:
    fleet = up(*SMALL, *ANY_PORT)
    until(fleet.pids, READY_S_MAX, "the first child runs")
    assert fleet.end(signal.SIGINT) == 130
    fleet.assert_nothing_left()


@pytest.mark.parametrize(("option", "other"), [("--port", "--admin-port"), ("--admin-port", "--port")])
def test_a_taken_port_is_one_clear_line(up: Callable[..., Up], option: str, other: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        fleet = up(*SMALL, option, str(port), other, "0")
        assert fleet.process.wait(READY_S_MAX) == 1
    (line,) = fleet.errors().splitlines()
    assert str(port) in line
    assert line.endswith(f"choose another with {option}")
    fleet.assert_nothing_left()


def test_a_start_that_fails_half_way_shows_why_and_leaves_nothing(up: Callable[..., Up]) -> None:
    fleet = up(*SMALL, *ANY_PORT, TRADEWIND_TIMEOUTS__IDLE_S="0")
    assert fleet.process.wait(READY_S_MAX) == 1
    assert "serve serve-0: ended with exit status 1 before it was ready" in fleet.errors()
    assert "TRADEWIND_TIMEOUTS__IDLE_S: 0 s; expected more than 0" in fleet.errors()
    fleet.assert_nothing_left()


def test_two_run_side_by_side(up: Callable[..., Up]) -> None:
    fleets = [up(*SMALL, *ANY_PORT), up(*SMALL, *ANY_PORT)]
    urls = {fleet.ready()["url"] for fleet in fleets}
    assert len(urls) == 2
    first, second = fleets
    assert first.end(signal.SIGTERM) == 0
    assert httpx.get(f"{second.told['url']}/healthz").status_code == 200
    assert second.end(signal.SIGTERM) == 0
    for fleet in fleets:
        fleet.assert_nothing_left()


def test_a_child_that_died_is_started_again_where_it_was(up: Callable[..., Up]) -> None:
    fleet = up(*SMALL, *ANY_PORT, "--restart-after", "0.1")
    told = fleet.ready()
    before = {process["name"]: process for process in told["processes"]}
    for name in before:
        os.kill(before[name]["pid"], signal.SIGKILL)
    state = Path(told["state"]) / "processes.json"

    def all_new() -> bool:
        now = {process["name"]: process for process in json.loads(state.read_text())}
        return all(now[name]["pid"] not in (None, before[name]["pid"]) for name in before)

    until(all_new, READY_S_MAX, "every process runs again")
    now = {process["name"]: process for process in json.loads(state.read_text())}
    for name, process in before.items():
        for key in {"url", "admin", "endpoint", "control", "replicas"} & set(process):
            assert now[name][key] == process[key], name
    until(lambda: _answers(told["url"]), READY_S_MAX, "calls are answered again")
    assert fleet.end(signal.SIGTERM) == 0
    assert "ended with signal SIGKILL; it starts again in 0.1 s" in fleet.errors()
    fleet.assert_nothing_left()


def test_a_real_server_stands_in_for_an_emulated_region(up: Callable[..., Up]) -> None:
    lab = up("--regions", "europe-west4", "--replicas", "1", *ANY_PORT)
    server = next(process for process in lab.ready()["processes"] if process["role"] == "model")["replicas"][0]
    fleet = up("--cluster", f"lab=europe-west4={server}", *ANY_PORT)
    told = fleet.ready()
    assert not [process for process in told["processes"] if process["role"] == "model"]
    answer = until(lambda: _answers(told["url"]), READY_S_MAX, "the agent's heartbeat names the model")
    assert answer.headers["x-tradewind-cluster"] == "lab"
    assert fleet.end(signal.SIGTERM) == 0
    assert lab.end(signal.SIGTERM) == 0


def test_kept_data_is_one_fleets_alone(up: Callable[..., Up], tmp_path: Path) -> None:
    data = ("--data", str(tmp_path / "kept"))
    first = up(*SMALL, *ANY_PORT, *data)
    first.ready()
    second = up(*SMALL, *ANY_PORT, *data)
    assert second.process.wait(READY_S_MAX) == 1
    assert "is used by another process" in second.errors()
    assert first.end(signal.SIGTERM) == 0
    assert list((tmp_path / "kept" / "redis-0").iterdir())
    first.assert_nothing_left()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--cluster", "lab"), "expected NAME=REGION=URL"),
        (("--cluster", "lab=eu=ftp://x"), "is not a URL like http://host:port"),
        (("--regions", "us central"), "is no region name"),
        (("--rtt", "none.csv"), "--rtt none.csv: cannot be read"),
        (("--port", "9000", "--admin-port", "9000"), "are both 9000"),
        (("--preset", "tpu"), "'tpu' is not one of"),
    ],
)
def test_bad_usage_is_one_line_and_starts_nothing(
    up: Callable[..., Up], arguments: tuple[str, ...], words: str
) -> None:
    fleet = up(*arguments)
    assert fleet.process.wait(READY_S_MAX) == 2
    (line,) = fleet.errors().splitlines()
    assert words in line
    fleet.assert_nothing_left()


def _answers(url: str) -> httpx.Response | None:
    body = {"model": MODEL, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 2}
    try:
        answer = httpx.post(f"{url}/v1/chat/completions", json=body, timeout=10)
    except httpx.HTTPError:
        return None
    return answer if answer.status_code == 200 else None
