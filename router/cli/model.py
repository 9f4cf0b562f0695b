"""`tradewind model`: one emulated cluster, until SIGTERM."""

import asyncio
import signal
from pathlib import Path

import click
import msgspec
import uvloop

from federation.clock import SystemClock
from federation.geography import BadMatrix, Distances
from federation.lab.door import PortTaken
from federation.lab.model_server import DEFAULT_MODEL, ModelServer, ModelServerSettings
from federation.lab.presets import PRESETS, preset
from federation.log import configure_logging

PORT = click.IntRange(0, 65535)


@click.command(name="model")
@click.option("--region", required=True, help="The region that it plays, such as us-central1.")
@click.option("--cluster", help="The cluster's name; the region's, if not given.")
@click.option(
    "--model", "models", multiple=True, default=[DEFAULT_MODEL], show_default=True, help="A model's name; repeatable."
)
@click.option("--replicas", type=click.IntRange(1, 64), default=2, show_default=True, help="Replicas of each model.")
@click.option(
    "--preset",
    "preset_name",
    type=click.Choice(list(PRESETS)),
    default="small",
    show_default=True,
    help="How fast a replica is: for a laptop's patience, or as Llama-3.1-8B is on that accelerator.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=PORT, default=0, help="Port of the cluster's endpoint; 0: any.")
@click.option(
    "--replica-port", "replica_ports", type=PORT, multiple=True, help="Port of a replica, model by model; repeatable."
)
@click.option("--control-port", type=PORT, default=0, help="Port where faults are asked for; 0: any.")
@click.option(
    "--rtt",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="CSV matrix of round trips between regions, in ms; great circles, if not given.",
)
@click.option(
    "--speed",
    type=click.FloatRange(0.01, 1_000),
    default=1.0,
    show_default=True,
    help="How many times faster than life model and network are.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of the chance in faults.")
def command(
    region: str,
    cluster: str | None,
    models: tuple[str, ...],
    replicas: int,
    preset_name: str,
    host: str,
    port: int,
    replica_ports: tuple[int, ...],
    control_port: int,
    rtt: Path | None,
    speed: float,
    seed: int,
) -> None:
    """Run an emulated cluster: model servers that need no accelerator.

    OpenAI API, vLLM's metric names, continuous batching with a stated latency model, text that is a function of the
    prompt. Prints a line `ready {"endpoint": ..., "replicas": [...], "control": ...}` once it listens.

    \b
    Example:
      tradewind model --region us-central1 --port 9001
      curl -s http://127.0.0.1:9001/v1/completions -d '{"prompt": "hello", "max_tokens": 20}'
    """
    if len(replica_ports) > replicas * len(models):
        raise click.UsageError(f"{len(replica_ports)} times --replica-port for {replicas * len(models)} replicas")
    try:
        distances = Distances.prior() if rtt is None else Distances.parse(rtt.read_text(), str(rtt))
    except (OSError, UnicodeDecodeError, BadMatrix) as error:
        raise click.UsageError(f"--rtt: {error}") from None
    settings = ModelServerSettings(
        region=region,
        cluster=cluster or region,
        models=tuple(dict.fromkeys(models)),
        replicas=replicas,
        spec=preset(preset_name),
        host=host,
        port=port,
        replica_ports=replica_ports,
        control_port=control_port,
        speed=speed,
        seed=seed,
        distances=distances,
    )
    configure_logging("model")
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(settings))
    except PortTaken as error:
        raise click.ClickException(str(error)) from None


async def serve(settings: ModelServerSettings) -> None:
    """Serve until SIGTERM or SIGINT. Raises PortTaken."""
    asked_to_end = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked_to_end.set)
    server = ModelServer(settings, SystemClock().wall)
    addresses = await server.start()
    urls = {"endpoint": addresses.endpoint, "replicas": addresses.replicas, "control": addresses.control}
    print("ready", msgspec.json.encode(urls).decode(), flush=True)
    await asked_to_end.wait()
    server.stop()
