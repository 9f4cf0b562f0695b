"""`tradewind`: finds the sub-command, and turns every error into one line on stderr.

Exit status: 0 well, 1 failed, 2 bad usage, 130 interrupted; commands may add their own.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Final

import click

# Name -> (module, first line of its help). The line stands here so that `tradewind --help` imports no command.
COMMANDS: Final[Mapping[str, tuple[str, str]]] = {
    "up": ("router.cli.up", "Run a whole fleet on this machine: emulated regions, agents and a front door."),
    "serve": ("router.cli.serve", "Run a front door."),
    "agent": ("router.cli.agent", "Run a cluster's agent: collect its capacity, publish heartbeats."),
    "model": ("router.cli.model", "Run an emulated cluster: model servers that need no accelerator."),
    "status": ("router.cli.status", "Show clusters, liveness and capacity as a front door sees them."),
    "drain": ("router.cli.drain", "Take a cluster out of new placements for a while."),
    "undrain": ("router.cli.undrain", "End a cluster's drain."),
    "explain": ("router.cli.explain", "Show where a call would go now, cluster by cluster, with the numbers."),
    "replay": ("router.cli.replay", "Replay a trace's arrivals and lengths against a live endpoint."),
    "simulate": ("router.cli.simulate", "Simulate policies over a scenario: a fleet, its load, what befalls it."),
    "keys": ("router.cli.keys", "Make API keys."),
    "check": ("router.cli.check", "Say what is wrong with a configuration, line by line, before anything starts."),
}


class LazyGroup(click.Group):
    """A group that imports a command's module when that command is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        row = COMMANDS.get(cmd_name)
        if row is None:
            return None
        command: click.Command = import_module(row[0]).command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


def _version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        from importlib.metadata import version

        click.echo(f"tradewind {version('tradewind')}")
        ctx.exit()


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version.")
def command() -> None:
    """A global front door for self-hosted LLM inference.

    \b
    Example:
      tradewind up                 three regions and a front door on this machine
      tradewind status --watch     what the front door sees
    """


def run(arguments: Sequence[str]) -> int:
    """The exit status of `tradewind ARGUMENTS`; errors are told in one line."""
    try:
        status = command.main(args=list(arguments), prog_name="tradewind", standalone_mode=False)
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx is not None else "tradewind"
        return _fail(f"{path}: {error.format_message()} (try: {path} --help)", 2)
    except click.ClickException as error:
        return _fail(error.format_message(), error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        return _fail("interrupted", 130)
    except BrokenPipeError:  # Our reader left, as `| head` does; nothing more can be said to it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if os.environ.get("TRADEWIND_TRACEBACK"):
            raise
        what = str(error) or "no details"
        return _fail(f"{type(error).__name__}: {what} (TRADEWIND_TRACEBACK=1 shows where it happened)", 1)
    return status if isinstance(status, int) else 0


def _fail(message: str, status: int) -> int:
    click.echo(f"tradewind: {' '.join(message.split())}", err=True)
    return status


def main() -> None:
    """The entry point."""
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
