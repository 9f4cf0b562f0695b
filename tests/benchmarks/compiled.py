"""Our own program as it is run in earnest: the wheel of `make compiled`, on the best CPython of this machine.

The distribution's Python is built with its optimisations on, as that of the official images is; one that a version
manager made is mostly not. Whichever it is, the report says so. Its environment is made from the same locked
requirements as the project's, and made anew when a source file has changed.
"""

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

DISTRIBUTION = "/usr/bin/python3"
# Whether a Python can make environments and compile: it knows where its own headers are.
FIT = """
import sys, sysconfig, pathlib, ensurepip
fit = sys.version_info >= (3, 11) and (pathlib.Path(sysconfig.get_path("include")) / "Python.h").exists()
sys.exit(0 if fit else 1)
"""
TOLD = "import platform; print(platform.python_implementation(), platform.python_version())"

Run = Callable[..., str]  # A command's words, and `environ`; what it said. Raises where it failed.


def python_for_it() -> str:
    """The distribution's where it will do, else the one that runs this."""
    fit = Path(DISTRIBUTION).exists() and not subprocess.run([DISTRIBUTION, "-c", FIT], capture_output=True).returncode
    return DISTRIBUTION if fit else sys.executable


def sources_of(project: Path) -> str:
    """A digest of what the environment is made of."""
    digest = hashlib.sha256()
    paths = [path for package in ("federation", "router") for path in (project / package).rglob("*.py")]
    for path in (*sorted(paths), project / "pyproject.toml", project / "requirements" / "dev.txt"):
        digest.update(str(path.relative_to(project)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def is_made(environment: Path, project: Path) -> bool:
    """Whether it stands, of these very sources."""
    marker = environment / "sources"
    return marker.exists() and marker.read_text() == sources_of(project)


def make(environment: Path, project: Path, run: Run) -> None:
    """Environment, wheel and all; some minutes the first time, then one."""
    python = str(environment / "bin" / "python")
    quiet = ("--quiet", "--disable-pip-version-check")
    pip = partial(run, python, "-P", "-m", "pip")
    if not (environment / "sources").exists():
        run(python_for_it(), "-m", "venv", "--clear", str(environment))
        pip("install", *quiet, "--require-hashes", "-r", str(project / "requirements" / "dev.txt"))
    wheels = environment / "wheels"
    for old in (*wheels.glob("*.whl"), *wheels.glob("*.tar.gz")):
        old.unlink()
    run("make", "--silent", "-C", str(project), "compiled", f"BIN={environment / 'bin'}", f"DIST={wheels}")
    [wheel] = wheels.glob("*.whl")
    pip("install", *quiet, "--no-deps", "--force-reinstall", str(wheel))
    (environment / "sources").write_text(sources_of(project))


def version_in(environment: Path, version: str) -> str:
    """The program's version, and the Python that runs it."""
    python = environment / "bin" / "python"
    told = subprocess.run([python, "-c", TOLD], capture_output=True, text=True, check=True)
    whose = "the distribution's" if os.path.realpath(python).startswith("/usr/bin/") else "the project's"
    return f"{version}, compiled, on {whose} {told.stdout.strip()}"
