"""`make fuzz`: all of it for as long as it is told, in as many processes as there are cores; writes the counts down.

Stops at the first fault and prints the seed and the case, and the smallest input that shows it.
"""

import multiprocessing
import os
import platform
import sys
import time
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from pathlib import Path
from random import Random

import click

from router.edge import protocol
from tests.fuzz.batches import KINDS, SHARE, batch
from tests.fuzz.desync import Counts

REPORT = Path("docs/benchmarks/fuzz.md")


@click.command()
@click.option("--minutes", default=5.0, show_default=True)
@click.option("--seed", type=int, help="Of the first batch; by default another every time.")
@click.option("--processes", default=os.cpu_count() or 1, show_default=True)
@click.option("--report/--no-report", default=True, help=f"Write {REPORT}.")
def main(minutes: float, seed: int | None, processes: int, report: bool) -> None:
    """Fuzz requests, answers and interleaved calls."""
    first = seed if seed is not None else Random().randrange(1 << 32)
    click.echo(f"seeds from {first} on, {processes} processes, {minutes:g} minutes")
    plan = [kind for turn in range(max(SHARE.values())) for kind in KINDS if turn < SHARE[kind]]
    deadline = time.perf_counter() + 60 * minutes
    done = dict.fromkeys(KINDS, 0)
    spent = dict.fromkeys(KINDS, 0.0)
    counts = {kind: Counts() for kind in KINDS}
    number = 0
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as executor:
        running: set[Future[tuple[str, list[str], int, Counts, float]]] = set()
        while True:
            while len(running) < processes and time.perf_counter() < deadline:
                running.add(executor.submit(batch, plan[number % len(plan)], first + number))
                number += 1
            if not running:
                break
            ready, running = wait(running, return_when=FIRST_COMPLETED)
            for kind, faults, cases, seen, took_s in (future.result() for future in ready):
                done[kind] += cases
                spent[kind] += took_s
                counts[kind].add(seen)
                if faults:
                    click.echo("\n".join(faults), err=True)
                    sys.exit(1)
            click.echo(", ".join(f"{kind} {count:,}" for kind, count in done.items()))
    if report:
        REPORT.write_text(_page(minutes, first, processes, done, spent, counts))


def _command(minutes: float, seed: int) -> str:
    """What was run: the source, or the wheel of `make compiled` in an environment that has it."""
    options = f"--minutes {minutes:g} --seed {seed}"
    if str(protocol.__file__).endswith(".so"):
        return f"python -m tests.fuzz {options}` against the wheel of `make compiled"
    return f'make fuzz ARGS="{options}"'


def _page(
    minutes: float, seed: int, processes: int, done: dict[str, int], spent: dict[str, float], counts: dict[str, Counts]
) -> str:
    names = {
        "requests": "streams of requests against the strict reader",
        "answers": "clusters' answers against the strict reader",
        "interleaved": "interleaved calls, in memory and virtual time",
        "sockets": "interleaved calls over real sockets",
    }
    rows = [f"| {names[kind]} | {done[kind]:,} | {done[kind] / spent[kind]:,.0f} |" for kind in KINDS if spent[kind]]
    calls = [
        f"| {names[kind]} | "
        + " | ".join(f"{count:,}" for count in (c.calls, c.complete, c.streams, c.broken, c.errors, c.cancelled))
        + f" | {c.upstream_connections:,} |"
        for kind in ("interleaved", "sockets")
        for c in (counts[kind],)
    ]
    return "\n".join(
        [
            "# Fuzzing: the counts",
            "",
            f"Made by `{_command(minutes, seed)}` (Python {platform.python_version()},"
            f" {processes} processes on {os.cpu_count()} cores, {platform.machine()}, load {os.getloadavg()[1]:.1f})."
            " No fault was found: a run that finds one stops, prints it,"
            " and writes nothing. What is checked is said in [docs/http.md](../http.md).",
            "",
            "| what | cases or calls | a second and process |",
            "|---|---:|---:|",
            *rows,
            "",
            "Of the calls:",
            "",
            "| | sent | answered whole | streams | broken | errors | clients that left | upstream connections |",
            "|---|---:|---:|---:|---:|---:|---:|---:|",
            *calls,
            "",
        ]
    )


if __name__ == "__main__":
    main()
