"""What the types of a front door's settings cannot say: ranges, addresses, what needs what. Pure."""

import ipaddress
import math
import re
from collections.abc import Iterator
from typing import Final
from urllib.parse import urlsplit

import msgspec

from router.settings import ACCESS_LOGS, RouterSettings

MAY_BE_ZERO: Final = frozenset({"shutdown.lame_duck_s", "shutdown.grace_s", "federation.slow_start_s"})
WORKERS_MAX: Final = 64  # Each has connections, probes and a feed of its own: beyond that, take another machine.
_HEADER: Final = re.compile(r"[A-Za-z0-9-]+")
# As browsers write it: in lower case, with no path and no port that goes without saying.
_ORIGIN: Final = re.compile(r"(?!http://[^:]*:80$|https://[^:]*:443$)[a-z][a-z0-9+.-]*://[a-z0-9.\[\]:_-]+")


def mistakes(settings: RouterSettings) -> Iterator[tuple[str, str]]:
    """(path, what is wrong) for what the types cannot say."""
    if not settings.region:
        yield "region", "empty; name the region that this front door is in"
    for name in ("port", "admin_port"):
        if not 0 <= (port := getattr(settings, name)) <= 65535:
            yield name, f"{port} is no port; expected 1 to 65535, or 0 for any free one"
    if not 1 <= settings.workers <= WORKERS_MAX:
        yield "workers", f"{settings.workers}; expected 1 to {WORKERS_MAX}"
    if settings.port == settings.admin_port != 0:
        yield "admin_port", f"{settings.port} is also the main port; choose another"
    if not _is_loopback(settings.host) and settings.keys_file is None:
        yield "host", f"{settings.host} is open to others, which needs a keys_file (`tradewind keys new` makes one)"
    if not _is_loopback(settings.admin_host) and settings.admin_token_file is None:
        yield "admin_host", f"{settings.admin_host} is open to others, which needs an admin_token_file"
    for index, url in enumerate(settings.stores):
        if (reason := _store_mistake(url)) is not None:
            yield f"stores.{index}", reason
        elif url in settings.stores[:index]:
            yield f"stores.{index}", f"{url} stands twice; remove one"
    for index, network in enumerate(settings.trusted_proxies):
        try:
            ipaddress.ip_network(network)
        except ValueError as error:
            yield f"trusted_proxies.{index}", f"{error}; expected a network like 10.0.0.0/8"
    if settings.access_log not in ACCESS_LOGS:
        yield "access_log", f"{settings.access_log!r} is none of {', '.join(ACCESS_LOGS)}"
    for index, origin in enumerate(settings.cors_origins):
        if origin == "*" and len(settings.cors_origins) > 1:
            yield f"cors_origins.{index}", "'*' lets every page call; name it alone, or name origins only"
        elif origin != "*" and not _ORIGIN.fullmatch(origin):
            yield f"cors_origins.{index}", f"{origin!r} is no origin; expected one like https://app.example.com, or '*'"
    header = settings.client_region_header
    if header is not None and not _HEADER.fullmatch(header):
        yield "client_region_header", f"{header!r} is no header name; expected one like x-client-region"
    if (settings.client_cert_file is None) != (settings.client_key_file is None):
        given, missing = ("client_cert_file", "client_key_file")[:: 1 if settings.client_cert_file else -1]
        yield given, f"a certificate and its key go together; give {missing}, too"
    edge = settings.edge
    if not 0 <= edge.warm_connections <= min(edge.idle_connections_max, edge.connections_max):
        yield (
            "edge.warm_connections",
            f"{edge.warm_connections}; expected 0 or more, and no more than idle_connections_max and connections_max",
        )
    yield from _bounds(settings, "")


def _bounds(group: msgspec.Struct, prefix: str) -> Iterator[tuple[str, str]]:
    for part in msgspec.structs.fields(group):
        value, path = getattr(group, part.name), f"{prefix}{part.name}"
        if isinstance(value, msgspec.Struct):
            yield from _bounds(value, f"{path}.")
        elif part.name.endswith("_s"):
            least = "at least 0" if path in MAY_BE_ZERO else "more than 0"
            if not math.isfinite(value) or value < 0 or (value == 0 and path not in MAY_BE_ZERO):
                yield path, f"{value:g} s; expected {least}"
        elif part.name.endswith("_max") and value < 1:
            yield path, f"{value}; expected at least 1"


def oddities(settings: RouterSettings) -> Iterator[tuple[str, str]]:
    """(path, sentence) for what works but is seldom meant."""
    if settings.client_region_header is not None and not settings.trusted_proxies:
        yield "client_region_header", "no network is in trusted_proxies, so nobody's header is believed"
    if not settings.stores:
        yield "stores", "none, so that heartbeats are not heard and drains are not shared"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _store_mistake(url: str) -> str | None:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        return f"{url!r} is not a URL: {error}"
    if parts.scheme == "unix" and parts.path:
        return None
    if parts.scheme not in ("redis", "rediss") or not parts.hostname:
        return f"{url!r} is not a Redis URL like redis://host:6379"
    return None if port is None or port > 0 else f"{url!r}: no such port"
