"""The command line: help, errors in one line, and commands that ask a running front door."""

import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from router.cli.admin import find_token, token_path
from router.cli.main import COMMANDS, command, run
from tests.app.fleet import MODEL, Fleet

NOBODY = "http://127.0.0.1:9"
TRACE = """\
TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:15:46.00,40,4
2023-11-16 18:15:46.20,90,3
2023-11-16 18:15:47.00,60,5
"""


@pytest.fixture
def asked(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> Fleet:
    """The shared fleet, with commands pointed at it."""
    monkeypatch.setenv("TRADEWIND_ADMIN_URL", fleet.admin_url)
    monkeypatch.setenv("TRADEWIND_ADMIN_TOKEN", (fleet.state / "admin-token").read_text())
    return fleet


def loaded_by(*arguments: str) -> set[str]:
    """The top-level modules that a command line imports."""
    script = (
        "import sys, contextlib, io\n"
        "from router.cli.main import run\n"
        "with contextlib.redirect_stdout(io.StringIO()):\n"
        f"    run({list(arguments)!r})\n"
        "print(' '.join(sorted({name.split('.')[0] for name in sys.modules})))"
    )
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    return set(answer.stdout.split())


def test_help_lists_every_command_without_loading_any() -> None:
    heavy = {"fastapi", "uvicorn", "uvloop", "httpx", "rich", "redis", "msgspec", "yaml", "structlog", "asyncio"}
    assert not loaded_by("--help") & heavy


@pytest.mark.parametrize("name", ["agent", "model", "up", "status"])
def test_light_roles_do_not_load_fastapi(name: str) -> None:
    assert not loaded_by(name, "--help") & {"fastapi", "pydantic"}


@pytest.mark.parametrize("arguments", [[name] for name in COMMANDS] + [["keys", "new"], []])
def test_every_command_has_help_with_an_example(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*arguments, "--help"]) == 0
    assert "Example" in capsys.readouterr().out


def test_what_the_list_says_is_what_the_command_says() -> None:
    ours = [name for name in COMMANDS if name not in ("agent", "model")]
    for name in ours:
        found = command.get_command(None, name)  # type: ignore[attr-defined]
        assert COMMANDS[name][1] == found.help.splitlines()[0], name


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["fly"], 2, "No such command 'fly'"),
        (["status", "--fast"], 2, "No such option"),
        (["drain"], 2, "Missing argument 'CLUSTER'"),
        (["drain", "a"], 2, "Missing option '--reason'"),
        (["drain", "a", "--reason", "x", "--for", "soon"], 2, "expected one like 90s, 30m, 2h or 1d12h"),
        (["drain", "a", "--reason", " "], 2, "say why"),
        (["explain", "--model", "m"], 2, "Missing option '--from'"),
        (["status", "--url", "nowhere"], 2, "is not a URL like http://127.0.0.1:8081"),
        (["status", "--url", NOBODY], 1, f"no front door answers at {NOBODY}; start one with `tradewind up`"),
        (["drain", "a", "--reason", "x", "--url", NOBODY], 1, "no front door answers"),
        (["check", "none.yaml"], 1, "none.yaml: 1 mistake, listed on stdout"),
        (["serve", "none.yaml"], 1, "nothing was started"),
        (["replay", "none.csv", "--url", NOBODY], 1, "none.csv: no such file"),
        (["keys", "new", "--tenant", "t", "--expires", "soon"], 2, "expected 2027-06-30"),
        (["keys", "new", "--tenant", "t", "--expires", "2001-01-01"], 2, "has passed"),
        (["keys", "new", "--tenant", "t", "--file", "none/keys.yaml"], 1, "cannot be written: No such file"),
        (["up", "--port", "80000"], 2, "80000 is not in the range"),
    ],
)
def test_errors_say_what_to_do(
    arguments: list[str], status: int, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert run(arguments) == status
    *_, line = capsys.readouterr().err.splitlines()
    assert line.startswith("tradewind: ")
    assert words in line
    assert list(tmp_path.iterdir()) == []


def test_the_token_of_up_is_given_to_this_machine_alone(tmp_path: Path) -> None:
    environ = {"XDG_STATE_HOME": str(tmp_path)}
    path = token_path("http://127.0.0.1:8081", environ)
    assert path is not None
    path.parent.mkdir(parents=True)
    path.write_text("secret\n")
    assert find_token("http://localhost:8081", environ) == "secret"
    assert find_token("http://127.0.0.1:8082", environ) is None
    assert find_token("http://front-door.example:8081", environ) is None
    assert find_token("http://x:1", {**environ, "TRADEWIND_ADMIN_TOKEN": "given"}) == "given"


def test_status_shows_every_cluster(asked: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["status"]) == 0
    table = capsys.readouterr().out
    for cluster in ("us-central1-a", "europe-west4-a", "asia-northeast1-a"):
        assert cluster in table
    assert "admitted" in table
    assert run(["status", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["clusters"]) == 3


def test_without_the_right_token_it_says_so(
    asked: Fleet, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRADEWIND_ADMIN_TOKEN", "wrong")
    assert run(["status"]) == 1
    assert "refuses this admin token; set TRADEWIND_ADMIN_TOKEN" in capsys.readouterr().err


def test_the_main_port_is_not_the_admin_port(asked: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["status", "--url", asked.url]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_drain_is_set_seen_and_ended(asked: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        assert run(["drain", "europe-west4-a", "--for", "10m", "--reason", "node upgrade"]) == 0
        assert "europe-west4-a takes no new calls until 2" in capsys.readouterr().out
        assert run(["status"]) == 0
        assert "(node upgrade)" in capsys.readouterr().out
    finally:
        assert run(["undrain", "europe-west4-a"]) == 0
    assert "europe-west4-a takes new calls again" in capsys.readouterr().out


def test_a_cluster_that_is_not_there_is_told_with_those_that_are(
    asked: Fleet, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments in (["drain", "mars", "--reason", "x"], ["undrain", "mars"]):
        assert run(arguments) == 1
        assert "known are asia-northeast1-a, europe-west4-a, us-central1-a" in capsys.readouterr().err


def test_explain_ranks_the_nearest_first(asked: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["explain", "--model", MODEL, "--from", "europe-west4", "--prompt-tokens", "100"]
    assert run(arguments) == 0
    assert f"{MODEL} from europe-west4" in capsys.readouterr().out
    assert run([*arguments, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert rows[0]["cluster"] == "europe-west4-a"


def test_replay_sends_a_trace_and_counts(asked: Fleet, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace = tmp_path / "tiny.csv"
    trace.write_text(TRACE)
    base = ["replay", str(trace), "--url", f"{asked.url}/v1", "--speed", "2", "--from", "us-central1,europe-west4"]
    assert run([*base, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["sent"], found["done"], found["failed"]) == (3, 3, 0)
    assert sum(found["regions"].values()) == 3
    assert found["ttft_ms"]["p50"] > 0
    assert run([*base, "--no-stream", "--for", "0s", "--model", MODEL]) == 0
    assert "1 calls" in capsys.readouterr().out
    assert run([*base, "--model", "unknown"]) == 1
    assert "3 status 404: " in capsys.readouterr().out


def test_a_new_key_is_shown_once_and_its_hash_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "keys.yaml"
    assert run(["keys", "new", "--tenant", "search", "--file", str(path)]) == 0
    key = capsys.readouterr().out.strip()
    assert key.startswith("tw_")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert key.split("_")[2] not in path.read_text()
    path.write_text("# ours\n" + path.read_text())
    more = ["--priority", "critical", "--model", "m", "--region", "r", "--expires", "90d", "--json"]
    assert run(["keys", "new", "--tenant", "ads", "--file", str(path), *more]) == 0
    entry = json.loads(capsys.readouterr().out)["entry"]
    assert path.read_text().startswith("# ours\n")
    rows = yaml.safe_load(path.read_text())
    assert [row["tenant"] for row in rows] == ["search", "ads"]
    assert (rows[1]["sha256"], rows[1]["priority_max"]) == (entry["sha256"], "critical")
    assert run(["check", str(path)]) == 0


@pytest.mark.parametrize(
    "text", ["- {id: a}\n", "clusters: []\n", "- [", "[{id: a, tenant: t, sha256: x}]\n", "- id: a\n  id: b\n"]
)
def test_a_keys_file_with_mistakes_is_left_as_it_is(
    tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "keys.yaml"
    path.write_text(text)
    assert run(["keys", "new", "--tenant", "t", "--file", str(path)]) == 1
    assert "nothing was changed" in capsys.readouterr().err
    assert path.read_text() == text
    assert list(tmp_path.iterdir()) == [path]


def test_a_form_that_cannot_be_added_to_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "keys.yaml"
    text = f"[{{id: a, tenant: t, sha256: {'ab' * 32}}}]\n"
    path.write_text(text)
    assert run(["keys", "new", "--tenant", "t", "--file", str(path)]) == 1
    assert path.read_text() == text


def test_keys_made_at_once_are_all_kept(tmp_path: Path) -> None:
    path = tmp_path / "keys.yaml"
    line = [sys.executable, "-m", "router.cli.main", "keys", "new", "--file", str(path), "--tenant"]
    made = [
        subprocess.Popen([*line, f"t{number}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for number in range(4)
    ]
    assert [process.wait(60) for process in made] == [0] * 4
    assert sorted(row["tenant"] for row in yaml.safe_load(path.read_text())) == ["t0", "t1", "t2", "t3"]


def test_check_prints_every_mistake(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "serve.yaml"
    path.write_text("region: us-central1\nprot: 1\nport: many\n")
    assert run(["check", str(path)]) == 1
    told = capsys.readouterr()
    assert told.out.splitlines() == [
        f"{path}:1: the field 'inventory' is missing",
        f"{path}:2: prot: no such field; did you mean 'port'?",
        f"{path}:3: port: expected int; found str",
    ]
    assert told.err == f"tradewind: {path}: 3 mistakes, listed on stdout\n"
    assert run(["check", str(path), "--json"]) == 1
    assert len(json.loads(capsys.readouterr().out)["mistakes"]) == 3
