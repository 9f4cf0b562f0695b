"""`make bench`: the front door beside other proxies, in one run on one machine.

Rounds are interleaved: in each, every proxy is started anew and measured in every scenario. The report (Markdown and a
plot) is written to docs/benchmarks/; all that was found is kept in a file, and `--from` makes a report of it again.
"""

import json
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from federation.limits import raise_descriptor_limit
from tests.benchmarks import install, machine, plan, plot, report
from tests.benchmarks.bench import Bench
from tests.benchmarks.measure import Round
from tests.benchmarks.proxies import Proxy, chosen
from tests.benchmarks.sample import Sample

REPORT = Path("docs/benchmarks/edge.md")
PLOT = Path("docs/benchmarks/edge.svg")
LAST = Path(".bench/edge.json")  # All that the last run found, unless --json says where to.


@dataclass
class Run:
    """All that a run found, as it is kept in JSON."""

    command: str
    date: str
    rounds: int
    quick: bool
    upload_path: str
    machine: dict[str, str]
    peers: list[dict[str, str | None]] = field(default_factory=list)  # Version, or why there is none.
    samples: list[dict[str, Any]] = field(default_factory=list)

    def add(self, samples: Iterable[Sample]) -> None:
        self.samples += [sample.as_row() for sample in samples]


def find_peers(proxies: Iterable[Proxy], may_install: bool, console: Console) -> list[dict[str, str | None]]:
    """What is there of them, installed where it was missing."""
    found: list[dict[str, str | None]] = []
    for proxy in proxies:
        with console.status(f"looking for {proxy.title}"):
            row: dict[str, str | None] = {"name": proxy.name, "title": proxy.title, "version": None, "cause": None}
            row["from"] = f"PyPI: {proxy.pypi}" if proxy.pypi else f"Debian: {proxy.debian}" if proxy.debian else "here"
            try:
                row["version"] = install.provide(proxy, may_install)
            except install.NotInstalled as cause:
                row["cause"] = str(cause)
        console.print(f"{proxy.title}: {row['version'] or row['cause']}", highlight=False)
        found.append(row)
    return found


def measure(run: Run, proxies: list[Proxy], scenarios: list[plan.Scenario], long: bool, console: Console) -> None:
    """All rounds, and then what is measured once."""
    halvings: dict[tuple[str, str], int] = {}
    given_up: dict[tuple[str, str], str] = {}
    seconds = run.rounds * sum(
        plan.start_s(proxy.name) + sum(one.takes_s for one in scenarios if plan.applies(one, proxy.name))
        for proxy in proxies
    )
    tries_max = 1 if run.quick else plan.TRIES_MAX
    long = long and proxies[0].name == "tradewind"
    seconds += plan.LONG.takes_s if long else 0
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TextColumn("left"))
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        Bench(Path(folder)) as bench,
        Progress(*columns, TimeRemainingColumn(), console=console, refresh_per_second=1) as progress,
    ):
        task = progress.add_task("starts", total=seconds)
        for number in range(run.rounds):

            def note(text: str, took_s: float, number: int = number) -> None:
                shown = f"round {number + 1} of {run.rounds}, {text}" if text else None
                progress.update(task, advance=took_s, **({"description": shown} if shown else {}))

            for proxy in proxies:
                one = Round(bench, number, run.upload_path, note, tries_max)
                run.add(one.run(proxy, scenarios, halvings, given_up))
                progress.advance(task, plan.start_s(proxy.name))
        if long:
            progress.update(task, description="1,000 events on each of 2,000 streams")
            last = Round(bench, 0, run.upload_path, lambda text, took_s: None)
            run.add(last.run(proxies[0], [plan.LONG], {}, {}))
            progress.advance(task, plan.LONG.takes_s)


def command_line(options: dict[str, object]) -> str:
    """The words that make this report again."""
    given = [f"--{name} {value}" if value is not True else f"--{name}" for name, value in options.items() if value]
    return f'make bench ARGS="{" ".join(given)}"' if given else "make bench"


def new_run(options: dict[str, object], rounds: int | None, quick: bool, upload_path: str) -> Run:
    """One that has found nothing yet."""
    return Run(
        command=command_line(options),
        date=datetime.now(UTC).date().isoformat(),
        rounds=rounds or (1 if quick else plan.ROUNDS),
        quick=quick,
        upload_path=upload_path,
        machine=machine.description(),
    )


def keep(run: Run, file: Path) -> None:
    """Before anything is made of it: half an hour of measuring outlives a fault of the report."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(asdict(run), indent=1) + "\n")


@click.command()
@click.option("--rounds", type=click.IntRange(1, 50), help=f"{plan.ROUNDS}; with --quick, 1.")
@click.option("--only", help="Only these proxies, comma-separated: tradewind,nginx,envoy.")
@click.option("--scenario", help="Only scenarios whose name contains this: streams, calls-2k, ttfb ...")
@click.option("--quick", is_flag=True, help="A smoke run of two minutes; the report goes to stdout alone.")
@click.option("--no-install", is_flag=True, help="Measure what is there; say what is not.")
@click.option("--upload-path", default=plan.UPLOAD_PATH, show_default=True, help="Where files are uploaded to.")
@click.option("--json", "json_file", type=click.Path(path_type=Path, dir_okay=False), help=f"Not in {LAST}.")
@click.option("--from", "from_file", type=click.Path(path_type=Path, exists=True), help="Report of such a FILE.")
@click.option("--write/--no-write", default=None, help=f"Write {REPORT} and {PLOT}: full runs do.")
def main(
    rounds: int | None,
    only: str | None,
    scenario: str | None,
    quick: bool,
    no_install: bool,
    upload_path: str,
    json_file: Path | None,
    from_file: Path | None,
    write: bool | None,
) -> None:
    """Measure Tradewind beside other proxies: CPU, latency, memory.

    \b
    Example:
      make bench ARGS="--quick --only tradewind,nginx,envoy"
    """
    console = Console(stderr=True)
    if from_file:
        run = Run(**json.loads(from_file.read_text()))
    else:
        options = {"rounds": rounds, "only": only, "scenario": scenario, "quick": quick}
        if upload_path != plan.UPLOAD_PATH:
            options["upload-path"] = upload_path
        run = new_run(options, rounds, quick, upload_path)
        try:
            proxies = chosen(only.split(",") if only else None)
        except KeyError as error:
            raise click.UsageError(str(error.args[0])) from None
        scenarios = [one for one in plan.scenarios(quick) if (scenario or "") in one.name]
        long = not quick and (scenario or "") in plan.LONG.name
        if not scenarios and not long:
            raise click.UsageError(f"no scenario's name contains {scenario!r}")
        run.peers = find_peers(proxies, not no_install, console)
        there = [proxy for proxy, row in zip(proxies, run.peers, strict=True) if row["version"]]
        if not there:
            raise click.ClickException("none of the proxies is there; see above")
        raise_descriptor_limit()
        measure(run, there, scenarios, long, console)
        keep(run, json_file or LAST)
    text = report.markdown(asdict(run))
    print(text)
    whole = not (run.quick or only or scenario)
    if write if write is not None else whole:
        picture = plot.svg(asdict(run))
        REPORT.parent.mkdir(parents=True, exist_ok=True)
        REPORT.write_text(text)
        PLOT.write_text(picture)


if __name__ == "__main__":
    main()
