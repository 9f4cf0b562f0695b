"""A whole front door over TLS: certificates that change while it runs, and operators' commands that reach it."""

import json
import os
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.app.fleet import until
from tests.edge.authority import Authority, Pair

AUTHORITY = Authority()


class Door:
    """One `tradewind serve` with TLS on both ports; its only cluster is not there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "ca.pem").write_text(AUTHORITY.pem)
        self.put(AUTHORITY.issue("127.0.0.1", serial=0xA1))
        AUTHORITY.issue("127.0.0.1", serial=0xAD).write(folder, "admin")
        row = {"name": "a", "region": "us-central1", "endpoint": "https://127.0.0.1:9", "server_name": "a.test"}
        (folder / "inventory.yaml").write_text(json.dumps({"clusters": [row]}))
        settings = {
            "region": "us-central1",
            "inventory": "inventory.yaml",
            "port": 0,
            "admin_port": 0,
            "ca_file": "ca.pem",
            "tls": {"cert_file": "door.pem", "key_file": "door.key"},
            "admin_tls": {"cert_file": "admin.pem", "key_file": "admin.key"},
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

    def put(self, pair: Pair) -> None:
        """Exchange both files."""
        made = self.folder / "made"
        made.mkdir(exist_ok=True)
        for path in pair.write(made, "door"):
            os.replace(path, self.folder / path.name)

    def serial(self, url: str) -> int:
        """The number of the certificate that a new connection sees."""
        host, port = url.removeprefix("https://").split(":")
        sock = socket.create_connection((host, int(port)), 10)
        with AUTHORITY.trusted().wrap_socket(sock, server_hostname=host) as spoken_to:
            certificate = spoken_to.getpeercert()
        assert certificate is not None
        return int(str(certificate["serialNumber"]), 16)

    def reloads(self, result: str) -> float:
        page = httpx.get(f"{self.admin}/metrics", verify=AUTHORITY.trusted()).text
        name = f'tradewind_configuration_reloads_total{{result="{result}"}} '
        return sum(float(line.removeprefix(name)) for line in page.splitlines() if line.startswith(name))

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(20)
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.errors.close()


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Door]:
    running = Door(tmp_path)
    yield running
    running.close()


def test_certificates_change_while_it_runs_and_a_broken_pair_keeps_the_old(door: Door) -> None:
    with httpx.Client(verify=AUTHORITY.trusted(), base_url=door.url) as client:
        assert client.get("/healthz").status_code == 200
        sock = client.get("/healthz").extensions["network_stream"].get_extra_info("socket")
        assert (door.serial(door.url), door.serial(door.admin)) == (0xA1, 0xAD)

        door.put(AUTHORITY.issue("127.0.0.1", serial=0xA2))
        until(lambda: door.serial(door.url) == 0xA2, 5.0, "the new one is shown")
        assert door.serial(door.admin) == 0xAD
        taken = door.reloads("taken")
        assert taken >= 1

        mixed = Pair(AUTHORITY.issue("127.0.0.1", serial=0xA3).certificate, AUTHORITY.issue("127.0.0.1").key)
        door.put(mixed)
        until(lambda: door.reloads("kept_old") >= 1, 5.0, "the mistake was seen")
        assert door.serial(door.url) == 0xA2
        assert "this key does not belong to the certificate" in (door.folder / "stderr").read_text()

        again = client.get("/healthz")
        assert again.status_code == 200
        assert again.extensions["network_stream"].get_extra_info("socket") is sock, "the connection was not dropped"


def test_what_is_not_tls_leaves_no_traceback(door: Door) -> None:
    with pytest.raises(httpx.HTTPError):
        httpx.get(door.url.replace("https", "http"))
    with pytest.raises(ssl.SSLError), socket.create_connection(door.url.removeprefix("https://").split(":")) as sock:
        ssl.create_default_context().wrap_socket(sock, server_hostname="127.0.0.1")  # Does not believe us.
    assert httpx.get(f"{door.url}/healthz", verify=AUTHORITY.trusted()).status_code == 200
    said = (door.folder / "stderr").read_text()
    assert "Traceback" not in said
    assert '"level":"error"' not in said.replace(" ", "")


def test_operators_commands_reach_an_admin_port_with_tls(door: Door) -> None:
    command = [sys.executable, "-m", "router.cli.main", "status", "--json", "--url", door.admin]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "is not believed; name the file of its authority in SSL_CERT_FILE" in done.stderr
    environ = {**os.environ, "SSL_CERT_FILE": str(door.folder / "ca.pem")}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [row["cluster"] for row in json.loads(done.stdout)["clusters"]] == ["a"]
