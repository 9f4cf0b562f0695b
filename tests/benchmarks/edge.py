"""CPU per proxied call and per streamed event of one front door: `make bench`.

The front door runs on one core with everything on: keys, decisions over ten clusters, probes,
metrics, failover armed. The mock clusters and the load run in processes of their own on the
other cores. CPU time (user and system, from the kernel's accounting) is the figure of record:
unlike wall time it survives a noisy machine. What the mock cluster itself needs for the same
calls is the yardstick: where that is high, the machine was slow in that minute. Rounds are
interleaved; medians are reported.
"""

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import click
from rich.console import Console
from rich.progress import Progress

from router.auth import ENTROPY_BYTES, new_key

CLUSTERS = 10
REGIONS = (
    "us-central1",
    "us-east4",
    "europe-west4",
    "europe-west2",
    "asia-northeast1",
    "asia-southeast1",
    "us-west1",
    "southamerica-east1",
    "australia-southeast1",
    "northamerica-northeast1",
)
EVENTS_PER_STREAM = 100
EVENT_INTERVAL_S = 0.05
REPORT = Path("docs/benchmarks/edge.md")


@dataclass(frozen=True)
class Case:
    """One thing to measure. `per` is what the CPU time is divided by."""

    name: str
    connections: int
    calls: int
    prompt_bytes: int
    stream: bool
    per: str


CASES = (
    Case("call, 2 KB prompt", 32, 15_000, 2_000, False, "call"),
    Case("call, 32 KB prompt", 32, 5_000, 32_000, False, "call"),
    Case("call, 256 KB prompt", 16, 1_000, 256_000, False, "call"),
    Case("event, 100 streams", 100, 100, 2_000, True, "event"),
    Case("event, 500 streams", 500, 500, 2_000, True, "event"),
)


def cpu_s(pid: int) -> float:
    """User and system CPU seconds of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rss_kb(pid: int) -> int:
    """Resident memory of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    return 0


class Bench:
    """The processes of a run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cores = sorted(os.sched_getaffinity(0))
        self.children: list[subprocess.Popen[str]] = []
        os.sched_setaffinity(0, set(self.others))

    @property
    def others(self) -> list[int]:
        """The cores that are not the front door's."""
        return self.cores[1:] or self.cores

    def start(self, *command: str, cores: list[int]) -> subprocess.Popen[str]:
        """A child on these cores, at its first line of output."""
        child = subprocess.Popen(
            [sys.executable, *command],
            stdout=subprocess.PIPE,
            stderr=(self.folder / "stderr").open("a"),
            text=True,
            preexec_fn=lambda: os.sched_setaffinity(0, set(cores)),
        )
        self.children.append(child)
        return child

    def __enter__(self) -> "Bench":
        self.upstream = upstream = self.start(
            "-m", "tests.benchmarks.upstream", str(EVENTS_PER_STREAM), str(EVENT_INTERVAL_S), cores=self.others
        )
        assert upstream.stdout is not None
        port = int(upstream.stdout.readline())
        made = new_key(os.urandom(ENTROPY_BYTES), tenant="bench")
        self.key = made.text
        (self.folder / "keys.yaml").write_text(json.dumps([{"id": "k", "tenant": "bench", "sha256": made.row.sha256}]))
        clusters = [
            {
                "name": f"{region}-a",
                "region": region,
                "endpoint": f"http://127.0.0.1:{port}",
                "models": {"m": {"slots": 10_000}},
            }
            for region in REGIONS[:CLUSTERS]
        ]
        (self.folder / "inventory.yaml").write_text(json.dumps({"clusters": clusters}))
        settings = {
            "region": "us-central1",
            "inventory": "inventory.yaml",
            "port": 0,
            "admin_port": 0,
            "keys_file": "keys.yaml",
            "client_region_header": "x-client-region",
            "trusted_proxies": ["127.0.0.0/8"],
        }
        (self.folder / "serve.yaml").write_text(json.dumps(settings))
        os.chmod(self.folder / "keys.yaml", 0o600)
        self.door = self.start("-m", "router.cli.main", "serve", str(self.folder / "serve.yaml"), cores=self.cores[:1])
        assert self.door.stdout is not None
        line = self.door.stdout.readline()
        assert line.startswith("ready "), (self.folder / "stderr").read_text()
        self.port = int(json.loads(line.removeprefix("ready "))["url"].rpartition(":")[2])
        return self

    def __exit__(self, *_: object) -> None:
        for child in self.children:
            child.kill()
            child.wait()

    def measure(self, case: Case) -> dict[str, float]:
        """One round of a case."""
        before, mock_before = cpu_s(self.door.pid), cpu_s(self.upstream.pid)
        child = self.start(
            "-m",
            "tests.benchmarks.client",
            *map(str, (self.port, case.connections, case.calls, case.prompt_bytes, int(case.stream))),
            self.key,
            cores=self.others,
        )
        out, _ = child.communicate(timeout=180)
        told = json.loads(out)
        assert told["calls"] == case.calls, told
        assert told["errors"] == 0, told
        used = cpu_s(self.door.pid) - before
        divisor = told["events"] if case.per == "event" else told["calls"]
        mock = cpu_s(self.upstream.pid) - mock_before
        return {
            "us": used / divisor * 1e6,
            "mock_us": mock / divisor * 1e6,
            "per_s": divisor / told["seconds"],
            "busy": used / told["seconds"],
        }


@click.command()
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(1, 50))
@click.option("--only", help="Only cases whose name contains this.")
@click.option("--write/--no-write", default=True, help=f"Write {REPORT}.")
@click.option("--json", "as_json", is_flag=True)
def main(rounds: int, only: str | None, write: bool, as_json: bool) -> None:
    """Measure the front door's CPU per call and per event.

    \b
    Example:
      make bench ARGS="--rounds 3 --only 2.KB"
    """
    console = Console(stderr=True)
    cases = [case for case in CASES if only is None or only in case.name]
    found: dict[str, list[dict[str, float]]] = {case.name: [] for case in cases}
    with tempfile.TemporaryDirectory() as folder, Bench(Path(folder)) as bench, Progress(console=console) as progress:
        task = progress.add_task("measuring", total=(rounds + 1) * len(cases))
        for number in range(rounds + 1):
            for case in cases:
                result = bench.measure(case)
                if number:  # The first round warms up.
                    found[case.name].append(result)
                progress.advance(task)
        memory_kb = rss_kb(bench.door.pid)
    rows = []
    for case in cases:
        us = sorted(result["us"] for result in found[case.name])
        rows.append(
            {
                "case": case.name,
                "us_median": statistics.median(us),
                "us_min": us[0],
                "us_max": us[-1],
                "mock_us": statistics.median(result["mock_us"] for result in found[case.name]),
                "busy": statistics.median(result["busy"] for result in found[case.name]),
            }
        )
    if as_json:
        print(json.dumps({"rows": rows, "rss_kb": memory_kb}))
        return
    table = [
        "| CPU per | median µs | min | max | mock cluster µs | core busy |",
        "|---|---:|---:|---:|---:|---:|",
        *(
            f"| {row['case']} | {row['us_median']:.0f} | {row['us_min']:.0f} | {row['us_max']:.0f} "
            f"| {row['mock_us']:.0f} | {row['busy']:.0%} |"
            for row in rows
        ),
    ]
    print("\n".join(table))
    if write and only is None:
        REPORT.parent.mkdir(parents=True, exist_ok=True)
        REPORT.write_text(
            "# CPU of one front door\n\n"
            f"{__doc__.split(chr(10), 2)[2].strip()}\n\n"
            f"Made by `make bench` ({rounds} rounds, Python {platform.python_version()}, "
            f"{len(bench.cores)} cores, {platform.machine()}). "
            f"Resident memory at the end: {memory_kb / 1024:.0f} MB.\n\n" + "\n".join(table) + "\n"
        )


if __name__ == "__main__":
    main()
