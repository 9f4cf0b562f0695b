"""A process of the bench: on its cores, in a group of its own that ends with it, and perhaps one that answers."""

import json
import os
import selectors
import signal
import subprocess
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.benchmarks.install import PROGRAMS

SAID_MAX = 400  # Characters of its last words that are quoted.


class Child:
    """Started with `command`; what it says on stderr, and unless `talks` on stdout, goes to `said`."""

    def __init__(
        self,
        command: Iterable[str],
        cores: Iterable[int],
        said: Path,
        environ: Mapping[str, str] | None = None,
        talks: bool = False,
    ) -> None:
        on = set(cores)
        self.said = said
        with said.open("ab") as log:
            self.process = subprocess.Popen(
                list(command),
                stdin=subprocess.PIPE if talks else subprocess.DEVNULL,
                stdout=subprocess.PIPE if talks else log,
                stderr=log,
                env={**os.environ, "PATH": PROGRAMS, **(environ or {})},
                start_new_session=True,
                preexec_fn=lambda: os.sched_setaffinity(0, on),
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    def running(self) -> bool:
        return self.process.poll() is None

    def read(self, within_s: float) -> dict[str, Any]:
        """Its next line."""
        assert self.process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            if not selector.select(within_s):
                raise TimeoutError(f"{self.process.args!r} said nothing for {within_s:g} s: {self.last_words()}")
        line = self.process.stdout.readline()
        if not line:
            raise ConnectionError(f"{self.process.args!r} ended: {self.last_words()}")
        return json.loads(line)  # type: ignore[no-any-return]

    def lines(self) -> list[dict[str, Any]]:
        """What it has said until now; nothing is waited for."""
        assert self.process.stdout is not None
        os.set_blocking(self.process.stdout.fileno(), False)
        return [json.loads(line) for line in (self.process.stdout.read() or b"").splitlines()]

    def ask(self, bound_s: float, **command: object) -> dict[str, Any]:
        """Its answer to a command."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(command).encode() + b"\n")
        self.process.stdin.flush()
        return self.read(bound_s)

    def last_words(self) -> str:
        """The end of what it said, on one line."""
        text = " ".join(self.said.read_text(errors="replace").split())
        return text[-SAID_MAX:] or "(it said nothing)"

    def end(self) -> None:
        """It, and all that it started."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()
