"""`tradewind explain`: the decision that would be taken now, with the numbers."""

import json
from typing import Any

import click

from router.cli.admin import Admin, url_option


@click.command(name="explain")
@click.option("--model", required=True, help="The model that is called.")
@click.option("--from", "origin", required=True, metavar="REGION", help="The region that the call comes from.")
@click.option("--prompt-tokens", type=click.IntRange(0), default=0, help="How long its prompt is.")
@click.option("--json", "as_json", is_flag=True, help="Print the front door's answer as JSON.")
@url_option
def command(model: str, origin: str, prompt_tokens: int, as_json: bool, url: str) -> None:
    """Show where a call would go now, cluster by cluster, with the numbers.

    \b
    Example:
      tradewind explain --model emulated-8b --from europe-west4 --prompt-tokens 2000
    """
    with Admin(url) as admin:
        explanation = admin.get("/admin/explain", {"model": model, "from": origin, "prompt_tokens": prompt_tokens})
    if as_json:
        click.echo(json.dumps(explanation))
    else:
        _show(explanation)


def _show(explanation: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    model, origin = escape(explanation["model"]), escape(explanation["origin"])
    state = f"generation {explanation['generation']}, {explanation['mode']}"
    console.print(f"{model} from {origin}: [bold]{explanation['outcome']}[/]  ({state})")
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("rank", "cluster", "region", "verdict"):
        table.add_column(column)
    for column in ("rtt", "slots", "others", "own", "headroom", "full"):
        table.add_column(column, justify="right")
    table.add_column("heartbeat")
    for row in explanation["rows"]:
        table.add_row(
            str(row["rank"] or "-"),
            row["cluster"],
            row["region"],
            row["verdict"],
            f"{row['rtt_ms']:.1f} ms{'' if row['rtt_measured'] else ' ~'}",
            _number(row["slots"]),
            _number(row["load_of_others"]),
            _number(row["own_in_flight"]),
            _number(row["headroom_slots"]),
            "-" if row["saturation"] is None else f"{row['saturation']:.0%}",
            row["liveness"] or "-",
        )
    console.print(table)
    if any(not row["rtt_measured"] for row in explanation["rows"]):
        console.print("~ by great circle, not measured", style="dim")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}".removesuffix(".0")
