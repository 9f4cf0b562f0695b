"""`tradewind replay`: a trace's arrivals and lengths against a live endpoint."""

import asyncio
import gzip
import json
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from router.cli.duration import seconds

if TYPE_CHECKING:
    from router.replay.client import Client
    from router.replay.pacing import Plan
    from router.replay.tally import Tally
    from router.replay.traces import Arrival

PATH = "/v1/chat/completions"
SHOW_S = 0.25
FOUND_S = 5.0


@click.command(name="replay")
@click.argument("trace", type=click.Path(path_type=Path))
@click.option("--url", required=True, help="A front door, or any OpenAI-compatible server; with or without /v1.")
@click.option(
    "--speed", type=click.FloatRange(0, min_open=True), default=1.0, show_default=True, help="5: five times as fast."
)
@click.option("--for", "for_s", callback=seconds, help="Send nothing after so long, such as 60s.  [default: all of it]")
@click.option("--drain", "drain_s", callback=seconds, default="2m", show_default=True, help="Wait so long for answers.")
@click.option("--timeout", "timeout_s", callback=seconds, default="10m", show_default=True, help="For each answer.")
@click.option("--model", help="The model to call.  [default: the first that the endpoint lists]")
@click.option("--from", "regions", metavar="REGION,...", help="Where calls come from (x-client-region), at random.")
@click.option("--stream/--no-stream", default=True, show_default=True, help="Whether answers come as they are made.")
@click.option("--api-key", envvar="TRADEWIND_API_KEY", help="An API key; TRADEWIND_API_KEY sets it, too.")
@click.option(
    "--max-in-flight", type=click.IntRange(1, 20_000), default=2_000, show_default=True, help="Beyond it, none is sent."
)
@click.option(
    "--tokens-scale",
    type=click.FloatRange(0, min_open=True),
    default=1.0,
    show_default=True,
    help="Multiplies lengths.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of the choice among regions.")
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON.")
def command(trace: Path, **options: Any) -> int:
    """Replay a trace's arrivals and lengths against a live endpoint.

    TRACE is Azure's CSV or Mooncake's JSON lines, perhaps with .gz. Arrivals never wait for answers. Prompts are
    made up, of the right lengths; equal prefixes stay equal. Exit status 1: a call failed.

    \b
    Example:
      tradewind replay azure_2023_conv.csv.gz --url http://127.0.0.1:8080 --speed 2 --for 60s
    """
    import uvloop

    from router.replay.pacing import Plan
    from router.replay.tally import Tally
    from router.replay.traces import BadTrace

    url = options["url"].rstrip("/").removesuffix("/v1")
    try:
        arrivals = read_trace(trace)
    except BadTrace as error:
        raise click.ClickException(str(error)) from None
    plan = Plan(
        model=options["model"] or _first_model(url, options["api_key"]),
        speed=options["speed"],
        for_s=options["for_s"],
        drain_s=options["drain_s"],
        stream=options["stream"],
        regions=tuple(region.strip() for region in (options["regions"] or "").split(",") if region.strip()),
        in_flight_max=options["max_in_flight"],
        tokens_scale=options["tokens_scale"],
        seed=options["seed"],
    )
    tally = Tally()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            runner.run(_run(arrivals, plan, url, options, tally))
        except ValueError as error:  # The URL or a header; found before anything was sent.
            raise click.UsageError(str(error)) from None
        except KeyboardInterrupt:
            click.echo("interrupted; what follows is what had come by then", err=True)
    if options["as_json"]:
        click.echo(json.dumps(tally.to_document()))
    else:
        _show(tally)
    return 1 if tally.failed else 0


def read_trace(path: Path) -> "list[Arrival]":
    """The arrivals in a file. Raises BadTrace."""
    from router.replay.traces import BadTrace, parse_trace

    try:
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as lines:
            return parse_trace(lines, str(path))
    except FileNotFoundError:
        raise BadTrace(f"{path}: no such file") from None
    except (OSError, EOFError, zlib.error) as error:
        raise BadTrace(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    except UnicodeDecodeError:
        raise BadTrace(f"{path}: not UTF-8 text") from None


def _first_model(url: str, api_key: str | None) -> str:
    import httpx

    headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
    try:
        answer = httpx.get(f"{url}/v1/models", headers=headers, timeout=FOUND_S, trust_env=False)
        return str(answer.raise_for_status().json()["data"][0]["id"])
    except httpx.ConnectError:
        raise click.ClickException(
            f"nobody answers at {url}; start a fleet with `tradewind up` or mend --url"
        ) from None
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, LookupError, TypeError) as error:
        raise click.ClickException(f"{url} lists no model ({error}); name one with --model") from None


async def _run(arrivals: "list[Arrival]", plan: "Plan", url: str, options: dict[str, Any], tally: "Tally") -> None:
    from federation.clock import SystemClock
    from router.replay.client import Client
    from router.replay.pacing import due, replay

    key = options["api_key"]
    headers = [("authorization", f"Bearer {key}")] if key else []
    client = Client(url, PATH, headers, options["timeout_s"])
    total = due(arrivals, plan)
    showing = asyncio.get_running_loop().create_task(_progress(tally, client, total))
    try:
        await replay(arrivals, plan, client, tally, SystemClock())
    finally:
        showing.cancel()
        await asyncio.wait({showing})


async def _progress(tally: "Tally", client: "Client", total: int) -> None:
    """A bar on stderr until cancelled."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from router.cli.screen import screen
    from router.replay.tally import percentile

    columns = (BarColumn(bar_width=24), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=screen(stderr=True), auto_refresh=False, transient=True) as bar:
        task = bar.add_task("", total=total)
        while True:
            median = percentile(sorted(tally.ttft_s[-1_000:]), 50)
            median_text = "-" if median is None else f"{median * 1000:.0f} ms"
            text = f"sent {tally.sent} of {total}  in flight {client.in_flight}  failed {tally.failed}"
            text += f"  p50 TTFT {median_text}"
            bar.update(task, completed=tally.sent, description=text, refresh=True)
            await asyncio.sleep(SHOW_S)


def _show(tally: "Tally") -> None:
    from rich.markup import escape

    from router.cli.screen import plain_table, screen
    from router.replay.tally import PERCENTILES

    found = tally.to_document()
    console = screen()
    console.print(
        f"{found['sent']} calls in {found['wall_s']:.1f} s, {found['failed']} failed; "
        f"sent at most {found['late_ms_max']:.0f} ms late"
    )
    names = tuple(f"p{percent}" for percent in PERCENTILES)
    latency = plain_table("ms", *names, right=names)
    for name, row in (("TTFT", found["ttft_ms"]), ("TPOT", found["tpot_ms"])):
        latency.add_row(name, *("-" if value is None else f"{value:,.1f}" for value in row.values()))
    console.print(latency)
    for title, counts in (("region", found["regions"]), ("decision", found["decisions"])):
        if counts:
            shares = plain_table(title, "calls", "share", right=("calls", "share"))
            for name, count in counts.items():
                shares.add_row(escape(name), str(count), f"{count / sum(counts.values()):.1%}")
            console.print(shares)
    for kind, failure in found["failures"].items():
        console.print(f"[red]{failure['count']} {escape(kind)}[/]: {escape(failure['first'])}", highlight=False)
