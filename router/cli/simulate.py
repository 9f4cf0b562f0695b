"""`tradewind simulate`: policies over a scenario, in simulated time."""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from router.simulation.runs import Inputs, Result

SEEDS_MAX = 100


def _list(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    """Says which policies there are, and ends."""
    if wanted:
        from router.simulation.policies import POLICIES

        for policy in POLICIES.values():
            click.echo(f"{policy.name:20} {policy.about}")
        context.exit()


@click.command(name="simulate")
@click.argument("scenario", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--policy", "policies", multiple=True, help="Again for several; `all` for every one.  [default: tradewind]"
)
@click.option("--seeds", type=click.IntRange(1, SEEDS_MAX), default=1, show_default=True, help="Runs of each policy.")
@click.option("--jobs", type=click.IntRange(1, 256), help="Runs at the same time.  [default: one a core]")
@click.option("--load", type=click.FloatRange(0, min_open=True), help="Instead of the scenario's: 0.8, say.")
@click.option("--rtt", type=click.Path(path_type=Path), help="A matrix instead of the scenario's.")
@click.option("--trace", type=click.Path(path_type=Path), help="A trace instead of the scenario's calls.")
@click.option("--report", type=click.Path(path_type=Path, file_okay=False), help="Write a report with pictures there.")
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON.")
@click.option(
    "--list", is_flag=True, is_eager=True, expose_value=False, callback=_list, help="Say which policies there are."
)
def command(
    scenario: Path,
    policies: tuple[str, ...],
    seeds: int,
    jobs: int | None,
    load: float | None,
    rtt: Path | None,
    trace: Path | None,
    report: Path | None,
    as_json: bool,
) -> int:
    """Simulate policies over a scenario: a fleet, its load, what befalls it.

    SCENARIO is a short YAML file: a fleet, its load, what befalls it. The same seed brings the same calls to every
    policy, and the same results each time.

    \b
    Example:
      tradewind simulate docs/routing/scenarios/region-lost.yaml --policy tradewind --policy nearest
    """
    from federation.geography import BadMatrix
    from router.document import nearest
    from router.replay.traces import BadTrace
    from router.simulation.experiment import read, run_all
    from router.simulation.policies import POLICIES
    from router.simulation.scenario import BadScenario

    chosen = list(POLICIES) if "all" in policies else list(dict.fromkeys(policies or ("tradewind",)))
    for name in chosen:
        if name not in POLICIES:
            raise click.UsageError(f"no policy {name!r}; {nearest(name, list(POLICIES))}")
    try:
        inputs = read(scenario, load=load, rtt=rtt, trace=trace)
    except (BadScenario, BadTrace, BadMatrix) as error:
        click.echo(str(error), err=True)
        return 2
    if report is not None:
        _make(report)  # Before an hour of work, not after it.
    first = inputs.scenario.seed
    with _Bar(len(chosen) * seeds * inputs.scenario.duration_s) as bar:
        results = run_all(inputs, chosen, range(first, first + seeds), jobs or os.cpu_count() or 1, bar.advance)
    if report is not None:
        given = {"load": load, "rtt": rtt, "trace": trace}
        _write(report, _words(scenario, chosen, seeds, given), inputs, results)
    if as_json:
        from router.simulation.report import document

        click.echo(json.dumps(document(inputs, results)))
    else:
        _show(inputs, results, report)
    return 0


class _Bar:
    """Simulated seconds of all runs, on stderr."""

    def __init__(self, total_s: float) -> None:
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        from router.cli.screen import screen

        columns = (BarColumn(bar_width=24), TextColumn("{task.completed:,.0f} of {task.total:,.0f} simulated seconds"))
        self._progress = Progress(
            *columns, TimeElapsedColumn(), TimeRemainingColumn(), console=screen(stderr=True), transient=True
        )
        self._task = self._progress.add_task("", total=total_s)

    def __enter__(self) -> "_Bar":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def advance(self, seconds: float) -> None:
        self._progress.advance(self._task, seconds)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise click.ClickException(f"cannot write the report to {folder}: {error.strerror}") from None


def _words(scenario: Path, policies: "Sequence[str]", seeds: int, given: "Mapping[str, object]") -> str:
    """The command that makes a report again."""
    from router.simulation.policies import POLICIES

    names = ["all"] if list(policies) == list(POLICIES) else policies
    options = [f"--{name} {value}" for name, value in given.items() if value is not None]
    return " ".join(
        ["tradewind simulate", str(scenario), *[f"--policy {name}" for name in names], f"--seeds {seeds}", *options]
    )


def _write(folder: Path, command: str, inputs: "Inputs", results: "Sequence[Result]") -> None:
    from router.simulation import plots
    from router.simulation.report import document, markdown

    try:
        (folder / "report.md").write_text(markdown(inputs, results, command))
        (folder / "report.json").write_text(json.dumps(document(inputs, results), indent=1) + "\n")
        (folder / "ttft.svg").write_text(plots.ttft_over_time(inputs.scenario, results))
        (folder / "cdf.svg").write_text(plots.distributions(results))
        (folder / "flows.svg").write_text(plots.flows(results))
    except OSError as error:
        raise click.ClickException(f"cannot write the report to {folder}: {error.strerror}") from None


def _show(inputs: "Inputs", results: "Sequence[Result]", report: Path | None) -> None:
    from router.cli.screen import plain_table, screen
    from router.simulation.report import table

    console = screen()
    headings, *rows = table(results)
    shown = plain_table(*headings, right=tuple(headings[1:]))
    for row in rows:
        shown.add_row(*row)
    calls = sum(result.figures.calls for result in results)
    console.print(f"{inputs.scenario.name}: {inputs.rate:,.1f} calls/s, {calls:,} calls that count")
    console.print(shown)
    if report is not None:
        console.print(f"report in {report / 'report.md'}", highlight=False)
