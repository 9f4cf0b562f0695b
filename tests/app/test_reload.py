"""Files that change while a front door runs: keys and inventory; a mistake keeps the old."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.app.fleet import MODEL, Fleet, until


class Door:
    """One `tradewind serve` with a keys file, in front of the shared fleet's clusters."""

    def __init__(self, folder: Path, fleet: Fleet) -> None:
        self.folder = folder
        self.endpoints = {region: fleet.part("model", region)["endpoint"] for region in ("us-central1", "europe-west4")}
        self.declare("us-central1")
        (folder / "keys.yaml").touch(mode=0o600)
        settings = {
            "region": "us-central1",
            "inventory": "inventory.yaml",
            "keys_file": "keys.yaml",
            "port": 0,
            "admin_port": 0,
            "shutdown": {"lame_duck_s": 0, "grace_s": 2},
        }
        (folder / "serve.yaml").write_text(json.dumps(settings))
        self.errors = (folder / "stderr").open("w+")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "router.cli.main", "serve", str(folder / "serve.yaml")],
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
        )
        assert self.process.stdout is not None
        told = json.loads(self.process.stdout.readline().removeprefix("ready "))
        self.url, self.admin = told["url"], told["admin"]

    def declare(self, *regions: str) -> None:
        """Write an inventory of these regions, whole or not at all."""
        rows = [
            {
                "name": f"{region}-a",
                "region": region,
                "endpoint": self.endpoints[region],
                "models": {MODEL: {"slots": 8}},
            }
            for region in regions
        ]
        (self.folder / "new").write_text(json.dumps({"clusters": rows}))
        os.replace(self.folder / "new", self.folder / "inventory.yaml")

    def new_key(self, *options: str) -> str:
        """`tradewind keys new`, as an operator runs it."""
        command = [sys.executable, "-m", "router.cli.main", "keys", "new", "--tenant", "t", *options]
        done = subprocess.run(
            [*command, "--file", str(self.folder / "keys.yaml")], capture_output=True, text=True, check=True
        )
        return next(word for word in done.stdout.split() if word.startswith("tw_"))

    def call(self, key: str | None, model: str = MODEL) -> httpx.Response:
        headers = {"authorization": f"Bearer {key}"} if key else {}
        body = {"model": model, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}
        return httpx.post(f"{self.url}/v1/chat/completions", headers=headers, json=body, timeout=10)

    def reloads(self, result: str) -> float:
        """How often files were read again, by result."""
        page = httpx.get(f"{self.admin}/metrics").text
        name = f'tradewind_configuration_reloads_total{{result="{result}"}} '
        return sum(float(line.removeprefix(name)) for line in page.splitlines() if line.startswith(name))

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(20)
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.errors.close()


@pytest.fixture
def door(fleet: Fleet, tmp_path: Path) -> Iterator[Door]:
    running = Door(tmp_path, fleet)
    yield running
    running.close()


def test_a_key_works_soon_after_it_was_made_and_no_longer_once_it_is_gone(door: Door) -> None:
    assert door.call(None).status_code == 401
    key = door.new_key()
    until(lambda: door.call(key).status_code == 200, 3.0, "the new key works")
    assert door.call(key + "x").status_code == 401
    assert httpx.get(f"{door.url}/v1/models").status_code == 401
    limited = door.new_key("--model", "another")
    until(lambda: door.call(limited).status_code == 403, 3.0, "a key for another model")
    (door.folder / "keys.yaml").write_text("[]")
    until(lambda: door.call(key).status_code == 401, 3.0, "the key is gone")


def test_a_mistake_in_a_file_keeps_the_old_and_says_where_it_is(door: Door) -> None:
    key = door.new_key()
    until(lambda: door.call(key).status_code == 200, 3.0, "the key works")
    with (door.folder / "keys.yaml").open("a") as file:
        file.write("\n- {id: broken")
    until(lambda: door.reloads("kept_old") >= 1, 3.0, "the mistake was seen")
    assert door.call(key).status_code == 200
    said = (door.folder / "stderr").read_text()
    assert "configuration not taken" in said
    assert "keys.yaml:" in said


def test_a_cluster_joins_and_leaves_with_its_row_in_the_inventory(door: Door) -> None:
    key = door.new_key()
    until(lambda: door.call(key).status_code == 200, 3.0, "the key works")
    door.declare("us-central1", "europe-west4")
    until(lambda: len(_clusters(door)) == 2, 3.0, "two clusters")
    door.declare("europe-west4")
    until(lambda: _clusters(door) == ["europe-west4-a"], 3.0, "one cluster")
    assert door.call(key).headers["x-tradewind-cluster"] == "europe-west4-a"


def _clusters(door: Door) -> list[str]:
    return [entry["cluster"] for entry in httpx.get(f"{door.admin}/admin/status").json()["clusters"]]
