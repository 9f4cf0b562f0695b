"""The outside world of secrets: the key that signs heartbeats, from a file or the environment."""

import os
from collections.abc import Mapping
from pathlib import Path

import structlog

from federation.agent.settings import KeySettings
from federation.wire import KEY_BYTES_MIN

log = structlog.get_logger()

KEY_BYTES_MAX = 4096

_Stamp = tuple[int, int, int]  # What changes when a file is written or replaced: mtime, size, inode.


class UnusableKey(Exception):
    """No key to sign with; the message says where it was looked for and what is wrong with it."""


class AgentKey:
    """The key in force. A file is read again when it changed; a bad new one leaves the old in force."""

    def __init__(self, settings: KeySettings, environ: Mapping[str, str]) -> None:
        """Raises UnusableKey."""
        self.id = settings.id
        self._path = Path(settings.secret_file) if settings.secret_file is not None else None
        self._stamp: _Stamp | None = None
        if self._path is not None:
            self._stamp = _stamp(self._path)
            self.secret = _read(self._path)
        else:
            assert settings.secret_env is not None
            name = settings.secret_env
            self.secret = _checked(environ.get(name, "").encode(), f"environment variable {name}")

    def poll(self) -> bool | None:
        """Look whether the file changed. True: a new secret is in force; False: the new one is bad; None: no change."""
        if self._path is None:
            return None
        stamp = _stamp(self._path)
        if stamp == self._stamp:
            return None
        self._stamp = stamp
        try:
            secret = _read(self._path)
        except UnusableKey as error:
            log.error("new heartbeat key cannot be used; the old one stays in force", reason=str(error))
            return False
        if secret == self.secret:
            return None
        self.secret = secret
        log.info("heartbeat key was replaced", key_id=self.id, file=str(self._path))
        return True


def _stamp(path: Path) -> _Stamp | None:
    """None: there is no such file, or it cannot be reached."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            secret = file.read(KEY_BYTES_MAX + 1)
    except OSError as error:
        raise UnusableKey(f"{path}: {error.strerror}") from None
    return _checked(secret, str(path))


def _checked(secret: bytes, place: str) -> bytes:
    secret = secret.strip()
    if not KEY_BYTES_MIN <= len(secret) <= KEY_BYTES_MAX:
        raise UnusableKey(f"{place}: expected a key of {KEY_BYTES_MIN} to {KEY_BYTES_MAX} bytes, got {len(secret)}")
    return secret
