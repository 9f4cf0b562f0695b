"""What `tradewind up` plans before anything starts."""

import msgspec
import pytest

from federation.inventory import Inventory, mistakes
from federation.lab.layout import (
    BadLayout,
    ClusterPlan,
    Layout,
    agent_document,
    door_document,
    inventory_document,
    model_arguments,
    plan_clusters,
    residency_class,
)

REAL = "lab=europe-west4=http://127.0.0.1:8000/"


def layout(*regions: str, real: tuple[str, ...] = (), **fields: object) -> Layout:
    clusters = plan_clusters(regions or ("us-central1", "europe-west4"), real)
    return Layout(**{"clusters": clusters, "models": ("small",)} | fields)  # type: ignore[arg-type]


def test_emulated_clusters_are_named_as_zones_of_their_region() -> None:
    plans = plan_clusters(["us-central1", "europe-west4", "us-central1"], [])
    assert [(plan.name, plan.region) for plan in plans] == [
        ("us-central1-a", "us-central1"),
        ("europe-west4-a", "europe-west4"),
        ("us-central1-b", "us-central1"),
    ]


def test_real_server_is_a_cluster_with_a_url() -> None:
    assert plan_clusters([], [REAL]) == (ClusterPlan(name="lab", region="europe-west4", url="http://127.0.0.1:8000"),)


@pytest.mark.parametrize(
    ("regions", "real", "message"),
    [
        ([], [], "no cluster"),
        (["US Central"], [], "is no region name"),
        ([""], [], "is no region name"),
        (["us-east1"] * 27, [], "is no region name"),
        ([], ["lab"], "expected NAME=REGION=URL"),
        ([], ["lab=r="], "expected NAME=REGION=URL"),
        ([], ["Lab=r=http://a"], "lower-case letters"),
        ([], ["lab=r=ftp://a"], "not a URL"),
        ([], [REAL, REAL], "taken twice"),
        (["us-east1"], ["us-east1-a=us-east1=http://a"], "taken twice"),
        ([], [f"c{number}=r=http://a" for number in range(65)], "64 at most"),
    ],
)
def test_wish_that_cannot_be_granted_is_told(regions: list[str], real: list[str], message: str) -> None:
    with pytest.raises(BadLayout, match=message):
        plan_clusters(regions, real)


def test_home_is_the_first_region() -> None:
    assert layout("asia-east1", "us-east1").home_region == "asia-east1"


@pytest.mark.parametrize(
    ("region", "kind"), [("europe-west4", "eu"), ("us-east1", "us"), ("me-west1", None), ("", None)]
)
def test_residency_follows_from_the_regions_name(region: str, kind: str | None) -> None:
    assert residency_class(region) == kind


def test_inventory_that_is_written_has_no_mistakes() -> None:
    held = layout(real=(REAL,), replicas=3)
    names = [plan.name for plan in held.clusters]
    document = inventory_document(held, dict.fromkeys(names, "http://127.0.0.1:9"), dict.fromkeys(names, "key"))
    inventory = msgspec.convert(document, Inventory)
    assert list(mistakes(inventory)) == []
    assert inventory.residency == {"us": ("us-central1",), "eu": ("europe-west4",)}
    specs = inventory.specs()
    assert specs["us-central1-a"].models["small"].slots == 3 * 48, "what its replicas really have"
    assert specs["lab"].models == {}, "what a real server serves is for its agent to say"


def test_seeds_differ_from_cluster_to_cluster_and_door_to_door() -> None:
    held = layout(seed=7)
    seeds = [model_arguments(held, index)[model_arguments(held, index).index("--seed") + 1] for index in range(2)]
    assert seeds == ["7", "8"]
    assert [door_document(held, index, [], "inventory", "token")["seed"] for index in range(2)] == [7, 8]
    assert "--seed" not in model_arguments(layout(), 0)


def test_agent_of_a_real_server_is_not_told_how_many_calls_it_runs() -> None:
    held = layout("us-central1", real=(REAL,))
    emulated, real = (agent_document(held, plan, ["http://m"], [], "key") for plan in held.clusters)
    assert emulated["slots_per_replica"] > 0
    assert "slots_per_replica" not in real
