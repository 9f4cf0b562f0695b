"""Reading what a front door is told: its settings, the inventory, keys, the matrix. Speaks to the file system.

Every file is read whole, converted strictly and checked; all mistakes come out together, one
line each, as `FILE:LINE: path: what is wrong and what was expected`. Shapes and rules live
with their types (`router.settings`, `federation.inventory`, `router.auth`, `federation.geography`).
"""

import os
import re
import ssl
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec
import yaml

from federation.clock import SystemClock
from federation.geography import COORDINATES, BadMatrix, Distances
from federation.inventory import Inventory, KeySource
from federation.inventory import mistakes as inventory_mistakes
from federation.wire import KEY_BYTES_MIN
from router.auth import ApiKeys, KeyRow
from router.auth import mistakes as key_mistakes
from router.document import Document, Unreadable, leaves, nearest, read_bytes, read_text
from router.setting_rules import mistakes as settings_mistakes
from router.setting_rules import oddities as settings_oddities
from router.settings import PairSettings, RouterSettings
from router.tls import ClusterTls, read_cluster_tls, read_offered

PREFIX: Final = "TRADEWIND_"
NOT_SETTINGS: Final = ("TRADEWIND_ADMIN_URL", "TRADEWIND_ADMIN_TOKEN", "TRADEWIND_API_KEY", "TRADEWIND_TRACEBACK")
ADMIN_TOKEN_LENGTH_MIN: Final = 16
_KUBERNETES_LINK: Final = re.compile(r"TRADEWIND(_[A-Z0-9]+)*_(SERVICE_HOST|SERVICE_PORT(_.*)?|PORT_\d+_.*)")


Signature = tuple[int, int, int] | None  # Time, size and inode; None: there is no such file.


class BadConfiguration(Exception):
    """A configuration that cannot be used: a line for every mistake, and for everything that is merely odd."""

    def __init__(
        self, lines: Iterable[str], warnings: Iterable[str] = (), files: "Mapping[Path, Signature] | None" = None
    ) -> None:
        self.lines = tuple(lines)
        self.warnings = tuple(warnings)
        self.files = files or {}  # What was read or looked for: mending one of them mends the configuration.
        super().__init__("\n".join(self.lines))


@dataclass(frozen=True, slots=True)
class Loaded:
    """Everything a front door is told, read and checked. `files` are all that were read, for WatchedFiles."""

    settings: RouterSettings
    inventory: Inventory
    heartbeat_keys: Mapping[str, Mapping[str, bytes]]  # Cluster -> key id -> secret.
    distances: Distances
    api_keys: ApiKeys | None = None  # None: no keys file, so that everybody is welcome.
    admin_token: str | None = None
    tls: ClusterTls | None = None  # For clusters; None: the system's certificates.
    offered: Mapping[str, ssl.SSLContext] = field(default_factory=dict)  # What listeners show: `tls`, `admin_tls`.
    warnings: tuple[str, ...] = ()
    files: Mapping[Path, Signature] = field(default_factory=dict)


@dataclass(slots=True)
class Findings:
    """What was found while reading: mistakes, oddities, and the files read."""

    mistakes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    files: dict[Path, Signature] = field(default_factory=dict)

    def document(self, path: Path) -> Document | None:
        """Read a YAML file; None, with the mistake noted, if that cannot be done."""
        text = self.text(path)
        return None if text is None else self.parse(text, path)

    def parse(self, text: str, path: Path) -> Document | None:
        """A text already read as YAML; None, with the mistake noted, if it is none."""
        try:
            return Document.parse(text, str(path))
        except Unreadable as error:
            self._unreadable(path, error)
            return None

    def text(self, path: Path) -> str | None:
        """Read a text file; None, with the mistake noted, if that cannot be done."""
        self.files[path] = signature(path)
        try:
            return read_text(path)
        except Unreadable as error:
            self._unreadable(path, error)
            return None

    def secret(self, path: Path) -> bytes | None:
        """Read a file that only its owner should be able to read; None, with the mistake noted, if it cannot be."""
        self.files[path] = signature(path)
        try:
            content = read_bytes(path)
        except Unreadable as error:
            self._unreadable(path, error)
            return None
        self._private(path)
        return content

    def secret_text(self, path: Path) -> str | None:
        """The same for text."""
        text = self.text(path)
        if text is not None:
            self._private(path)
        return text

    def _private(self, path: Path) -> None:
        if path.stat().st_mode & 0o077:
            self.warnings.append(f"{path}:1: warning: others may read this file; chmod 600 {path}")

    def _unreadable(self, path: Path, error: Unreadable) -> None:
        self.mistakes.append(f"{path}:{error.line or 1}: {error}")

    def take(self, document: Document) -> None:
        self.mistakes.extend(document.lines())


def load_router(path: Path, environ: Mapping[str, str]) -> Loaded:
    """Read a front door's configuration with everything it names. Raises BadConfiguration."""
    found = Findings()
    settings = read_settings(path, environ, found)
    if settings is None:
        raise BadConfiguration(found.mistakes, found.warnings, found.files)
    folder = path.parent
    inventory, secrets = read_inventory(folder / settings.inventory, environ, found)
    distances = read_matrix(folder / settings.rtt_file, found) if settings.rtt_file else Distances.prior()
    api_keys = read_keys(folder / settings.keys_file, found) if settings.keys_file else None
    admin_token = read_admin_token(folder / settings.admin_token_file, found) if settings.admin_token_file else None
    now = SystemClock().wall()
    authorities = folder / settings.ca_file if settings.ca_file else None
    client = None
    if settings.client_cert_file is not None and settings.client_key_file is not None:
        client = folder / settings.client_cert_file, folder / settings.client_key_file
    tls = read_cluster_tls(authorities, client, now, found)
    offered = read_all_offered(settings, folder, now, found)
    if inventory is not None and distances is not None:
        regions = [settings.region, *(row.region for row in inventory.clusters)]
        found.warnings.extend(_unplaced(path, regions, distances))
    if found.mistakes:
        raise BadConfiguration(found.mistakes, found.warnings, found.files)
    assert inventory is not None
    assert distances is not None
    return Loaded(
        settings=settings,
        inventory=inventory,
        heartbeat_keys=secrets,
        distances=distances,
        api_keys=api_keys,
        admin_token=admin_token,
        tls=tls,
        offered=offered,
        warnings=tuple(found.warnings),
        files=found.files,
    )


def read_settings(path: Path, environ: Mapping[str, str], found: Findings) -> RouterSettings | None:
    """The settings in a file, overridden by the environment; None, with mistakes noted, if they cannot be used."""
    document = found.document(path)
    if document is None:
        return None
    apply_environment(document, RouterSettings, environ, found)
    settings = document.convert(RouterSettings)
    if settings is not None:
        for where, message in settings_mistakes(settings):
            document.wrong(where, message)
        for where, message in settings_oddities(settings):
            found.warnings.append(f"{document.place(where)}: warning: {message}")
    found.take(document)
    return None if document.is_wrong else settings


def apply_environment(
    document: Document, type_: type[msgspec.Struct], environ: Mapping[str, str], found: Findings
) -> None:
    """Put TRADEWIND_* values over those of the file; groups and fields are joined by two underscores."""
    known = {PREFIX + "__".join(path).upper(): (path, leaf) for path, leaf in leaves(type_)}
    for name in sorted(environ):
        if not name.startswith(PREFIX) or name in NOT_SETTINGS or _KUBERNETES_LINK.fullmatch(name):
            continue
        text = environ[name]
        if name not in known:
            found.warnings.append(f"environment: warning: {name}: no such setting; {nearest(name, known)}")
            continue
        path, leaf = known[name]
        try:
            document.override(path, _from_text(text, leaf), f"environment: {name}")
        except ValueError as error:
            hint = ""
            if "://" in text:
                hint = "; if Kubernetes set it for a service of this name, set enableServiceLinks: false"
            message = str(error).partition(" - at ")[0].replace("`", "")
            document.wrong_elsewhere(f"environment: {name}", f"{text!r}: {message[:1].lower()}{message[1:]}{hint}")


def _from_text(text: str, leaf: Any) -> Any:
    """The value that a setting of type `leaf` takes from an environment variable. Raises ValueError."""
    if leaf in (str, str | None):
        return text
    if leaf == tuple[str, ...] and not text.lstrip().startswith("["):
        return [part.strip() for part in text.split(",") if part.strip()]
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        value = text
    msgspec.convert(value, leaf)
    return value


def read_inventory(
    path: Path, environ: Mapping[str, str], found: Findings
) -> tuple[Inventory | None, dict[str, dict[str, bytes]]]:
    """The inventory and its heartbeat secrets by cluster and key id; None, with mistakes noted, if it is wrong."""
    secrets: dict[str, dict[str, bytes]] = {}
    document = found.document(path)
    if document is None:
        return None, secrets
    inventory = document.convert(Inventory)
    if inventory is not None:
        for mistake in inventory_mistakes(inventory):
            document.wrong(mistake.path, mistake.message)
        for index, row in enumerate(inventory.clusters):
            where = f"clusters.{index}"
            if not row.heartbeat_keys:
                message = f"{row.name} has no heartbeat_keys, so its agent is not believed and probes alone judge it"
                found.warnings.append(f"{document.place(where)}: warning: {message}")
            secrets[row.name] = {}
            for number, key in enumerate(row.heartbeat_keys):
                if key.id in secrets[row.name]:
                    document.wrong(f"{where}.heartbeat_keys.{number}.id", f"{key.id!r} stands twice; remove one")
                secret = _read_secret(key, path.parent, environ, document, f"{where}.heartbeat_keys.{number}", found)
                if secret is not None:
                    secrets[row.name][key.id] = secret
        regions = {row.region for row in inventory.clusters}
        for name, members in inventory.residency.items():
            for region in sorted(set(members) - regions):
                message = f"no cluster is in {region}; {nearest(region, sorted(regions))}"
                found.warnings.append(f"{document.place(f'residency.{name}')}: warning: {message}")
    found.take(document)
    return (None if document.is_wrong else inventory), secrets


def _read_secret(
    key: KeySource, folder: Path, environ: Mapping[str, str], document: Document, where: str, found: Findings
) -> bytes | None:
    if (key.secret_file is None) == (key.secret_env is None):
        return None  # Told already by the inventory's own rules.
    if key.secret_env is not None:
        where, text = f"{where}.secret_env", environ.get(key.secret_env)
        if text is None:
            document.wrong(where, f"the environment has no {key.secret_env}")
            return None
        secret = text.encode()
    else:
        assert key.secret_file is not None
        where, path = f"{where}.secret_file", folder / key.secret_file
        inner = Findings()
        content = inner.secret(path)
        found.warnings.extend(inner.warnings)
        found.files.update(inner.files)
        if content is None:
            document.wrong(where, "; ".join(inner.mistakes))
            return None
        secret = content
    secret = secret.strip()  # As the agent does. Hex is not decoded: it is text like any other, only evenly random.
    if len(secret) < KEY_BYTES_MIN:
        document.wrong(
            where, f"a secret of {len(secret)} bytes; expected {KEY_BYTES_MIN} or more (openssl rand -hex 32)"
        )
        return None
    return secret


def read_all_offered(
    settings: RouterSettings, folder: Path, now: float, found: Findings
) -> Mapping[str, ssl.SSLContext]:
    """What each listener with TLS shows its clients, by the name of its setting."""
    offered: dict[str, ssl.SSLContext] = {}
    for name in ("tls", "admin_tls"):
        pair: PairSettings | None = getattr(settings, name)
        if pair is not None:
            context = read_offered(folder / pair.cert_file, folder / pair.key_file, now, found)
            if context is not None:
                offered[name] = context
    return offered


def read_matrix(path: Path, found: Findings) -> Distances | None:
    """The round-trip matrix; None, with the mistake noted, if it is wrong."""
    text = found.text(path)
    if text is None:
        return None
    try:
        return Distances.parse(text, str(path))
    except BadMatrix as error:
        found.mistakes.append(str(error))
        return None


def read_keys(path: Path, found: Findings) -> ApiKeys | None:
    """The API keys; None, with mistakes noted, if the file is wrong."""
    text = found.secret_text(path)
    document = None if text is None else found.parse(text, path)
    if document is None:
        return None
    rows = convert_keys(document)
    found.take(document)
    if rows is None:
        return None
    if not rows:
        found.warnings.append(f"{path}:1: warning: no key yet, so every call is refused (`tradewind keys new`)")
    return ApiKeys(rows)


def convert_keys(document: Document) -> tuple[KeyRow, ...] | None:
    """The entries of a keys file; None, with mistakes noted in the document, if it is wrong."""
    rows = () if document.value is None else document.convert(tuple[KeyRow, ...])
    if rows is None:
        return None
    for mistake in key_mistakes(rows):
        document.wrong(mistake.path, mistake.message)
    return None if document.is_wrong else rows


def read_admin_token(path: Path, found: Findings) -> str | None:
    """The token of the admin API; None, with the mistake noted, if there is none to be had."""
    text = found.secret_text(path)
    if text is None:
        return None
    token = text.strip()
    if len(token) < ADMIN_TOKEN_LENGTH_MIN or not token.isascii() or token.split() != [token]:
        found.mistakes.append(f"{path}:1: expected one word of {ADMIN_TOKEN_LENGTH_MIN} or more ASCII characters")
        return None
    return token


def _unplaced(path: Path, regions: Iterable[str], distances: Distances) -> Iterator[str]:
    measured = {region for pair in distances.measured for region in pair}
    for region in sorted({region for region in regions if region not in COORDINATES and region not in measured}):
        close = nearest(region, sorted({*COORDINATES, *measured}))
        hint = f" ({close})" if close.startswith("did") else ""
        yield f"{path}:1: warning: region {region!r} has no coordinates and no round trips in the matrix{hint}"


class WatchedFiles:
    """Which of some files have changed since they were last asked about: by time, size and inode.

    Given `Loaded.files`, it counts from before they were read, so that no change falls in between.
    """

    def __init__(self, files: Mapping[Path, Signature]) -> None:
        self._seen = dict(files)

    @property
    def seen(self) -> Mapping[Path, Signature]:
        """The files and what they were like at the last look."""
        return self._seen

    def changed(self) -> set[Path]:
        """The files that changed, came or went since the last call."""
        now = {path: signature(path) for path in self._seen}
        changed = {path for path, seen in now.items() if seen != self._seen[path]}
        self._seen = now
        return changed


def signature(path: Path) -> Signature:
    """What tells one content of a file from the next, without reading it."""
    try:
        status = os.stat(path)  # Follows links: a Kubernetes secret changes by the link's target.
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
