"""A whole fleet for a test: `tradewind up` as a child process, its parts to kill, freeze and ask."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import httpx
import openai

MODEL = "emulated-8b"
READY_S_MAX = 60.0
REGIONS = ("us-central1", "europe-west4", "asia-northeast1")

T = TypeVar("T")


def until(condition: Callable[[], T], within_s: float, what: str) -> T:
    """Ask until the answer is true; fail, saying what was waited for, once the time is over."""
    deadline = time.monotonic() + within_s
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within_s} s: {what} (last answer: {answer!r})")
        time.sleep(0.02)


class Fleet:
    """Started on entering, ended on leaving; what it said is shown if it did not start."""

    def __init__(self, *arguments: str, settings: dict[str, str] | None = None) -> None:
        self.arguments = arguments
        self.settings = settings or {}  # TRADEWIND_* variables for the front doors.
        self.processes: list[dict[str, Any]] = []
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 # Lives as long as the fleet.
        self._frozen: set[int] = set()

    def __enter__(self) -> "Fleet":
        command = [sys.executable, "-m", "router.cli.main", "up", "--json", "--port", "0", "--admin-port", "0"]
        self._home = tempfile.TemporaryDirectory(prefix="tradewind-test-")
        self.process = subprocess.Popen(
            [*command, *self.arguments],
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env={**os.environ, "XDG_STATE_HOME": self._home.name, **self.settings},
        )
        assert self.process.stdout is not None
        try:
            first = self.process.stdout.readline()
            told = json.loads(first)
            self.processes = told["processes"]
            self.url: str = told["url"]
            self.admin_url: str = told["admin"]
            self.state = Path(told["state"])
            assert self.process.stdout.readline().startswith("ready ")
        except Exception:
            said = self.errors()
            self.close()
            raise AssertionError(f"the fleet did not start: {said}") from None
        self.token = Path(told["token_file"]).read_text().strip()
        self._http = httpx.Client(timeout=10.0)
        self._admin = {"authorization": f"Bearer {self.token}"}
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End everything; a frozen part is thawed first, so that it can end."""
        for pid in list(self._frozen):
            self.signal_pid(pid, signal.SIGCONT)
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
        if hasattr(self, "_http"):
            self._http.close()
        self._errors.close()
        self._home.cleanup()

    def errors(self) -> str:
        """What the fleet wrote to stderr."""
        self._errors.seek(0)
        return self._errors.read().decode()[-4000:]

    # Parts.

    def part(self, role: str, region: str = "", index: int = 0) -> dict[str, Any]:
        """A process of a role, as `up --json` told of it."""
        found = [entry for entry in self.processes if entry["role"] == role and region in ("", entry["region"])]
        return found[index]

    def kill(self, role: str, region: str = "", index: int = 0) -> None:
        """kill -9, as a lost machine would go."""
        self.send_signal(role, signal.SIGKILL, region, index)

    def freeze(self, role: str, region: str = "", index: int = 0) -> None:
        """SIGSTOP: connections stay, answers do not come."""
        self._frozen.add(self.part(role, region, index)["pid"])
        self.send_signal(role, signal.SIGSTOP, region, index)

    def thaw(self, role: str, region: str = "", index: int = 0) -> None:
        self.send_signal(role, signal.SIGCONT, region, index)
        self._frozen.discard(self.part(role, region, index)["pid"])

    def send_signal(self, role: str, number: signal.Signals, region: str = "", index: int = 0) -> None:
        os.kill(self.part(role, region, index)["pid"], number)

    @staticmethod
    def signal_pid(pid: int, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)

    # What it says.

    def admin(self, method: str, path: str, index: int = 0, **kwargs: Any) -> Any:
        """Ask the admin API of a front door."""
        url = self.part("serve", index=index)["admin"]
        answer = self._http.request(method, f"{url}{path}", headers=self._admin, **kwargs)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def cluster(self, region: str, index: int = 0) -> dict[str, Any]:
        """One cluster's entry of the status."""
        status = self.admin("GET", "/admin/status", index)
        return next(entry for entry in status["clusters"] if entry["region"] == region)

    def wait_fresh(self, within_s: float = 10.0, index: int = 0) -> None:
        """Until every cluster's heartbeat is fresh."""

        def all_fresh() -> bool:
            clusters = self.admin("GET", "/admin/status", index)["clusters"]
            return all(entry["liveness"] == "fresh" for entry in clusters)

        until(all_fresh, within_s, "every heartbeat fresh")

    def metric(self, name: str, index: int = 0, **labels: str) -> float:
        """The sum of a metric's samples that carry these labels."""
        url = self.part("serve", index=index)["admin"]
        total = 0.0
        for line in self._http.get(f"{url}/metrics").text.splitlines():
            match = re.fullmatch(r"(\w+)(?:\{(.*)\})? (\S+)", line)
            if match and match[1] == name:
                found = dict(re.findall(r'(\w+)="([^"]*)"', match[2] or ""))
                if labels.items() <= found.items():
                    total += float(match[3])
        return total

    def ready(self, index: int = 0) -> int:
        """The status of /readyz on the main port."""
        return self._http.get(f"{self.part('serve', index=index)['url']}/readyz").status_code

    def redis_answers(self) -> bool:
        """Whether the first store answers a PING of our own."""
        host, _, port = self.part("redis")["url"].removeprefix("redis://").rpartition(":")
        try:
            with socket.create_connection((host, int(port)), 0.5) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False

    # Clients.

    def openai(self, index: int = 0) -> openai.OpenAI:
        """The official client, without retries of its own."""
        url = self.part("serve", index=index)["url"]
        return openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=60.0)

    def ask(self, origin: str, *, max_tokens: int = 3, index: int = 0) -> httpx.Headers:
        """One short call from a region; the answer's headers."""
        answer = self._http.post(
            f"{self.part('serve', index=index)['url']}/v1/chat/completions",
            headers={"x-client-region": origin},
            json={"model": MODEL, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": max_tokens},
        )
        assert answer.status_code == 200, answer.text
        return answer.headers
