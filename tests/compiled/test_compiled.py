"""What is compiled, and whether it does what its source does: tests of the edge run once more, against the wheel."""

import ast
import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
HOOKS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]["hooks"]
FILES: list[str] = HOOKS["mypyc"]["include"]
SELECTION = ("test_bytes.py", "test_clients.py", "test_failover.py", "test_http_table.py", "test_silence.py")
ALL = ("tests/edge", "tests/unit/router", "tests/fuzz")
# They replace a method of a class to see that the fault is found: compiled, nobody would call what they put there.
MUTANTS = (
    "second_host_that_is_let_through",
    "body_of_which_a_byte_is_lost",
    "answers_that_change_places",
    "connection_given_to_two",
)
WITHIN_S = 900


@pytest.mark.parametrize("name", FILES)
def test_compiled_file_defines_nothing_that_msgspec_reads(name: str) -> None:
    assert "msgspec.Struct" not in (ROOT / name).read_text(), "annotations do not outlive compilation: give it a file"


@pytest.mark.parametrize("name", FILES)
def test_compiled_file_binds_no_two_kinds_of_error_to_one_name(name: str) -> None:
    for function in ast.walk(ast.parse((ROOT / name).read_text())):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            names = [one.name for one in ast.walk(function) if isinstance(one, ast.ExceptHandler) and one.name]
            assert len(names) == len(set(names)), f"{function.name}: {names}"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the compiled packages lie."""
    headers = Path(sysconfig.get_path("include")) / "Python.h"
    if not (shutil.which(os.environ.get("CC", "cc")) and headers.exists()):
        pytest.skip("no C compiler, or no headers of this Python")
    folder = tmp_path_factory.mktemp("wheel")
    _run("make", "--silent", "compiled", f"BIN={Path(sys.executable).parent}", f"DIST={folder}", where=ROOT)
    [made] = folder.glob("*.whl")
    _run(sys.executable, "-m", "zipfile", "-e", str(made), str(folder / "packages"), where=folder)
    return folder / "packages"


@pytest.mark.timeout(WITHIN_S)
def test_the_compiled_edge_does_what_its_source_does(wheel: Path, tmp_path: Path, everything: bool) -> None:
    for name in ("tests", "docs", "pyproject.toml", "README.md", "CHANGELOG.md", "Makefile"):
        (tmp_path / name).symlink_to(ROOT / name)  # All but the packages.
    chosen = ALL if everything else tuple(f"tests/edge/{name}" for name in SELECTION)
    said = _run(sys.executable, "-P", "-c", f"import sys; sys.path.insert(0, {str(wheel)!r}); {WHERE}", where=tmp_path)
    assert said.strip().endswith(".so"), said
    _run(
        *(sys.executable, "-P", "-m", "pytest", "-q", *chosen, "-k", f"not ({' or '.join(MUTANTS)})"),
        where=tmp_path,
        environ={"PYTHONPATH": str(wheel)},
    )


WHERE = "import router.edge.exchange as one; print(one.__file__)"


def _run(*command: str, where: Path, environ: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        command,
        cwd=where,
        env={**os.environ, **(environ or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=WITHIN_S,
    )
    assert done.returncode == 0, f"{' '.join(command)}:\n{done.stdout[-6000:]}"
    return done.stdout
