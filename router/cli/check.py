"""`tradewind check`: what is wrong with a configuration, before anything starts."""

import json
import os
from pathlib import Path

import click


@click.command(name="check")
@click.argument("config", type=click.Path(path_type=Path), default="tradewind.yaml")
@click.option("--json", "as_json", is_flag=True, help="Print what was found as JSON.")
def command(config: Path, as_json: bool) -> int:
    """Say what is wrong with a configuration, line by line, before anything starts.

    CONFIG is the settings of a front door or of an agent, an inventory, a keys file or a matrix; default
    tradewind.yaml. What it names is checked, too, and TRADEWIND_* variables count. Exit status 1: it cannot be used.

    \b
    Example:
      tradewind check serve.yaml
    """
    from router.checking import check_file

    report = check_file(config, os.environ)
    if as_json:
        found = {"kind": report.kind, "mistakes": report.mistakes, "warnings": report.warnings}
        click.echo(json.dumps(found))
        return 1 if report.mistakes else 0
    for line in (*report.mistakes, *report.warnings):
        click.echo(line)
    if report.mistakes:
        count = len(report.mistakes)
        raise click.ClickException(f"{config}: {count} {'mistake' if count == 1 else 'mistakes'}, listed on stdout")
    click.echo(f"{config}: this {report.kind} can be used")
    return 0
