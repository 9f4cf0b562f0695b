"""`tradewind up`: a whole fleet on this machine, until Ctrl-C or SIGTERM."""

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from federation.clock import SystemClock
from federation.geography import COORDINATES, BadMatrix, Distances
from federation.lab.folders import FolderTaken, locked, private_folder, write_private
from federation.lab.layout import BadLayout, Layout, plan_clusters
from federation.lab.presets import PRESETS
from federation.lab.processes import StartFailed
from federation.lab.supervisor import PortTaken, Supervisor
from federation.log import configure_logging
from router.cli.admin import token_path

REGIONS = "us-central1,europe-west4,asia-northeast1"
PORT = click.IntRange(0, 65535)


@click.command(name="up")
@click.option("--port", type=PORT, default=8080, show_default=True, help="Where the front door listens; 0: any.")
@click.option("--admin-port", type=PORT, default=8081, show_default=True, help="Where its admin API listens; 0: any.")
@click.option("--data", "data_dir", type=click.Path(path_type=Path), help="Keep what Redis holds there over restarts.")
@click.option("--regions", default=REGIONS, show_default=True, help="One emulated cluster in each, comma-separated.")
@click.option("--replicas", type=click.IntRange(1, 64), default=2, show_default=True, help="Model servers a cluster.")
@click.option("--front-doors", type=click.IntRange(1, 16), default=1, show_default=True, help="The first has --port.")
@click.option("--cluster", "real", multiple=True, metavar="NAME=REGION=URL", help="A real OpenAI-compatible server.")
@click.option("--rtt", "rtt_file", type=click.Path(path_type=Path), help="CSV matrix of round trips in ms.")
@click.option("--redis", type=click.IntRange(1, 16), default=1, show_default=True, help="Stores for heartbeats.")
@click.option("--job-redis", type=click.IntRange(1, 16), default=1, show_default=True, help="Stores for jobs.")
@click.option("--speed", type=click.FloatRange(0.01, 1000), default=1.0, help="Emulated models run this much faster.")
@click.option("--seed", type=click.IntRange(0), help="Makes emulated models and front doors repeat themselves.")
@click.option("--preset", type=click.Choice(list(PRESETS)), default="small", show_default=True, help="Emulated speed.")
@click.option("--model", "models", multiple=True, help="An emulated model's name; repeatable, each has its replicas.")
@click.option("--restart-after", type=click.FloatRange(0), default=20.0, show_default=True, help="Seconds; 0: never.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON line with all processes instead of a table.")
@click.pass_context
def command(context: click.Context, /, **options: Any) -> int:
    """Run a whole fleet on this machine: emulated regions, agents and a front door.

    Nothing outlives the command; Ctrl-C ends every process. Prints `ready URL` once calls can be sent.

    \b
    Example:
      tradewind up
      tradewind up --regions us-central1,europe-west4 --replicas 1 --port 9000 --admin-port 9001
      tradewind up --cluster lab=europe-west4=http://127.0.0.1:8000
    """
    layout = _layout(context, options)
    if context.get_parameter_source("job_redis") is not click.core.ParameterSource.DEFAULT:
        click.echo("--job-redis is not used yet", err=True)
    configure_logging("up", "warning")
    try:
        with ExitStack() as stack:
            if layout.data_dir is not None:
                Path(layout.data_dir).mkdir(parents=True, exist_ok=True, mode=0o700)
                stack.enter_context(locked(Path(layout.data_dir)))
                _say(f"heartbeats and drains are kept in {layout.data_dir}")
            state_dir = stack.enter_context(private_folder(SystemClock().wall()))
            runner = stack.enter_context(asyncio.Runner())
            return runner.run(_run(layout, state_dir, as_json=options["as_json"]))
    except FolderTaken as error:
        raise click.ClickException(f"{error}; give another --data, or end that one") from None
    except OSError as error:
        raise click.ClickException(f"{error.filename or layout.data_dir}: {error.strerror}") from None


def _layout(context: click.Context, options: dict[str, Any]) -> Layout:
    """The layout that was asked for. Raises click.UsageError."""
    from federation.lab.model_server import DEFAULT_MODEL

    regions = [region.strip() for region in options["regions"].split(",") if region.strip()]
    if options["real"] and context.get_parameter_source("regions") is click.core.ParameterSource.DEFAULT:
        regions = []  # Whoever brings servers of their own wants no emulated ones beside them unless they say so.
    port, admin_port = options["port"], options["admin_port"]
    if port == admin_port and port != 0:
        raise click.UsageError(f"--port and --admin-port are both {port}", context)
    rtt_file: Path | None = options["rtt_file"]
    data_dir: Path | None = options["data_dir"]
    try:
        clusters = plan_clusters(regions, options["real"])
        distances = Distances.prior()
        if rtt_file is not None:
            distances = Distances.parse(rtt_file.read_text(), str(rtt_file))
    except (BadLayout, BadMatrix) as error:
        raise click.UsageError(str(error), context) from None
    except (OSError, UnicodeDecodeError) as error:
        raise click.UsageError(f"--rtt {rtt_file}: cannot be read: {error}", context) from None
    measured = {region for pair in distances.measured for region in pair}
    for region in sorted({plan.region for plan in clusters} - measured - set(COORDINATES)):
        _say(f"region {region!r} has no coordinates and stands in no matrix (--rtt): it counts as far from everywhere")
    return Layout(
        clusters=clusters,
        port=port,
        admin_port=admin_port,
        replicas=options["replicas"],
        front_doors=options["front_doors"],
        redis=options["redis"],
        models=options["models"] or (DEFAULT_MODEL,),
        preset=options["preset"],
        speed=options["speed"],
        seed=options["seed"],
        rtt_file=str(rtt_file.resolve()) if rtt_file is not None else None,
        data_dir=str(data_dir.resolve()) if data_dir is not None else None,
        restart_after_s=options["restart_after"],
    )


def _say(line: str) -> None:
    click.echo(line, err=True)


async def _run(layout: Layout, state_dir: Path, *, as_json: bool) -> int:
    """Start, wait for a signal, end; the exit status. Nothing is left running, whatever happens in between."""
    supervisor = Supervisor(layout, state_dir, _say)
    stop = asyncio.Event()
    token_file: Path | None = None
    try:
        with _signals(stop, supervisor):
            try:
                if not await _started(supervisor, stop):
                    return 130
                token_file = _publish_token(supervisor)
                _announce(layout, supervisor, state_dir, token_file, as_json=as_json)
                await stop.wait()
                return 0
            except (StartFailed, PortTaken) as error:
                _say(f"tradewind up: {error}")
                return 1
            finally:
                await supervisor.stop()
    finally:
        if token_file is not None:
            token_file.unlink(missing_ok=True)


async def _started(supervisor: Supervisor, stop: asyncio.Event) -> bool:
    """Start everything; False if a signal came before that was done."""
    loop = asyncio.get_running_loop()
    starting = loop.create_task(supervisor.start())
    stopping = loop.create_task(stop.wait())
    try:
        await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
        return not stop.is_set()
    finally:
        for task in (starting, stopping):
            task.cancel()
        await asyncio.wait({starting, stopping})


@contextlib.contextmanager
def _signals(stop: asyncio.Event, supervisor: Supervisor) -> Iterator[None]:
    """The first SIGINT or SIGTERM asks for the end, the second makes it hard."""
    loop = asyncio.get_running_loop()
    killing: list[asyncio.Task[None]] = []

    def on_signal() -> None:
        if stop.is_set() and not killing:
            _say("ending at once")
            killing.append(loop.create_task(supervisor.kill()))
        elif not stop.is_set():
            _say("ending; once more to end at once")
        stop.set()

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for number in numbers:
        loop.add_signal_handler(number, on_signal)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


def _publish_token(supervisor: Supervisor) -> Path | None:
    """Put the admin token where `status`, `drain` and the others look; None, with a line, where that cannot be."""
    path = token_path(supervisor.admin_url, os.environ)
    assert path is not None, "our own front door is on loopback"
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_private(path, supervisor.token + "\n")
    except OSError as error:
        _say(f"the admin token could not be written to {path} ({error.strerror}); commands need TRADEWIND_ADMIN_TOKEN")
        return None
    return path


def _announce(
    layout: Layout, supervisor: Supervisor, state_dir: Path, token_file: Path | None, *, as_json: bool
) -> None:
    rows = supervisor.rows()
    if as_json:
        where = {"url": supervisor.url, "admin": supervisor.admin_url, "state": str(state_dir)}
        click.echo(json.dumps({**where, "token_file": str(token_file), "processes": rows}))
    else:
        _table(rows)
        _hints(layout, supervisor, rows, token_file)
    click.echo(f"ready {supervisor.url}")


def _table(rows: list[dict[str, Any]]) -> None:
    from router.cli.screen import plain_table, screen

    table = plain_table("role", "region", "pid", "name", "address", right=("pid",))
    for row in rows:
        address = str(row.get("url") or row.get("endpoint") or row.get("port") or "")
        if "admin" in row:
            address += f"  admin {row['admin']}"
        table.add_row(row["role"], row["region"], str(row["pid"]), row["name"], address)
    screen().print(table)


def _hints(layout: Layout, supervisor: Supervisor, rows: list[dict[str, Any]], token_file: Path | None) -> None:
    """What one can do now, to be copied and pasted."""
    url = supervisor.url
    emulated = [row for row in rows if row["role"] == "model"]
    model = layout.models[0] if emulated else "MODEL"
    asked = json.dumps({"model": model, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 32})
    lines = [
        f"call it        curl {url}/v1/chat/completions -H 'content-type: application/json' -d '{asked}'",
        f"from Python    OpenAI(base_url='{url}/v1', api_key='none')",
        f"from afar      -H 'x-client-region: {layout.clusters[-1].region}'",
        *(f"lose a region  kill -9 {row['pid']}   # {row['region']}" for row in emulated[:1]),
        f"watch it       tradewind status --watch --url {supervisor.admin_url}",
        f"admin token    {token_file or 'not written'}",
        *(["kept           nothing; --data DIR keeps what Redis holds"] if layout.data_dir is None else []),
    ]
    click.echo("\n".join(["", *(f"  {line}" for line in lines), ""]))
