"""`tradewind explain`: the decision that would be taken now, with the numbers."""

import json
from typing import Any

import click

from router.cli.admin import Admin, url_option

WIDE_ONLY = ("region", "others", "own")  # Left out where they would fold every line; --json has them.
WIDE_COLUMNS = 110


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
    from rich.markup import escape

    from router.cli.screen import plain_table, screen

    console = screen()
    model, origin = escape(explanation["model"]), escape(explanation["origin"])
    state = f"generation {explanation['generation']}, {explanation['mode']}"
    console.print(f"{model} from {origin}: [bold]{explanation['outcome']}[/]  ({state})")
    numbers = ("rtt", "slots", "others", "own", "headroom", "full")
    columns: tuple[str, ...] = ("rank", "cluster", "region", "verdict", *numbers, "heartbeat")
    if console.width < WIDE_COLUMNS:
        columns = tuple(column for column in columns if column not in WIDE_ONLY)
    table = plain_table(*columns, right=numbers)
    for row in explanation["rows"]:
        cells = {
            "rank": str(row["rank"] or "-"),
            "cluster": row["cluster"],
            "region": row["region"],
            "verdict": row["verdict"],
            "rtt": f"{row['rtt_ms']:.1f} ms{'' if row['rtt_measured'] else ' ~'}",
            "slots": _number(row["slots"]),
            "others": _number(row["load_of_others"]),
            "own": _number(row["own_in_flight"]),
            "headroom": _number(row["headroom_slots"]),
            "full": "-" if row["saturation"] is None else f"{row['saturation']:.0%}",
            "heartbeat": row["liveness"] or "-",
        }
        table.add_row(*(cells[column] for column in columns))
    console.print(table)
    if any(not row["rtt_measured"] for row in explanation["rows"]):
        console.print("~ by great circle, not measured", style="dim")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}".removesuffix(".0")
