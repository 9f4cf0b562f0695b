"""What is wrong with any of our files, told apart by what stands in it. Speaks to the file system."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from federation.agent.settings import AgentSettings, SettingsError, parse
from federation.geography import BadMatrix, Distances
from federation.wire import KEY_BYTES_MIN
from router.configuration import BadConfiguration, Findings, load_router, read_inventory, read_keys
from router.document import Document


@dataclass(frozen=True, slots=True)
class Report:
    """What a file turned out to be, and a line for everything that is wrong or odd."""

    kind: str
    mistakes: tuple[str, ...]
    warnings: tuple[str, ...] = ()


def check_file(path: Path, environ: Mapping[str, str]) -> Report:
    """Check one file with everything it names."""
    found = Findings()
    if path.suffix == ".csv":
        text = found.text(path)
        if text is not None:
            try:
                Distances.parse(text, str(path))
            except BadMatrix as error:
                found.mistakes.append(str(error))
        return _report("round-trip matrix", found)
    document = found.document(path)
    if document is None:
        return _report("file", found)
    value = document.value
    if isinstance(value, list):
        read_keys(path, found)
        return _report("keys file", found)
    if isinstance(value, dict) and "clusters" in value:
        read_inventory(path, environ, found)
        return _report("inventory", found)
    if isinstance(value, dict) and ("model_servers" in value or "cluster" in value):
        _check_agent(path, document, environ, found)
        return _report("agent's settings", found)
    try:
        loaded = load_router(path, environ)
    except BadConfiguration as error:
        return Report("front door's settings", error.lines, error.warnings)
    return Report("front door's settings", (), loaded.warnings)


def _report(kind: str, found: Findings) -> Report:
    return Report(kind, tuple(found.mistakes), tuple(found.warnings))


def _check_agent(path: Path, document: Document, environ: Mapping[str, str], found: Findings) -> None:
    """The agent's own rules, with our line numbers."""
    settings = document.convert(AgentSettings)
    if settings is not None:
        text = found.text(path) or ""
        try:
            parse(text, "")
        except SettingsError as error:
            for mistake in error.mistakes:
                where, _, message = mistake.removeprefix(": ").partition(": ")
                document.wrong(where.replace("[", ".").replace("]", ""), message)
        key = settings.key
        if key.secret_file is not None:
            inner = Findings()
            secret = inner.secret(path.parent / key.secret_file)
            found.warnings.extend(inner.warnings)
            for line in inner.mistakes:
                document.wrong("key.secret_file", line)
            if secret is not None and len(secret.strip()) < KEY_BYTES_MIN:
                document.wrong("key.secret_file", f"{len(secret.strip())} bytes; expected {KEY_BYTES_MIN} or more")
        elif key.secret_env is not None and key.secret_env not in environ:
            document.wrong("key.secret_env", f"the environment has no {key.secret_env}")
    found.take(document)
