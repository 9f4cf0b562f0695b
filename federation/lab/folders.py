"""Folders of `tradewind up`: its private one while it runs, and one that may be kept. Speaks to the file system.

A folder in use is locked, so that two `up` do not share one and what a killed `up` has left
behind can be told from what another is using.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PREFIX = "tradewind-up-"
YOUNG_S = 60.0  # A folder this fresh may not have been locked yet.


class FolderTaken(Exception):
    """Another process uses the folder; says which."""


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder for oneself. Raises FolderTaken. The lock ends with the process, however that ends."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FolderTaken(f"{folder} is used by another process") from None
        yield
    finally:
        os.close(descriptor)


@contextmanager
def private_folder(now_wall: float) -> Iterator[Path]:
    """A new folder that nobody else may read, removed at the end; so is what a killed process left of its own."""
    root = Path(tempfile.gettempdir())
    for left in root.glob(f"{PREFIX}*"):
        _remove_if_left(left, now_wall)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))  # Mode 0700.
    try:
        with locked(folder):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _remove_if_left(folder: Path, now_wall: float) -> None:
    try:
        status = folder.lstat()
        if status.st_uid != os.getuid() or now_wall - status.st_mtime < YOUNG_S:
            return
        with locked(folder):
            shutil.rmtree(folder, ignore_errors=True)
    except (OSError, FolderTaken):
        return


def write_private(path: Path, text: str) -> None:
    """Write a file that nobody else may read, whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    temporary.replace(path)
