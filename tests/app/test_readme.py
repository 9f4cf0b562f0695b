"""The first tour of README, run as it stands there: each shell block, and the Python one."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.app.fleet import Fleet, until

README = (Path(__file__).parent.parent.parent / "README.md").read_text()
TOUR = README.split("## A first tour")[1].split("\n## ")[0]
BLOCKS = re.findall(r"```(bash|python)\n(.*?)```", TOUR, re.DOTALL)


def run(fleet: Fleet, kind: str, block: str) -> str:
    """Run a block against this fleet; its output."""
    block = block.replace("http://127.0.0.1:8080", fleet.url)
    command = [sys.executable, "-c", block] if kind == "python" else ["bash", "-euo", "pipefail", "-c", block]
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "TRADEWIND_ADMIN_URL": fleet.admin_url,
        "TRADEWIND_ADMIN_TOKEN": fleet.token,
        "COLUMNS": "160",
    }
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_first_tour_works_as_it_is_written() -> None:
    """In one fleet, from top to bottom; the region is killed where README says so."""
    with Fleet("--seed", "12", "--restart-after", "0") as fleet:
        fleet.wait_fresh()
        before, after = BLOCKS[:-1], BLOCKS[-1]
        said = [run(fleet, *block) for block in before]
        assert "x-tradewind-region: europe-west4" in said[0]
        assert len(said[1]) > 20, "the stream wrote its text"
        assert "drained" in said[3]
        fleet.kill("model", "europe-west4")
        until(lambda: fleet.cluster("europe-west4")["standing"]["state"] == "ejected", 2.0, "ejected")
        last = run(fleet, *after)
        assert "HTTP/1.1 200" in last
        assert "x-tradewind-region: us-central1" in last
        assert "ejected" in last


@pytest.mark.parametrize("target", ["up", "test"])
def test_the_two_commands_exist(target: str) -> None:
    makefile = (Path(__file__).parent.parent.parent / "Makefile").read_text()
    assert re.search(rf"^{target}:", makefile, re.MULTILINE)
    assert f"make {target}" in README
