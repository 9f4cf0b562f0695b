"""`make soak`: exit status 1 if something is not flat or a call failed that could have been saved."""

import asyncio
import sys
from pathlib import Path
from random import Random

import click
import uvloop
from rich.console import Console

from tests.soak.picture import svg
from tests.soak.progress import Progress
from tests.soak.report import page
from tests.soak.run import SETTLE_S, Run, Soak, machine

PAGE = Path("docs/benchmarks/soak.md")
PICTURE = Path("docs/benchmarks/soak.svg")


@click.command()
@click.option("--minutes", default=30.0, show_default=True, help="Of load; a minute of rest follows.")
@click.option("--rate", default=40.0, show_default=True, help="Calls a second.")
@click.option("--seed", type=int, help="Of load and faults; by default another every time.")
@click.option("--settle", default=SETTLE_S, show_default=True, help="Seconds of rest at the end.")
@click.option("--logs", type=click.Path(path_type=Path), help="A folder for what the processes wrote, and the samples.")
@click.option("--report", default=PAGE.parent, show_default=True, type=click.Path(path_type=Path), help="Its folder.")
def main(minutes: float, rate: float, seed: int | None, settle: float, logs: Path | None, report: Path) -> None:
    """Mixed load over three regions that fail at random; writes docs/benchmarks/soak.md and soak.svg."""
    drawn = seed if seed is not None else Random().randrange(1 << 31)
    run = Run(seconds=60 * minutes, rate=rate, seed=drawn, settle_s=settle, machine=machine())
    console = Console()
    console.print(f"seed {drawn}, {minutes:g} minutes and {settle:g} s of rest")
    with Progress(console) as watch, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(Soak(run, watch).go(logs))
    report.mkdir(parents=True, exist_ok=True)
    text = page(run)
    (report / PAGE.name).write_text(text)
    (report / PICTURE.name).write_text(svg(run))
    console.print(text, markup=False, soft_wrap=True)
    if run.left_out:
        console.print(f"{run.left_out} calls were left out: too many were under way", style="yellow")
    console.print(f"the load was late by {run.late_s_max * 1000:.0f} ms at most")
    if run.faulted:
        console.print("not passed: " + "; ".join(run.faulted), style="red", markup=False)
        sys.exit(1)


if __name__ == "__main__":
    main()
