"""Configuration files: what is read, and what is said of mistakes."""

import os
from pathlib import Path

import certifi
import msgspec
import pytest
import yaml

from federation.agent.settings import AgentSettings
from federation.lab.layout import Layout, agent_document, door_document, inventory_document, plan_clusters
from router.checking import check_file
from router.configuration import BadConfiguration, WatchedFiles, load_router

SECRET = "0123456789abcdef0123456789abcdef"
INVENTORY = """\
clusters:
  - name: us-central1-a
    region: us-central1
    endpoint: http://127.0.0.1:9001
    models: {llama: {slots: 64}}
    heartbeat_keys: [{id: k1, secret_file: us.key}]
residency:
  us: [us-central1]
"""
SERVE = """\
region: us-central1
inventory: inventory.yaml
stores: [redis://127.0.0.1:6379]
"""


def write(folder: Path, serve: str = SERVE, inventory: str = INVENTORY, **others: str) -> Path:
    """A folder of configuration; the path of the front door's settings in it."""
    files = {"serve.yaml": serve, "inventory.yaml": inventory, "us.key": SECRET, **others}
    for name, text in files.items():
        path = folder / name
        path.write_text(text)
        path.chmod(0o600)
    return folder / "serve.yaml"


def lines_of(path: Path, environ: dict[str, str] | None = None) -> list[str]:
    """What is wrong, without the folder."""
    with pytest.raises(BadConfiguration) as caught:
        load_router(path, environ or {})
    return [line.replace(f"{path.parent}/", "") for line in caught.value.lines]


def test_everything_named_is_read(tmp_path: Path) -> None:
    serve = SERVE + "rtt_file: rtt.csv\nkeys_file: keys.yaml\nadmin_token_file: token\n"
    keys = f"- {{id: k1, tenant: search, sha256: {'ab' * 32}, expires: 2027-06-30}}\n"
    others = {"rtt.csv": "region,us-central1\nus-central1,0.5\n", "keys.yaml": keys, "token": "t" * 32 + "\n"}
    loaded = load_router(write(tmp_path, serve, **others), {})
    assert loaded.settings.region == "us-central1"
    assert loaded.settings.timeouts.connect_s == 1.0
    assert loaded.heartbeat_keys == {"us-central1-a": {"k1": SECRET.encode()}}
    assert loaded.distances.rtt_ms("us-central1", "us-central1") == 0.5
    assert loaded.api_keys is not None
    assert len(loaded.api_keys) == 1
    assert loaded.admin_token == "t" * 32
    assert loaded.warnings == ()
    names = {path.name for path in loaded.files}
    assert names == {"serve.yaml", "inventory.yaml", "us.key", "rtt.csv", "keys.yaml", "token"}


def test_the_environment_wins(tmp_path: Path) -> None:
    environ = {
        "TRADEWIND_PORT": "9000",
        "TRADEWIND_TIMEOUTS__FIRST_BYTE_S": "30",
        "TRADEWIND_STORES": "redis://a:1, redis://b:2",
        "TRADEWIND_TRUSTED_PROXIES": "[10.0.0.0/8]",
        "TRADEWIND_REGION": "2024",
    }
    settings = load_router(write(tmp_path), environ).settings
    assert settings.port == 9000
    assert settings.timeouts.first_byte_s == 30
    assert settings.stores == ("redis://a:1", "redis://b:2")
    assert settings.trusted_proxies == ("10.0.0.0/8",)
    assert settings.region == "2024"


def test_the_environment_can_be_all_there_is(tmp_path: Path) -> None:
    environ = {"TRADEWIND_REGION": "us-central1", "TRADEWIND_INVENTORY": "inventory.yaml"}
    assert load_router(write(tmp_path, serve="# nothing\n"), environ).settings.region == "us-central1"


def test_mistakes_in_the_environment_name_the_variable(tmp_path: Path) -> None:
    environ = {"TRADEWIND_PORT": "tcp://10.0.0.1:80", "TRADEWIND_TIMEOUTS__IDLE_S": "0"}
    path = write(tmp_path)
    (bad_type,) = lines_of(path, {"TRADEWIND_PORT": environ["TRADEWIND_PORT"]})
    assert bad_type.startswith("environment: TRADEWIND_PORT: 'tcp://10.0.0.1:80': expected int")
    assert "enableServiceLinks: false" in bad_type
    assert lines_of(path, {"TRADEWIND_TIMEOUTS__IDLE_S": "0"}) == [
        "environment: TRADEWIND_TIMEOUTS__IDLE_S: 0 s; expected more than 0"
    ]


def test_an_unknown_variable_is_odd_and_kubernetes_links_are_not(tmp_path: Path) -> None:
    environ = {"TRADEWIND_PROT": "1", "TRADEWIND_ADMIN_TOKEN": "x", "TRADEWIND_DOOR_SERVICE_HOST": "10.0.0.1"}
    loaded = load_router(write(tmp_path), environ)
    assert loaded.warnings == ("environment: warning: TRADEWIND_PROT: no such setting; did you mean 'TRADEWIND_PORT'?",)


def test_all_mistakes_come_at_once_with_their_lines(tmp_path: Path) -> None:
    serve = """\
region: us-central1
inventory: inventory.yaml
prot: 8080
port: "8080"
admin_port: 70000
timeouts:
  connect_s: fast
  idle_s: 1
  idel_s: 2
port: 1
"""
    assert lines_of(write(tmp_path, serve)) == [
        "serve.yaml:3: prot: no such field; did you mean 'port'?",
        "serve.yaml:7: timeouts.connect_s: expected float; found str",
        "serve.yaml:9: timeouts.idel_s: no such field; did you mean 'idle_s'?",
        "serve.yaml:10: port: stands twice, first on line 4; keep one",
    ]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("port: 65536", "serve.yaml:4: port: 65536 is no port; expected 1 to 65535, or 0 for any free one"),
        ("admin_port: 8080", "serve.yaml:4: admin_port: 8080 is also the main port; choose another"),
        ("timeouts: {connect_s: 0}", "serve.yaml:4: timeouts.connect_s: 0 s; expected more than 0"),
        ("timeouts: {total_s: .nan}", "serve.yaml:4: timeouts.total_s: nan s; expected more than 0"),
        ("shutdown: {grace_s: -1}", "serve.yaml:4: shutdown.grace_s: -1 s; expected at least 0"),
        ("workers: 0", "serve.yaml:4: workers: 0; expected 1 to 64"),
        ("edge: {calls_max: 0}", "serve.yaml:4: edge.calls_max: 0; expected at least 1"),
        ("stores: redis://x", "serve.yaml:4: stores: expected array; found str"),
        ("access_log: sometimes", "serve.yaml:4: access_log: 'sometimes' is none of none, failed, all"),
        ("cors_origins: [app.example.com]", "serve.yaml:4: cors_origins.0: 'app.example.com' is no origin; "),
        ("cors_origins: [https://a.example/]", "serve.yaml:4: cors_origins.0: 'https://a.example/' is no origin; "),
        ("cors_origins: [https://A.example]", "serve.yaml:4: cors_origins.0: 'https://A.example' is no origin; "),
        ("cors_origins: [https://a:443]", "serve.yaml:4: cors_origins.0: 'https://a:443' is no origin; "),
        ("cors_origins: ['*', https://a]", "serve.yaml:4: cors_origins.0: '*' lets every page call; "),
        ("trusted_proxies: [10.0.0.1/8]", "serve.yaml:4: trusted_proxies.0: 10.0.0.1/8 has host bits set; "),
        ("host: 0.0.0.0", "serve.yaml:4: host: 0.0.0.0 is open to others, which needs a keys_file"),
        ("admin_host: 0.0.0.0", "serve.yaml:4: admin_host: 0.0.0.0 is open to others, which needs an admin"),
        ("timeouts: 3", "serve.yaml:4: timeouts: expected a mapping with connect_s, first_byte_s"),
        ("rtt_file: none.csv", "none.csv:1: no such file"),
        ("keys_file: none.yaml", "none.yaml:1: no such file"),
        ("admin_token_file: us.short", "us.short:1: expected one word of 16 or more ASCII characters"),
    ],
)
def test_each_mistake_is_one_line_that_says_where(tmp_path: Path, line: str, expected: str) -> None:
    path = write(tmp_path, SERVE.replace("stores", "#stores") + line + "\n", **{"us.short": "short"})
    (found,) = lines_of(path)
    assert found.startswith(expected)


@pytest.mark.parametrize(
    ("inventory", "expected"),
    [
        ("", "inventory.yaml:1: expected a mapping with clusters, residency"),
        ("clusters: []\n", "inventory.yaml:1: clusters: no cluster is declared"),
        ("clusters:\n  - name: [\n", "inventory.yaml:3: not YAML: "),
        ("clusters: *nobody\n", "inventory.yaml:1: not YAML: "),
        ("a: &a [*a]\n", "inventory.yaml:1: not YAML: "),
        (INVENTORY.replace("region: us", "regoin: us"), "inventory.yaml:2: clusters.0: its field 'region' is missing"),
        (INVENTORY.replace("us.key", "eu.key"), "inventory.yaml:6: clusters.0.heartbeat_keys.0.secret_file: eu.key"),
        (
            INVENTORY.replace("us.key", "short"),
            "inventory.yaml:6: clusters.0.heartbeat_keys.0.secret_file: a secret of 5",
        ),
        (
            INVENTORY.replace("secret_file: us.key", "secret_env: US_KEY"),
            "inventory.yaml:6: clusters.0.heartbeat_keys.0.secret_env: the environment has no US_KEY",
        ),
        (INVENTORY.replace("http://", ""), "inventory.yaml:4: clusters.0.endpoint: "),
        (INVENTORY.replace("64", "many"), "inventory.yaml:5: clusters.0.models.llama.slots: expected int; found str"),
    ],
)
def test_mistakes_in_the_inventory(tmp_path: Path, inventory: str, expected: str) -> None:
    found = lines_of(write(tmp_path, inventory=inventory, short="short"))
    assert found[0].startswith(expected), found


def test_what_is_no_file_is_said_in_one_line(tmp_path: Path) -> None:
    assert lines_of(tmp_path / "none.yaml") == ["none.yaml:1: no such file"]
    (tmp_path / "binary.yaml").write_bytes(b"region: x\n\xff\xfe")
    assert lines_of(tmp_path / "binary.yaml") == ["binary.yaml:2: not UTF-8 text"]
    with pytest.raises(BadConfiguration, match="is a directory; give the file in it"):
        load_router(tmp_path, {})


def test_oddities_are_told_and_change_nothing(tmp_path: Path) -> None:
    inventory = (
        "clusters:\n  - {name: m-a, region: us-centrall1, endpoint: 'http://h:1'}\nresidency: {eu: [europe-west4]}\n"
    )
    path = write(tmp_path, "region: us-central1\ninventory: inventory.yaml\nclient_region_header: x-r\n", inventory)
    warnings = [line.replace(f"{tmp_path}/", "") for line in load_router(path, {}).warnings]
    assert [line.split(": warning: ")[0] for line in warnings] == [
        "serve.yaml:3: client_region_header",
        "serve.yaml:1: stores",
        "inventory.yaml:2: clusters.0",
        "inventory.yaml:3: residency.eu",
        "serve.yaml:1",
    ]
    assert warnings[-1].endswith(
        "region 'us-centrall1' has no coordinates and no round trips in the matrix (did you mean 'us-central1'?)"
    )


def test_a_secret_that_others_may_read_is_odd(tmp_path: Path) -> None:
    path = write(tmp_path)
    (tmp_path / "us.key").chmod(0o644)
    (warning,) = load_router(path, {}).warnings
    assert "others may read this file" in warning


def test_a_bad_matrix_says_its_line(tmp_path: Path) -> None:
    path = write(tmp_path, SERVE + "rtt_file: rtt.csv\n", **{"rtt.csv": "region,a,b\na,1\n"})
    (line,) = lines_of(path)
    assert line == "rtt.csv:2: expected 2 numbers after the region, found 1"


def test_the_clusters_authorities_are_read_and_watched(tmp_path: Path) -> None:
    authorities = Path(certifi.where()).read_text()
    loaded = load_router(write(tmp_path, SERVE + "ca_file: ca.pem\n", **{"ca.pem": authorities}), {})
    assert loaded.tls is not None
    assert loaded.tls.context.cert_store_stats()["x509_ca"] > 0
    assert tmp_path / "ca.pem" in loaded.files
    (line,) = lines_of(write(tmp_path, SERVE + "ca_file: ca.pem\n", **{"ca.pem": "nonsense"}))
    assert line.startswith("ca.pem:1: expected certificates in PEM")


def test_files_of_a_configuration_that_failed_are_known(tmp_path: Path) -> None:
    """So that the one that was missing is noticed when it comes."""
    with pytest.raises(BadConfiguration) as caught:
        load_router(write(tmp_path, SERVE + "keys_file: later.yaml\n"), {})
    assert tmp_path / "later.yaml" in caught.value.files


def test_watched_files_say_what_changed_since_they_were_read(tmp_path: Path) -> None:
    loaded = load_router(write(tmp_path), {})
    (tmp_path / "us.key").write_text(SECRET + "more")
    watched = WatchedFiles(loaded.files)
    assert {path.name for path in watched.changed()} == {"us.key"}
    assert watched.changed() == set()
    os.replace(tmp_path / "us.key", tmp_path / "gone")
    assert {path.name for path in watched.changed()} == {"us.key"}


def test_what_up_writes_can_be_read(tmp_path: Path) -> None:
    clusters = plan_clusters(["us-central1", "europe-west4"], ["lab=europe-west4=http://127.0.0.1:8000"])
    layout = Layout(clusters=clusters, models=("m",), seed=1)
    endpoints = {plan.name: "http://127.0.0.1:9001" for plan in clusters}
    secrets = {plan.name: "us.key" for plan in clusters}
    stores = ["redis://127.0.0.1:6379"]
    serve = yaml.safe_dump(door_document(layout, 0, stores, "inventory.yaml", "token"))
    inventory = yaml.safe_dump(inventory_document(layout, endpoints, secrets))
    loaded = load_router(write(tmp_path, serve, inventory, token="t" * 32), {})
    assert loaded.warnings == ()
    assert loaded.inventory.residency == {"us": ("us-central1",), "eu": ("europe-west4",)}
    assert [row.models["m"].slots for row in loaded.inventory.clusters[:2]] == [96, 96]
    agent = agent_document(layout, clusters[0], ["http://127.0.0.1:9002"], stores, "us.key")
    assert msgspec.convert(agent, AgentSettings).cluster == "us-central1-a"


@pytest.mark.parametrize(
    ("name", "text", "kind", "mistake"),
    [
        ("inventory.yaml", INVENTORY, "inventory", None),
        ("keys.yaml", "- {id: a, tenant: t}\n", "keys file", "keys.yaml:1: 0: its field 'sha256' is missing"),
        ("rtt.csv", "region,a\na,x\n", "round-trip matrix", "rtt.csv:2: expected a number of ms for a, found 'x'"),
        (
            "agent.yaml",
            "cluster: a\nregion: r\nmodel_servers: [ftp://x]\nstores: [redis://x]\nkey: {id: k, secret_file: us.key}\n",
            "agent's settings",
            "agent.yaml:3: model_servers.0: expected a URL that starts with http:// or https://",
        ),
        (
            "agent.yaml",
            "cluster: a\nregion: r\nmodel_servers: []\nstores: [redis://x]\nkey: {id: k, secret_file: none.key}\n",
            "agent's settings",
            "agent.yaml:5: key.secret_file: none.key:1: no such file",
        ),
    ],
)
def test_a_file_is_known_by_what_stands_in_it(
    tmp_path: Path, name: str, text: str, kind: str, mistake: str | None
) -> None:
    write(tmp_path, **{name: text})
    report = check_file(tmp_path / name, {})
    assert report.kind == kind
    found = [line.replace(f"{tmp_path}/", "") for line in report.mistakes]
    assert found == ([] if mistake is None else [mistake])
