"""`tradewind keys`: API keys. The file keeps hashes; a key is seen once, when it is made."""

import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import click
import msgspec
import yaml

from federation.clock import SystemClock
from router.auth import ENTROPY_BYTES, KeyRow, NewKey, new_key, parse_expiry
from router.call import Priority
from router.cli.duration import parse_duration
from router.configuration import convert_keys
from router.document import Document, Unreadable, read_text


@click.group(name="keys")
def command() -> None:
    """Make API keys.

    \b
    Example:
      tradewind keys new --tenant search --file keys.yaml
    """


@command.command(name="new")
@click.option("--tenant", required=True, help="Whom the key is for.")
@click.option(
    "--file",
    "path",
    type=click.Path(path_type=Path, dir_okay=False),
    default="keys.yaml",
    show_default=True,
    help="The keys file; made if there is none.",
)
@click.option(
    "--priority",
    type=click.Choice([priority.value for priority in Priority]),
    default=Priority.STANDARD.value,
    show_default=True,
    help="The highest priority that its calls may claim.",
)
@click.option("--model", "models", multiple=True, help="A model that it may call; repeatable; without it, all.")
@click.option("--region", "regions", multiple=True, help="A region that may serve it; repeatable; without it, all.")
@click.option("--expires", help="A date, a time with its offset, or from now: 2027-06-30, 90d.")
@click.option("--json", "as_json", is_flag=True, help="Print key and entry as JSON.")
def new(
    tenant: str,
    path: Path,
    priority: str,
    models: tuple[str, ...],
    regions: tuple[str, ...],
    expires: str | None,
    as_json: bool,
) -> None:
    """Make a key: print it once, add its hash to the keys file.

    Front doors that were given the file take the key within seconds.

    \b
    Example:
      tradewind keys new --tenant search --file keys.yaml --priority critical --expires 90d
    """
    if not tenant.strip():
        raise click.UsageError("--tenant: name whom the key is for")
    made = new_key(
        secrets.token_bytes(ENTROPY_BYTES),
        tenant=tenant,
        priority_max=Priority(priority),
        models=models or None,
        regions=regions or None,
        expires=_expiry(expires, SystemClock().wall()),
    )
    add_to_file(path, made.row)
    _tell(made, path, as_json)


def _tell(made: NewKey, path: Path, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"key": made.text, "file": str(path), "entry": msgspec.to_builtins(made.row)}))
        return
    click.echo(made.text)
    click.echo(f"key {made.row.id} of {made.row.tenant}: its hash is in {path}; the key is not shown again", err=True)


def _expiry(text: str | None, now_wall: float) -> str | None:
    """What the file will say. Raises click.UsageError."""
    if text is None:
        return None
    try:
        moment = now_wall + parse_duration(text)
    except ValueError:
        at = parse_expiry(text)
        if at is None:
            raise click.UsageError(f"--expires {text!r}: expected 2027-06-30, 2027-06-30T12:00:00Z or 90d") from None
        if at <= now_wall:
            raise click.UsageError(f"--expires {text} has passed") from None
        return text
    return f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%dT%H:%M:%SZ}"


def add_to_file(path: Path, row: KeyRow) -> None:
    """Append an entry, all or nothing. Raises click.ClickException; a file with mistakes is left as it is."""
    path = Path(os.path.realpath(path))  # A link stays a link; what it points to is replaced.
    try:
        with _locked(path.parent):
            old = read_text(path) if path.exists() else ""
            _rows(old, path)
            entry = yaml.safe_dump([msgspec.to_builtins(row)], sort_keys=False, allow_unicode=True)
            text = _appended(old, entry)
            if row not in _rows(text, path):
                raise click.ClickException(f"{path}: in a form that cannot be added to; write one entry a line with -")
            _replace(path, text)
    except Unreadable as error:
        raise click.ClickException(f"{path}: {error}; nothing was changed") from None
    except OSError as error:
        raise click.ClickException(f"{path}: cannot be written: {error.strerror}") from None


def _rows(text: str, path: Path) -> tuple[KeyRow, ...]:
    document = Document.parse(text, str(path))
    rows = convert_keys(document)
    if rows is None:
        first, *others = document.lines()
        more = f" and {len(others)} more (tradewind check {path})" if others else ""
        raise click.ClickException(f"{first}{more}; nothing was changed")
    return rows


def _appended(old: str, entry: str) -> str:
    """The text with the entry after it; comments stay where they are."""
    if not old.strip() or old.strip() == "[]":
        return entry
    return old.rstrip("\n") + "\n" + entry


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One writer at a time: two commands at once would lose one of two keys."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _replace(path: Path, text: str) -> None:
    """Write the whole file anew beside the old one, then put it in its place."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
