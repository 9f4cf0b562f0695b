"""The key that signs heartbeats, and what happens when its file changes."""

import os
from pathlib import Path

import pytest

from federation.agent.key import AgentKey, UnusableKey
from federation.agent.settings import KeySettings

OLD, NEW = b"old-old-old-old-old", b"new-new-new-new-new"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    path.write_bytes(OLD + b"\n")
    return path


def key(path: Path) -> AgentKey:
    return AgentKey(KeySettings(id="k1", secret_file=str(path)), {})


def replace(path: Path, secret: bytes) -> None:
    """As Kubernetes does: a new file takes the place of the old."""
    path.with_suffix(".new").write_bytes(secret)
    os.replace(path.with_suffix(".new"), path)


def test_white_space_around_the_secret_does_not_count(path: Path) -> None:
    assert key(path).secret == OLD


def test_a_file_that_did_not_change_is_left_alone(path: Path) -> None:
    assert key(path).poll() is None


def test_a_new_key_is_taken(path: Path) -> None:
    found = key(path)
    replace(path, NEW)
    assert found.poll() is True
    assert found.secret == NEW
    assert found.poll() is None


@pytest.mark.parametrize("bad", [b"", b"short", b"x" * 5000, None])
def test_a_bad_new_key_leaves_the_old_in_force(path: Path, bad: bytes | None) -> None:
    found = key(path)
    if bad is None:
        path.unlink()
    else:
        replace(path, bad)
    assert found.poll() is False
    assert found.poll() is None  # Told once.
    assert found.secret == OLD
    replace(path, NEW)
    assert found.poll() is True


def test_a_key_from_the_environment(path: Path) -> None:
    settings = KeySettings(id="k1", secret_env="TRADEWIND_KEY")
    found = AgentKey(settings, {"TRADEWIND_KEY": OLD.decode()})
    assert (found.secret, found.poll()) == (OLD, None)
    with pytest.raises(UnusableKey, match="environment variable TRADEWIND_KEY: expected a key of 16 to 4096 bytes"):
        AgentKey(settings, {})


def test_without_a_usable_file_there_is_no_start(path: Path) -> None:
    with pytest.raises(UnusableKey, match="No such file"):
        key(path.with_name("none"))
    path.write_bytes(b"short")
    with pytest.raises(UnusableKey, match="got 5"):
        key(path)
