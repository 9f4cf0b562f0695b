"""The inventory: the clusters as declared, and where their heartbeat keys are.

    clusters:
      - name: us-central1-a
        region: us-central1
        endpoint: https://10.1.0.5:443
        models: {llama-3.1-8b: {slots: 512}}
        heartbeat_keys: [{id: k1, secret_file: /etc/tradewind/us-central1-a.key}]
    residency:
      eu: [europe-west1, europe-west4]

Identity and endpoint of a cluster come from here and nowhere else; Terraform renders the
file. This module knows its shape and its rules; reading it is the shell's.
"""

import re
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

import msgspec

from federation.features import DECLARABLE
from federation.model import ClusterSpec, DeclaredPool

PATH = re.compile(r"(/[A-Za-z0-9._~-]+)+/?")
PATHS_MAX = 100
PATH_LENGTH_MAX = 200
OWN_PATHS = frozenset({"/healthz", "/readyz", "/docs", "/openapi.json", "/v1/models"})
OWN_PREFIXES = ("/v1/models/", "/docs/")
NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_LABEL = r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
HOST_NAME = re.compile(rf"(?=.{{1,253}}$){_LABEL}(\.{_LABEL})*")
SLOTS_MAX = 1_000_000


class KeySource(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where one heartbeat key is: in a file or a variable; as its text stands, white space around it aside."""

    id: str
    secret_file: str | None = None
    secret_env: str | None = None


class ClusterRow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One cluster."""

    name: str
    region: str
    endpoint: str
    models: dict[str, DeclaredPool] = {}
    probe_path: str = "/health"
    paths: tuple[str, ...] = ()
    server_name: str | None = None  # The name that its certificate bears, where the endpoint does not say it.
    heartbeat_keys: tuple[KeySource, ...] = ()


class Inventory(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file."""

    clusters: tuple[ClusterRow, ...]
    residency: dict[str, tuple[str, ...]] = {}

    def specs(self) -> Mapping[str, ClusterSpec]:
        """The clusters by name, as the federation reads them."""
        return {
            row.name: ClusterSpec(
                name=row.name,
                region=row.region,
                endpoint=row.endpoint.rstrip("/"),
                models=row.models,
                probe_path=row.probe_path,
                paths=frozenset(row.paths),
                server_name=row.server_name,
            )
            for row in self.clusters
        }


class Mistake(msgspec.Struct, frozen=True):
    """One thing that is wrong in a file: where (a path such as `clusters.0.name`) and what to do."""

    path: str
    message: str


def mistakes(inventory: Inventory) -> Iterator[Mistake]:
    """What the types cannot say: duplicate names, endpoints nobody can dial, keys without a source."""
    if not inventory.clusters:
        yield Mistake("clusters", "no cluster is declared; add at least one")
    seen: dict[str, int] = {}
    for index, row in enumerate(inventory.clusters):
        at = f"clusters.{index}"
        if not NAME.fullmatch(row.name):
            yield Mistake(f"{at}.name", f"{row.name!r}: use lower-case letters, digits and dashes, at most 63")
        if row.name in seen:
            yield Mistake(f"{at}.name", f"{row.name!r} is declared twice (first as clusters.{seen[row.name]})")
        seen.setdefault(row.name, index)
        if not row.region:
            yield Mistake(f"{at}.region", "empty; name the region the cluster is in")
        if (reason := endpoint_mistake(row.endpoint)) is not None:
            yield Mistake(f"{at}.endpoint", reason)
        if not row.probe_path.startswith("/"):
            yield Mistake(f"{at}.probe_path", f"{row.probe_path!r} does not start with /")
        if len(row.paths) > PATHS_MAX:
            yield Mistake(f"{at}.paths", f"{len(row.paths)} paths; expected {PATHS_MAX} at most")
        for number, path in enumerate(row.paths):
            if (reason := path_mistake(path)) is not None:
                yield Mistake(f"{at}.paths.{number}", reason)
        if row.server_name is not None and (reason := server_name_mistake(row.server_name, row.endpoint)) is not None:
            yield Mistake(f"{at}.server_name", reason)
        for model, pool in row.models.items():
            if not 0 <= pool.slots <= SLOTS_MAX:
                yield Mistake(f"{at}.models.{model}.slots", f"{pool.slots} is not within 0 and {SLOTS_MAX}")
            for feature in pool.features:
                if feature not in DECLARABLE:
                    yield Mistake(
                        f"{at}.models.{model}.features", f"{feature!r} is not known; known are {', '.join(DECLARABLE)}"
                    )
        for number, key in enumerate(row.heartbeat_keys):
            if (key.secret_file is None) == (key.secret_env is None):
                yield Mistake(f"{at}.heartbeat_keys.{number}", "give either secret_file or secret_env")
            if key.id.split() != [key.id]:
                yield Mistake(f"{at}.heartbeat_keys.{number}.id", f"{key.id!r} is not one word")
    for name, regions in inventory.residency.items():
        if not regions:
            yield Mistake(f"residency.{name}", "no region stands in this class")


def path_mistake(path: str) -> str | None:
    """Why a path cannot be declared, or None."""
    if not PATH.fullmatch(path) or len(path) > PATH_LENGTH_MAX or {".", ".."} & set(path.split("/")):
        return f"{path!r}: give a plain path like /v1/foo, without query, escapes or dots alone"
    if path in OWN_PATHS or path.startswith(OWN_PREFIXES):
        return f"{path!r} is answered by the front door itself"
    return None


def server_name_mistake(name: str, endpoint: str) -> str | None:
    """Why no certificate can be checked for a name, or None."""
    if not HOST_NAME.fullmatch(name) or name.rpartition(".")[2].isdigit():
        return f"{name!r} is no host name; give the name that stands in the cluster's certificate"
    if not endpoint.lower().startswith("https:"):
        return f"{name!r}: a name is checked over https only; make the endpoint https:// or leave it out"
    return None


def endpoint_mistake(endpoint: str) -> str | None:
    """Why an endpoint cannot be dialled, or None."""
    if endpoint.split() != [endpoint]:
        return f"{endpoint!r} is not a URL: it is empty or holds white space"
    try:
        parts = urlsplit(endpoint)
        port = parts.port
    except ValueError as error:
        return f"{endpoint!r} is not a URL: {error}"
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return f"{endpoint!r} is not a URL like http://host:port"
    if "@" in parts.netloc or parts.query or parts.fragment or parts.path not in ("", "/"):
        return f"{endpoint!r}: give scheme, host and port only"
    return None if port is None or 0 < port < 65536 else f"{endpoint!r}: no such port"
