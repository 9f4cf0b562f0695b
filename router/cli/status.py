"""`tradewind status`: clusters, liveness and capacity as one front door sees them."""

import json
import time
from typing import TYPE_CHECKING, Any

import click

from federation.clock import SystemClock
from router.cli.admin import Admin, url_option
from router.cli.duration import show_duration

if TYPE_CHECKING:
    from rich.console import RenderableType

WATCH_S = 1.0


@click.command(name="status")
@click.option("--watch", is_flag=True, help="Show it anew every second until Ctrl-C.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print the front door's answer as JSON; one line each with --watch."
)
@url_option
def command(watch: bool, as_json: bool, url: str) -> None:
    """Show clusters, liveness and capacity as a front door sees them.

    \b
    Example:
      tradewind status
      tradewind status --watch
      tradewind status --json | jq '.clusters[] | {cluster, liveness}'
    """
    with Admin(url) as admin:
        if not watch:
            document = admin.get("/admin/status")
            if as_json:
                click.echo(json.dumps(document))
            else:
                from router.cli.screen import screen

                console = screen()
                console.print(render(document, SystemClock().wall(), console.width))
        elif as_json:
            while True:
                click.echo(json.dumps(admin.get("/admin/status")))
                time.sleep(WATCH_S)
        else:
            _watch(admin)


def _watch(admin: Admin) -> None:
    """Until Ctrl-C. A front door that goes away is said so, and looked for again."""
    from rich.live import Live
    from rich.text import Text

    from router.cli.screen import screen

    clock, console = SystemClock(), screen()
    first = admin.get("/admin/status")
    with Live(render(first, clock.wall(), console.width), console=console, auto_refresh=False) as live:
        while True:
            time.sleep(WATCH_S)
            try:
                document = admin.get("/admin/status")
                live.update(render(document, clock.wall(), console.width), refresh=True)
            except click.ClickException as error:
                live.update(Text(error.format_message(), style="red"), refresh=True)


def render(status: dict[str, Any], wall_s: float, width: int) -> "RenderableType":
    """The status as tables, `width` columns wide. `wall_s` is the time now, to say how long drains last."""
    from rich.console import Group
    from rich.text import Text

    from router.cli.screen import plain_table

    head = Text()
    head.append(f"{status['region']}  up {show_duration(status['uptime_s'])}  generation {status['generation']}  ")
    mode = str(status["mode"])
    head.append(mode, style="green" if mode == "live" else "yellow")
    for store in status["stores"]:
        state = "reachable" if store["reachable"] else "unreachable"
        head.append(f"  {store['name']} ")
        head.append(state, style="green" if store["reachable"] else "red")
        if not store["reachable"] and store["age_s"] is not None:
            head.append(f" {show_duration(store['age_s'])}", style="red")
    columns = [column for column in COLUMNS if width >= WIDE_COLUMNS or column not in WIDE_ONLY]
    table = plain_table(*columns, right=NUMBERS)
    for cluster in status["clusters"]:
        for row in _rows(cluster, wall_s):
            table.add_row(*(row.get(column, "") for column in columns))
    decisions = "  ".join(f"{name} {count}" for name, count in status["decisions"].items()) or "none yet"
    return Group(head, Text(""), table, Text(""), Text(f"decisions  {decisions}"))


COLUMNS = (
    *("cluster", "region", "heartbeat", "standing", "rtt", "model", "ready"),
    *("running", "waiting", "slots", "full", "KV", "own", "not placed"),
)
NUMBERS = ("rtt", "ready", "running", "waiting", "slots", "full", "KV", "own")
WIDE_ONLY = ("region", "waiting", "KV", "own")  # Left out where they would fold every line; --json has them.
WIDE_COLUMNS = 130


def _rows(cluster: dict[str, Any], wall_s: float) -> list[dict[str, str]]:
    """One row a model, by column; what is the cluster's own stands in the first alone."""
    liveness, age = str(cluster["liveness"]), cluster["heartbeat_age_s"]
    beat = _paint(liveness, LIVENESS) if age is None else f"{_paint(liveness, LIVENESS)} {show_duration(age)}"
    head = {
        "cluster": cluster["cluster"],
        "region": cluster["region"],
        "heartbeat": beat,
        "standing": _standing(cluster, wall_s),
        "rtt": "-" if cluster["rtt_ms"] is None else f"{cluster['rtt_ms']:.1f} ms",
    }
    models = [_model(model) for model in cluster["models"]] or [{"model": "-"}]
    return [{**(head if index == 0 else {}), **row} for index, row in enumerate(models)]


LIVENESS = {"fresh": "green", "stale": "yellow", "lost": "red"}
STANDING = {"admitted": "green", "probation": "yellow", "ejected": "red"}


def _standing(cluster: dict[str, Any], wall_s: float) -> str:
    standing, drain = cluster["standing"], cluster["drain"]
    state = str(standing["state"])
    text = _paint(state, STANDING)
    if state != "admitted" and standing["cause"]:
        text += f" ({standing['cause']})"
    if state != "admitted" and standing["for_s"] is not None:
        text += f" {show_duration(standing['for_s'])}"
    if standing.get("next_try_s"):
        text += f", next try in {show_duration(standing['next_try_s'])}"
    if standing.get("doubted_s"):
        text += f" [yellow]doubted, takes {standing['share']:.0%} of its calls[/]"
    elif state == "probation":
        text += f" [yellow]slow start {standing['share']:.0%}[/]"
    if drain is not None:
        left_s = drain["until_unix_ms"] / 1000 - wall_s
        text += f" [yellow]drained[/] {show_duration(left_s)} more ({_escape(drain['reason'])})"
    return text


def _model(model: dict[str, Any]) -> dict[str, str]:
    ready, desired = model["replicas_ready"], model["replicas_desired"]
    return {
        "model": _escape(model["model"]),
        "ready": "-" if ready is None else f"{ready}/{desired}",
        "running": _count(model["running"]),
        "waiting": _count(model["waiting"]),
        "slots": _count(model["slots"]),
        "full": _share(model["saturation"]),
        "KV": _share(model["kv_cache_utilization"]),
        "own": _count(model["own_in_flight"]),
        "not placed": str(model["drop"] or ""),
    }


def _paint(word: str, styles: dict[str, str]) -> str:
    return f"[{styles[word]}]{word}[/]" if word in styles else word


def _escape(text: str) -> str:
    from rich.markup import escape

    return escape(text)


def _count(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"
