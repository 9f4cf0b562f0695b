"""Listening sockets of our own, so that a taken port is said in one line. The outside world: the network."""

import json
import socket
import sys

from router.settings import RouterSettings

BACKLOG = 4096


def listen_on(host: str, port: int, flag: str) -> socket.socket:
    """A listening socket; an OSError whose text says which port is taken and what to do."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise OSError(f"cannot listen on {host}:{port} ({error.strerror}); choose another with {flag}") from error
    listener.setblocking(False)
    return listener


def url_of(listener: socket.socket, tls: bool = False) -> str:
    host, port = listener.getsockname()[:2]
    scheme = "https" if tls else "http"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def open_ports(settings: RouterSettings) -> tuple[socket.socket, socket.socket] | None:
    """The main port and the admin port; None, with a line on stderr, if one cannot be had."""
    try:
        main = listen_on(settings.host, settings.port, "--port")
        return main, listen_on(settings.admin_host, settings.admin_port, "--admin-port")
    except OSError as error:
        print(error, file=sys.stderr)
        return None


def say_ready(main: socket.socket, admin: socket.socket, settings: RouterSettings) -> None:
    """The line that whoever started us waits for."""
    urls = {"url": url_of(main, settings.tls is not None), "admin": url_of(admin, settings.admin_tls is not None)}
    print(f"ready {json.dumps(urls)}", flush=True)
