"""How commands ask a running front door: its admin API over HTTP, with a token. Speaks HTTP through httpx."""

import os
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

if TYPE_CHECKING:
    import httpx

DEFAULT_URL = "http://127.0.0.1:8081"
CONNECT_S = 2.0
ANSWER_S = 10.0
LOOPBACK = ("127.0.0.1", "localhost", "::1")


def token_path(url: str, environ: Mapping[str, str]) -> Path | None:
    """Where `up` leaves the token of the front door at `url`; None for another machine's, which it must not get."""
    parts = urlsplit(url)
    if parts.hostname not in LOOPBACK:
        return None
    state = environ.get("XDG_STATE_HOME") or os.path.join(
        environ.get("HOME") or os.path.expanduser("~"), ".local/state"
    )
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return Path(state) / "tradewind" / "admin-token" / str(port)


def find_token(url: str, environ: Mapping[str, str]) -> str | None:
    """The admin token for `url`: from TRADEWIND_ADMIN_TOKEN, else from the file of `up`; None without either."""
    if token := environ.get("TRADEWIND_ADMIN_TOKEN"):
        return token.strip()
    path = token_path(url, environ)
    try:
        return path.read_text().strip() if path is not None else None
    except (OSError, UnicodeDecodeError):
        return None


def url_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """The `--url` option of every command that asks a running front door."""
    return click.option(
        "--url",
        envvar="TRADEWIND_ADMIN_URL",
        default=DEFAULT_URL,
        show_default=True,
        help="Admin URL of a front door; TRADEWIND_ADMIN_URL sets it, too.",
    )(function)


class Admin:
    """The admin API of one front door. Every method raises click.ClickException with one line that says what to do."""

    def __init__(self, url: str, environ: Mapping[str, str] = os.environ) -> None:
        import httpx

        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise click.UsageError(f"--url {url!r} is not a URL like {DEFAULT_URL}")
        self.url = url.rstrip("/")
        token = find_token(url, environ)
        headers = {"authorization": f"Bearer {token}"} if token else {}
        timeout = httpx.Timeout(ANSWER_S, connect=CONNECT_S)
        # The system's authorities, or those of SSL_CERT_FILE; and nothing else of the environment.
        verify = ssl.create_default_context() if parts.scheme == "https" else True
        self._client = httpx.Client(base_url=self.url, headers=headers, timeout=timeout, trust_env=False, verify=verify)
        self._had_token = bool(token)

    def __enter__(self) -> "Admin":
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def get(self, path: str, params: Mapping[str, str | int] | None = None) -> dict[str, Any]:
        """The JSON object at `path`."""
        return self._ask("GET", path, params=params)

    def put(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to a JSON object put at `path`."""
        return self._ask("PUT", path, body=body)

    def delete(self, path: str) -> dict[str, Any]:
        """The answer to deleting what is at `path`."""
        return self._ask("DELETE", path)

    def _ask(
        self,
        method: str,
        path: str,
        params: Mapping[str, str | int] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        import httpx

        try:
            answer = self._client.request(method, path, params=params, json=body)
        except httpx.ConnectError as error:
            if "CERTIFICATE_VERIFY_FAILED" in str(error):
                raise click.ClickException(
                    f"the certificate of {self.url} is not believed; name the file of its authority in SSL_CERT_FILE"
                ) from None
            raise click.ClickException(
                f"no front door answers at {self.url}; start one with `tradewind up` or give --url"
            ) from None
        except httpx.TimeoutException:
            raise click.ClickException(
                f"the front door at {self.url} did not answer in time; is it overloaded?"
            ) from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise click.ClickException(f"{self.url}: {error}; is this the admin URL of a front door?") from None
        return self._read(answer)

    def _read(self, answer: "httpx.Response") -> dict[str, Any]:
        try:
            document = answer.json()
        except ValueError:
            document = None
        if answer.is_success and isinstance(document, dict):
            return document
        if answer.status_code in (401, 403):
            what = "refuses this admin token" if self._had_token else "wants an admin token"
            raise click.ClickException(f"the front door at {self.url} {what}; set TRADEWIND_ADMIN_TOKEN")
        if isinstance(document, dict) and isinstance(document.get("error"), dict):
            raise click.ClickException(str(document["error"].get("message", "no message")))
        raise click.ClickException(
            f"{self.url} answered {answer.status_code} without JSON; is this the admin URL of a front door?"
        )
