"""What `tradewind up` runs, and the files that its processes read. Pure.

A *layout* is fixed before anything starts: the clusters (emulated, or real servers that were
given by URL), how many Redis, how many front doors. The files follow from it and from the
addresses that are known once the model servers and Redis are up.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import msgspec

from federation.inventory import NAME, endpoint_mistake
from federation.lab.presets import preset

AGENT_KEY_ID = "up"
GRACE_S = 10.0  # For calls under way when a front door of `up` is told to end.
CLUSTERS_MAX = 64  # Each is two processes.


class BadLayout(ValueError):
    """A wish that cannot be granted; says which option and what it expects."""


class ClusterPlan(msgspec.Struct, frozen=True, kw_only=True):
    """One cluster of the layout. `url` is that of a real server; None: it is emulated."""

    name: str
    region: str
    url: str | None = None


class Layout(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that was asked of `up`. Times are seconds; `speed` is how many times faster than life models run."""

    clusters: tuple[ClusterPlan, ...]
    port: int = 8080
    admin_port: int = 8081
    replicas: int = 2
    front_doors: int = 1
    redis: int = 1
    models: tuple[str, ...]  # Of every emulated cluster, each with its own replicas.
    preset: str = "small"
    speed: float = 1.0
    seed: int | None = None
    rtt_file: str | None = None  # Absolute.
    data_dir: str | None = None  # Absolute; None: nothing outlives the process.
    restart_after_s: float = 20.0  # 0: never.

    @property
    def home_region(self) -> str:
        return self.clusters[0].region


def plan_clusters(regions: Sequence[str], real: Sequence[str]) -> tuple[ClusterPlan, ...]:
    """Clusters for `--regions` and `--cluster NAME=REGION=URL`. Raises BadLayout.

    An emulated cluster is named after its region with a letter, as one zone of it; a region
    given twice has clusters `-a` and `-b`.
    """
    plans: list[ClusterPlan] = []
    count: dict[str, int] = {}
    for region in regions:
        letter = count.get(region, 0)
        count[region] = letter + 1
        name = f"{region}-{chr(ord('a') + letter)}"
        if letter > 25 or not NAME.fullmatch(name):
            raise BadLayout(f"--regions: {region!r} is no region name; expected one like us-central1")
        plans.append(ClusterPlan(name=name, region=region))
    for text in real:
        name, _, rest = text.partition("=")
        region, _, url = rest.partition("=")
        if not (name and region and url):
            raise BadLayout(
                f"--cluster {text!r}: expected NAME=REGION=URL, as in lab=europe-west4=http://127.0.0.1:8000"
            )
        if not NAME.fullmatch(name):
            raise BadLayout(f"--cluster {text!r}: the name takes lower-case letters, digits and dashes, at most 63")
        if (reason := endpoint_mistake(url)) is not None:
            raise BadLayout(f"--cluster {text!r}: {reason}")
        plans.append(ClusterPlan(name=name, region=region, url=url.rstrip("/")))
    names = [plan.name for plan in plans]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise BadLayout(f"--cluster: the name {twice[0]!r} is taken twice")
    if not plans:
        raise BadLayout("no cluster; give --regions or --cluster")
    if len(plans) > CLUSTERS_MAX:
        raise BadLayout(f"{len(plans)} clusters; one machine runs {CLUSTERS_MAX} at most")
    return tuple(plans)


def residency_class(region: str) -> str | None:
    """The residency class that a region's name suggests."""
    return {"europe": "eu", "us": "us", "asia": "asia"}.get(region.partition("-")[0])


def inventory_document(layout: Layout, endpoints: Mapping[str, str], secrets: Mapping[str, str]) -> dict[str, Any]:
    """The inventory as YAML will hold it; endpoint and key file are given by cluster name."""
    residency: dict[str, list[str]] = {}
    for plan in layout.clusters:
        kind = residency_class(plan.region)
        if kind is not None and plan.region not in residency.setdefault(kind, []):
            residency[kind].append(plan.region)
    slots = layout.replicas * preset(layout.preset).max_running
    rows = [
        {
            "name": plan.name,
            "region": plan.region,
            "endpoint": endpoints[plan.name],
            # What a real server serves is for its agent to say.
            "models": {model: {"slots": slots} for model in layout.models} if plan.url is None else {},
            "heartbeat_keys": [{"id": AGENT_KEY_ID, "secret_file": secrets[plan.name]}],
        }
        for plan in layout.clusters
    ]
    return {"clusters": rows, "residency": residency}


def model_arguments(layout: Layout, index: int) -> list[str]:
    """The command line of the emulated cluster number `index`."""
    plan = layout.clusters[index]
    arguments = ["model", "--region", plan.region, "--cluster", plan.name, "--replicas", str(layout.replicas)]
    arguments += ["--preset", layout.preset, "--speed", f"{layout.speed:g}"]
    for model in layout.models:
        arguments += ["--model", model]
    if layout.seed is not None:
        arguments += ["--seed", str(layout.seed + index)]
    if layout.rtt_file is not None:
        arguments += ["--rtt", layout.rtt_file]
    return arguments


def model_ports(told: Mapping[str, Any]) -> list[str]:
    """What makes an emulated cluster listen where it did before, from its ready line."""
    arguments = ["--port", port_of(told["endpoint"]), "--control-port", port_of(told["control"])]
    for url in told["replicas"]:
        arguments += ["--replica-port", port_of(url)]
    return arguments


def door_ports(told: Mapping[str, Any]) -> list[str]:
    """What makes a front door listen where it did before, from its ready line."""
    return ["--port", port_of(told["url"]), "--admin-port", port_of(told["admin"])]


def port_of(url: str) -> str:
    """The port in a URL that names one."""
    port = urlsplit(url).port
    assert port is not None, url
    return str(port)


def agent_document(
    layout: Layout, plan: ClusterPlan, servers: Sequence[str], stores: Sequence[str], secret_file: str
) -> dict[str, Any]:
    """The settings of one cluster's agent, as YAML will hold them."""
    # How many calls a real server runs at once is not known here: the agent's default must do.
    slots = {"slots_per_replica": preset(layout.preset).max_running} if plan.url is None else {}
    return {
        **slots,
        "cluster": plan.name,
        "region": plan.region,
        "model_servers": list(servers),
        "stores": list(stores),
        "key": {"id": AGENT_KEY_ID, "secret_file": secret_file},
        "host": "127.0.0.1",
        "port": 0,
    }


def door_document(layout: Layout, index: int, stores: Sequence[str], inventory: str, token_file: str) -> dict[str, Any]:
    """The settings of one front door, as YAML will hold them; its ports are given on its command line."""
    document: dict[str, Any] = {
        "region": layout.home_region,
        "inventory": inventory,
        "host": "127.0.0.1",
        "admin_host": "127.0.0.1",
        "admin_token_file": token_file,
        "stores": list(stores),
        "client_region_header": "x-client-region",
        "trusted_proxies": ["127.0.0.0/8"],
        "shutdown": {"lame_duck_s": 0.0, "grace_s": GRACE_S},
    }
    if layout.rtt_file is not None:
        document["rtt_file"] = layout.rtt_file
    if layout.seed is not None:
        document["seed"] = layout.seed + index
    return document
