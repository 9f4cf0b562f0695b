"""`tradewind drain`: an operator's wish; it ends by itself."""

import getpass
import json
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import click

from router.cli.admin import Admin, url_option
from router.cli.duration import seconds


@click.command(name="drain")
@click.argument("cluster")
@click.option("--for", "for_s", callback=seconds, default="30m", show_default=True, help="How long: 90s, 30m, 2h, 1d.")
@click.option("--reason", required=True, help="Why; shown by `status` and kept with the drain.")
@click.option("--json", "as_json", is_flag=True, help="Print the front door's answer as JSON.")
@url_option
def command(cluster: str, for_s: float, reason: str, as_json: bool, url: str) -> None:
    """Take a cluster out of new placements for a while.

    Calls under way there finish. The drain ends by itself, or with `tradewind undrain`.

    \b
    Example:
      tradewind drain us-central1-a --for 30m --reason "node upgrade"
    """
    if for_s <= 0:
        raise click.UsageError("--for: expected more than 0 seconds")
    if not reason.strip():
        raise click.UsageError("--reason: say why in a few words")
    with Admin(url) as admin:
        answer = admin.put(drain_path(cluster), {"for_s": for_s, "reason": reason, "by": user()})
    if as_json:
        click.echo(json.dumps(answer))
        return
    until = datetime.fromtimestamp(answer["until_unix_ms"] / 1000, UTC)
    click.echo(f"{cluster} takes no new calls until {until:%Y-%m-%d %H:%M:%S} UTC{shared(answer)}")


def drain_path(cluster: str) -> str:
    """Where the drain of a cluster is in the admin API."""
    return f"/admin/drains/{quote(cluster, safe='')}"


def user() -> str:
    """Who acts, as this machine knows them; empty where it does not."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return ""


def shared(answer: dict[str, Any]) -> str:
    """What to know of how far a drain has spread; empty if every store took it."""
    written, configured = answer["stores_written"], answer["stores_configured"]
    if written == configured:
        return ""
    if written:
        return f"; {written} of {configured} stores took it, the others get it when they are back"
    return "; no store took it, so other front doors do not know until one does"
