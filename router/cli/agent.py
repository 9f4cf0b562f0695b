"""`tradewind agent`: the agent of one cluster, from its configuration file."""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from random import Random

import click
import uvloop

from federation.agent.key import AgentKey, UnusableKey
from federation.agent.loop import Agent, loop_bounds
from federation.agent.metrics import AgentMetrics
from federation.agent.scrape import Scraper
from federation.agent.settings import AgentSettings, SettingsError, load
from federation.clock import SystemClock
from federation.log import configure_logging
from federation.role_port import LoopAges, role_port
from federation.store.redis import RedisStore


@click.command(name="agent", epilog="Example: tradewind agent /etc/tradewind/agent.yaml")
@click.argument("config", type=click.Path(dir_okay=False, path_type=Path))
def command(config: Path) -> None:
    """Watch the model servers of one cluster and publish its heartbeats, as CONFIG says.

    Prints `ready {"port": URL}` on stdout once the first heartbeat was attempted; /metrics,
    /healthz and /readyz are served there. SIGTERM ends it.
    """
    try:
        settings = load(config)
        key = AgentKey(settings.key, os.environ)
        stores = [RedisStore(url, bound_s=settings.store_timeout_s) for url in settings.stores]
    except (SettingsError, UnusableKey, ValueError) as error:
        click.echo(str(error), err=True)
        sys.exit(2)
    configure_logging("agent", settings.log_level)
    try:
        uvloop.run(_run(settings, key, stores))
    except OSError as error:
        click.echo(f"cannot listen on {settings.host}:{settings.port}: {error.strerror or error}", err=True)
        sys.exit(1)


async def _run(settings: AgentSettings, key: AgentKey, stores: list[RedisStore]) -> None:
    """Until SIGTERM or SIGINT."""
    clock = SystemClock()
    ages = LoopAges(clock, loop_bounds(settings, stores))
    metrics = AgentMetrics(ages)
    ended = asyncio.Event()
    for sign in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(sign, ended.set)
    timeout_s = min(settings.scrape_timeout_s, settings.interval_s)
    try:
        async with Scraper(settings.model_servers, clock, timeout_s) as scraper:
            agent = Agent(settings, key, scraper, stores, clock, Random(), ages, metrics)
            async with (
                role_port(settings.host, settings.port, metrics.registry, ages.overdue, agent.unready) as url,
                asyncio.TaskGroup() as tasks,
            ):
                running = tasks.create_task(agent.run())
                telling = tasks.create_task(_tell_ready(agent, url))
                await ended.wait()
                running.cancel()
                telling.cancel()
    finally:
        for store in stores:
            await store.aclose()


async def _tell_ready(agent: Agent, url: str) -> None:
    await agent.attempted()
    print(f"ready {json.dumps({'port': url})}", flush=True)
