"""The agent's configuration file (YAML), read once at start.

    cluster: tw-us-central1
    region: us-central1
    model_servers: [http://10.0.0.7:8000, http://10.0.0.8:8000]
    stores: [redis://redis.us-central1.internal:6379]
    key: {id: k1, secret_file: /etc/tradewind/heartbeat-key}

Every mistake is one line that names the place in the file and what was expected there.
"""

import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import yaml

from federation.agent.summarize import SLOTS_PER_REPLICA
from federation.store.interface import BOUND_S
from federation.wire import INTERVAL_MS_RANGE

INTERVAL_S = 1.0
SCRAPE_TIMEOUT_S = 0.5
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_LOG_LEVELS = ("debug", "info", "warning", "error")


class SettingsError(Exception):
    """The file cannot be used; `mistakes` holds one line for each reason."""

    def __init__(self, mistakes: list[str]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = mistakes


class KeySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the heartbeat key is: exactly one of the two. White space around the secret does not count."""

    id: str
    secret_file: str | None = None  # Read again when it changes; relative to the configuration file.
    secret_env: str | None = None  # The name of an environment variable.


class AgentSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an agent is told."""

    cluster: str
    region: str
    model_servers: tuple[str, ...]  # Their URLs, without a path.
    stores: tuple[str, ...]  # Redis URLs; each is written to independently.
    key: KeySettings
    slots_per_replica: int | dict[str, int] = SLOTS_PER_REPLICA  # For all models, or by model.
    features: tuple[str, ...] = ()  # Of every model server, such as continue_final_message.
    interval_s: float = INTERVAL_S
    scrape_timeout_s: float = SCRAPE_TIMEOUT_S
    store_timeout_s: float = BOUND_S
    host: str = "127.0.0.1"
    port: int = 0  # For /metrics, /healthz and /readyz; 0: any free one.
    log_level: str = "info"


def load(path: Path) -> AgentSettings:
    """The settings in a file, with `secret_file` made absolute. Raises SettingsError."""
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise SettingsError([f"{path}: cannot be read: {reason}"]) from None
    settings = parse(text, str(path))
    key = settings.key
    if key.secret_file is None:
        return settings
    key = msgspec.structs.replace(key, secret_file=str(path.parent / key.secret_file))
    return msgspec.structs.replace(settings, key=key)


def parse(text: str, source: str) -> AgentSettings:
    """The settings in a YAML text; `source` names it in messages. Raises SettingsError with every mistake found."""
    try:
        tree = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f":{mark.line + 1}:{mark.column + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise SettingsError([f"{source}{place}: not YAML: {problem}"]) from None
    if not isinstance(tree, dict):
        raise SettingsError([f"{source}: expected a mapping of settings, got {_kind(tree)}"])
    fields = {field.name: field for field in msgspec.structs.fields(AgentSettings)}
    mistakes = [
        f"{name}: unknown setting; known are {', '.join(fields)}" for name in map(str, tree) if name not in fields
    ]
    known: dict[str, Any] = {}
    for name, field in fields.items():
        if name not in tree:
            if field.required:
                mistakes.append(f"{name}: missing")
            continue
        try:
            known[name] = msgspec.convert(tree[name], field.type, strict=True)
        except msgspec.ValidationError as error:
            mistakes.append(_mistake(name, str(error)))
    mistakes += _meaning(known)
    if mistakes:
        raise SettingsError([f"{source}: {mistake}" for mistake in mistakes])
    return AgentSettings(**known)


def _meaning(known: dict[str, Any]) -> list[str]:
    """What is of the right type and still wrong."""
    mistakes = [
        f"{name}: expected letters, digits, '.', '_' and '-', got {known[name]!r}"
        for name in ("cluster", "region")
        if name in known and not _NAME.fullmatch(known[name])
    ]
    for name, schemes in (("model_servers", ("http", "https")), ("stores", ("redis", "rediss", "unix"))):
        urls = known.get(name)
        if urls is None:
            continue
        if not urls and name == "stores":
            mistakes.append("stores: expected at least one Redis URL")
        if len(set(urls)) != len(urls):
            mistakes.append(f"{name}: the same URL stands there twice")
        mistakes += [
            f"{name}[{number}]: expected a URL that starts with {' or '.join(s + '://' for s in schemes)}"
            for number, url in enumerate(urls)
            if not _is_url(url, schemes)
        ]
    low, high = (bound / 1000 for bound in INTERVAL_MS_RANGE)
    for name, least, most in (
        ("interval_s", low, high),
        ("scrape_timeout_s", 0.01, high),
        ("store_timeout_s", 0.01, 10.0),
        ("port", 0, 65535),
    ):
        if name in known and not least <= known[name] <= most:
            mistakes.append(f"{name}: expected {least:g} to {most:g}, got {known[name]:g}")
    slots = known.get("slots_per_replica", SLOTS_PER_REPLICA)
    by_place = {"": slots} if isinstance(slots, int) else {f".{model}": count for model, count in slots.items()}
    mistakes += [
        f"slots_per_replica{place}: expected at least 1, got {count}" for place, count in by_place.items() if count < 1
    ]
    key = known.get("key")
    if key is not None:
        if (key.secret_file is None) == (key.secret_env is None):
            mistakes.append("key: expected either secret_file or secret_env")
        if not key.id or key.id.split() != [key.id] or not key.id.isascii():
            mistakes.append(f"key.id: expected one word, got {key.id!r}")
    if known.get("log_level", "info") not in _LOG_LEVELS:
        mistakes.append(f"log_level: expected one of {', '.join(_LOG_LEVELS)}, got {known['log_level']!r}")
    return mistakes


def _is_url(url: str, schemes: tuple[str, ...]) -> bool:
    try:
        parts = urlsplit(url)
        return (
            parts.scheme in schemes
            and bool(parts.path if parts.scheme == "unix" else parts.hostname)
            and (parts.port is None or parts.port > 0)
        )
    except ValueError:
        return False


def _mistake(name: str, problem: str) -> str:
    """msgspec's "Expected `int`, got `str` - at `$[0].port`" in the words of the file."""
    what, _, place = problem.partition(" - at ")
    place = place.strip("`").removeprefix("$").replace("[...]", ".*")
    return f"{name}{place}: {what[:1].lower()}{what[1:].replace('`', '')}"


def _kind(value: object) -> str:
    return "nothing" if value is None else f"a {type(value).__name__}"
