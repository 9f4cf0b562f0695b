"""`tradewind undrain`: the end of a drain before its time."""

import json

import click

from router.cli.admin import Admin, url_option
from router.cli.drain import drain_path, shared


@click.command(name="undrain")
@click.argument("cluster")
@click.option("--json", "as_json", is_flag=True, help="Print the front door's answer as JSON.")
@url_option
def command(cluster: str, as_json: bool, url: str) -> None:
    """End a cluster's drain.

    \b
    Example:
      tradewind undrain us-central1-a
    """
    with Admin(url) as admin:
        answer = admin.delete(drain_path(cluster))
    click.echo(json.dumps(answer) if as_json else f"{cluster} takes new calls again{shared(answer)}")
