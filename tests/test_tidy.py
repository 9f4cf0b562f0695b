"""Rules of the house that no linter knows: names, sizes, mirrors, and no state at module level."""

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("federation", "router")
FORBIDDEN_NAMES = {"utils", "helpers", "common", "misc", "manager", "handler"}
LINES_MAX = 400

# Files that hold one noun and are longer all the same, each with the reason.
LONGER: dict[str, str] = {
    "router/edge/exchange.py": "one state machine, which is easier to check as a whole",
}

# Where `except Exception` may stand, with the reason. Anywhere else, name what can happen.
CATCH_ALL: dict[str, str] = {
    "federation/agent/loop.py": "the top of the agent's loops: tell, count, go on",
    "federation/agent/publish.py": "the top of a loop: the next heartbeat is tried again",
    "federation/agent/scrape.py": "the top of a task: one server's oddity must not hide the others",
    "federation/lab/model_server.py": "faults on request: whoever asked for one is told what went wrong",
    "federation/loops.py": "the top of every loop: tell, count, go on",
    "router/api/problems.py": "the top of a request: the client gets an error object",
    "router/cli/main.py": "the top of a command: one line on stderr instead of a traceback",
    "federation/feed.py": "a store that answers what no client can read is a store that does not answer",
    "router/edge/door.py": "the sweep: one call that cannot be ended must not keep the others from their end",
    "router/edge/protocol.py": "parser callbacks: what escapes would become a 400 for our own mistake",
    "router/edge/plain_protocol.py": "the same, for what goes past the parser",
}

# Modules whose tests stand with those of what they serve.
TESTED_ELSEWHERE: dict[str, str] = {
    "federation.lab.layout": "tests/unit/federation/test_lab_layout.py",
    "federation.store.breaker": "tests/contract/test_breaker.py",
    "router.edge.request_head": "tests/unit/router/edge/test_heads.py",
    "router.fields": "tests/unit/router/test_body.py",
    **{
        f"router.simulation.baselines.{name}": "tests/unit/router/simulation/baselines/test_ranked_baselines.py"
        for name in (
            "least_outstanding",
            "nearest",
            "ranking",
            "round_robin",
            "two_choices",
            "waterfall",
            "weighted",
        )
    },
}

SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_house_is_not_empty() -> None:
    assert len(SOURCES) > 50


@pytest.mark.parametrize("path", [*SOURCES, *sorted((ROOT / "tests").rglob("*.py"))], ids=name_of)
def test_file_is_named_after_its_noun(path: Path) -> None:
    words = set(path.stem.split("_"))
    assert not words & FORBIDDEN_NAMES, "say what it holds"


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_file_is_short_enough_to_read(path: Path) -> None:
    lines = len(path.read_text().splitlines())
    if name_of(path) in LONGER:
        assert lines > LINES_MAX, "no longer long: take it off the list"
    else:
        assert lines <= LINES_MAX, "which second noun does it hold?"


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_file_says_what_it_holds(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert not tree.body or ast.get_docstring(tree), "begin with a docstring"


def pure_modules() -> list[str]:
    """Modules of the contract of the pure core; of a package, its modules."""
    [contract] = [one for one in PYPROJECT["tool"]["importlinter"]["contracts"] if "pure core" in one["name"]]
    found = []
    for module in contract["source_modules"]:
        path = ROOT / module.replace(".", "/")
        if path.is_dir():
            found += [f"{module}.{part.stem}" for part in sorted(path.glob("*.py")) if part.stem != "__init__"]
        else:
            found.append(module)
    return found


def test_contract_of_the_pure_core_lists_what_exists() -> None:
    for module in pure_modules():
        assert (ROOT / f"{module.replace('.', '/')}.py").exists(), module


@pytest.mark.parametrize("module", pure_modules())
def test_pure_module_has_its_mirror(module: str) -> None:
    """tests/unit/<folder>/test_<module>.py; or test_<folder>_<module>.py, where the plain name is taken."""
    *folders, stem = module.split(".")
    folder = ROOT / "tests" / "unit" / Path(*folders)
    if module in TESTED_ELSEWHERE:
        assert (ROOT / TESTED_ELSEWHERE[module]).exists()
        return
    candidates = [folder / f"test_{stem}.py", folder / f"test_{folders[-1]}_{stem}.py"]
    assert any(path.exists() for path in candidates), f"{candidates[0].relative_to(ROOT)} is missing"


# State at module level.

MUTABLE_CALLS = {"list", "dict", "set", "bytearray", "defaultdict", "deque", "OrderedDict", "Counter"}


def is_mutable(value: ast.expr | None) -> bool:
    """Whether an expression makes a list, dict or set."""
    if isinstance(value, ast.List | ast.Dict | ast.Set | ast.ListComp | ast.DictComp | ast.SetComp):
        return True
    if isinstance(value, ast.BinOp):
        return is_mutable(value.left) or is_mutable(value.right)
    if isinstance(value, ast.Call):
        function = value.func
        name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
        return name in MUTABLE_CALLS
    return False


def mutable_globals(tree: ast.Module) -> Iterator[ast.expr]:
    """Names bound to something mutable where a module begins, also under a top-level if, try or with."""
    pending: list[ast.stmt] = list(tree.body)
    while pending:
        statement = pending.pop()
        if isinstance(statement, ast.Assign) and is_mutable(statement.value):
            yield from (target for target in statement.targets if not isinstance(target, ast.Attribute))
        elif isinstance(statement, ast.AnnAssign) and is_mutable(statement.value):
            yield statement.target
        elif not isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            pending += [child for child in ast.iter_child_nodes(statement) if isinstance(child, ast.stmt)]


def is_constant(target: ast.expr) -> bool:
    return isinstance(target, ast.Name) and (target.id.isupper() or target.id == "__all__")


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_module_keeps_no_state(path: Path) -> None:
    """Tables that nobody changes are written in CAPITALS; everything else belongs to an object."""
    found = [target for target in mutable_globals(ast.parse(path.read_text())) if not is_constant(target)]
    assert not found, [f"line {target.lineno}: {ast.unparse(target)}" for target in found]


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_no_function_reaches_for_a_global(path: Path) -> None:
    found = [node.lineno for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Global)]
    assert not found, f"global at lines {found}"


# Catching everything.


def catches_everything(clause: ast.ExceptHandler) -> bool:
    named = clause.type.elts if isinstance(clause.type, ast.Tuple) else [clause.type]
    return any(one is None or (isinstance(one, ast.Name) and one.id in ("Exception", "BaseException")) for one in named)


def catch_alls(path: Path) -> list[int]:
    """Lines of clauses that catch everything and do not raise again."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ExceptHandler)
        and catches_everything(node)
        and not (isinstance(node.body[-1], ast.Raise) and node.body[-1].exc is None)
    ]


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_nobody_catches_everything_without_a_reason(path: Path) -> None:
    lines = catch_alls(path)
    if name_of(path) in CATCH_ALL:
        assert lines, "catches nothing any more: take it off the list"
    else:
        assert not lines, f"except Exception at lines {lines}"


def test_exceptions_to_the_rules_name_files_that_exist() -> None:
    for name, reason in (LONGER | CATCH_ALL).items():
        assert (ROOT / name).exists(), name
        assert len(reason.split()) > 2, f"{name} needs a reason"
