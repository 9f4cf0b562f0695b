"""The inventory's rules."""

import msgspec
import pytest

from federation.inventory import Inventory, endpoint_mistake, mistakes
from federation.model import ClusterSpec, DeclaredPool


def inventory(*rows: dict[str, object], **more: object) -> Inventory:
    default = {"name": "a", "region": "us-central1", "endpoint": "http://a:80"}
    return msgspec.convert({"clusters": [default | row for row in rows], **more}, Inventory)


def told(held: Inventory) -> dict[str, str]:
    return {mistake.path: mistake.message for mistake in mistakes(held)}


def test_good_inventory_has_no_mistakes() -> None:
    good = inventory(
        {"models": {"llama": {"slots": 8}}, "heartbeat_keys": [{"id": "k1", "secret_file": "/key"}]},
        {"name": "b", "endpoint": "https://10.0.0.1:8443/", "heartbeat_keys": [{"id": "k1", "secret_env": "KEY"}]},
        residency={"eu": ["europe-west4"]},
    )
    assert told(good) == {}


def test_specs_are_what_the_federation_reads() -> None:
    held = inventory(
        {"endpoint": "http://a:80/", "models": {"llama": {"slots": 8}}, "probe_path": "/ready", "paths": ["/v1/foo"]}
    )
    assert held.specs() == {
        "a": ClusterSpec(
            name="a",
            region="us-central1",
            endpoint="http://a:80",
            models={"llama": DeclaredPool(8)},
            probe_path="/ready",
            paths=frozenset({"/v1/foo"}),
        )
    }


@pytest.mark.parametrize(
    ("row", "path", "message"),
    [
        ({"name": "Upper"}, "clusters.0.name", "lower-case"),
        ({"name": "-a"}, "clusters.0.name", "lower-case"),
        ({"name": "a" * 64}, "clusters.0.name", "at most 63"),
        ({"name": "a b"}, "clusters.0.name", "lower-case"),
        ({"name": "a\n"}, "clusters.0.name", "lower-case"),
        ({"name": ""}, "clusters.0.name", "lower-case"),
        ({"region": ""}, "clusters.0.region", "name the region"),
        ({"endpoint": "ftp://a"}, "clusters.0.endpoint", "not a URL like"),
        ({"probe_path": "health"}, "clusters.0.probe_path", "does not start with /"),
        ({"paths": ["/v1/ok", "v1/foo"]}, "clusters.0.paths.1", "plain path"),
        ({"paths": ["/v1/foo?a=1"]}, "clusters.0.paths.0", "plain path"),
        ({"paths": ["/v1/{id}"]}, "clusters.0.paths.0", "plain path"),
        ({"paths": ["/v1/../foo"]}, "clusters.0.paths.0", "plain path"),
        ({"paths": ["//foo"]}, "clusters.0.paths.0", "plain path"),
        ({"paths": ["/" + "a" * 200]}, "clusters.0.paths.0", "plain path"),
        ({"paths": ["/v1/models"]}, "clusters.0.paths.0", "front door itself"),
        ({"paths": ["/v1/models/x"]}, "clusters.0.paths.0", "front door itself"),
        ({"paths": ["/a"] * 101}, "clusters.0.paths", "100 at most"),
        ({"models": {"m": {"slots": -1}}}, "clusters.0.models.m.slots", "not within"),
        ({"models": {"m": {"slots": 10**7}}}, "clusters.0.models.m.slots", "not within"),
        ({"models": {"m": {"slots": 1, "features": ["resumes"]}}}, "clusters.0.models.m.features", "not known"),
        ({"heartbeat_keys": [{"id": "k"}]}, "clusters.0.heartbeat_keys.0", "either"),
        (
            {"heartbeat_keys": [{"id": "k", "secret_file": "f", "secret_env": "E"}]},
            "clusters.0.heartbeat_keys.0",
            "either",
        ),
        ({"heartbeat_keys": [{"id": "k 1", "secret_env": "E"}]}, "clusters.0.heartbeat_keys.0.id", "one word"),
    ],
)
def test_mistake_is_told_with_its_place(row: dict[str, object], path: str, message: str) -> None:
    found = told(inventory(row))
    assert list(found) == [path]
    assert message in found[path]


def test_name_declared_twice_says_where_first() -> None:
    assert "first as clusters.0" in told(inventory({}, {"name": "b"}, {}))["clusters.2.name"]


def test_inventory_without_clusters_is_a_mistake() -> None:
    assert list(told(inventory())) == ["clusters"]


def test_residency_class_without_regions_is_a_mistake() -> None:
    assert list(told(inventory({}, residency={"eu": []}))) == ["residency.eu"]


@pytest.mark.parametrize(
    "endpoint", ["http://a", "http://a:1", "https://a.example:65535/", "http://[::1]:80", "http://10.0.0.1:"]
)
def test_endpoint_that_can_be_dialled(endpoint: str) -> None:
    assert endpoint_mistake(endpoint) is None


@pytest.mark.parametrize(
    "endpoint",
    [
        "",
        "a:80",
        "http://",
        "http://:80",
        "http://a:0",
        "http://a:65536",
        "http://a:port",
        "http://[::1",
        "http://a:80/v1",
        "http://a:80?x=1",
        "http://a:80#x",
        "http://user@a:80",
        "http://user:password@a:80",
        "http://:password@a:80",
        "http://a b:80",
        "http://a\n:80",
        " http://a:80",
        "http://a:80\r\nx-evil: 1",
        "file:///etc/passwd",
    ],
)
def test_endpoint_that_cannot_be_dialled(endpoint: str) -> None:
    assert endpoint_mistake(endpoint)


@pytest.mark.parametrize("row", [{"nmae": "b"}, {"models": {"m": {"slot": 1}}}, {"heartbeat_keys": [{"id": 1}]}])
def test_fields_nobody_knows_are_refused(row: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        inventory(row)


@pytest.mark.parametrize("name", ["", "a b", "-a.test", "10.0.0.1", "a..b", "a.test.", "x" * 64, "*.a.test", "ä.test"])
def test_a_server_name_is_a_host_name(name: str) -> None:
    ((path, message),) = told(inventory({"endpoint": "https://10.0.0.1", "server_name": name})).items()
    assert path == "clusters.0.server_name"
    assert "no host name" in message


def test_a_server_name_is_handed_on_and_wants_https() -> None:
    good = inventory({"endpoint": "https://10.0.0.1", "server_name": "a-1.clusters.test"})
    assert told(good) == {}
    assert good.specs()["a"].server_name == "a-1.clusters.test"
    assert "https only" in told(inventory({"server_name": "a.test"}))["clusters.0.server_name"]
