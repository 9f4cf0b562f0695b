"""`tradewind serve`: one front door, until SIGTERM."""

import os
from pathlib import Path

import click


@click.command(name="serve")
@click.argument("config", type=click.Path(path_type=Path))
@click.option("--host", help="Address to listen on, instead of the file's.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on, instead of the file's; 0: any.")
@click.option("--admin-port", type=click.IntRange(0, 65535), help="Port of the admin API; 0: any.")
@click.option("--workers", type=click.IntRange(1, 64), help="Processes that share the port, instead of the file's.")
def command(config: Path, host: str | None, port: int | None, admin_port: int | None, workers: int | None) -> int:
    """Run a front door.

    CONFIG is a YAML file; TRADEWIND_* variables override it (TRADEWIND_TIMEOUTS__FIRST_BYTE_S=30). Prints a line
    `ready {"url": ..., "admin": ...}` once it may take traffic.

    \b
    Example:
      tradewind check serve.yaml && tradewind serve serve.yaml --port 8080
      tradewind serve serve.yaml --workers 4
    """
    import asyncio

    import uvloop

    from router.app import serve
    from router.configuration import BadConfiguration, Loaded, load_router

    chosen = {"host": host, "port": port, "admin_port": admin_port, "workers": workers}
    overrides = {f"TRADEWIND_{name.upper()}": str(value) for name, value in chosen.items() if value is not None}
    environ = {**os.environ, **overrides}
    try:
        loaded = load_router(config, environ)
    except BadConfiguration as error:
        for line in error.lines:
            click.echo(line, err=True)
        count = f"{len(error.lines)} {'mistake' if len(error.lines) == 1 else 'mistakes'}"
        raise click.ClickException(f"{config}: {count}, listed above; nothing was started") from None
    for line in loaded.warnings:
        click.echo(line, err=True)

    def reload() -> Loaded:
        return load_router(config, environ)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        if loaded.settings.workers == 1:
            return runner.run(serve(loaded, reload))
        from router.workers.hand import WorkerCommand
        from router.workers.parent import serve_with_workers

        return runner.run(serve_with_workers(loaded, reload, WorkerCommand(config, environ)))
