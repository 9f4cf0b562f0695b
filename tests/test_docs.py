"""Documentation that would otherwise rot: metrics, settings, decisions, links."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.registry import Collector

from federation.agent.metrics import AgentMetrics
from federation.clock import ManualClock
from federation.loops import Loops
from federation.metrics import FeedMetrics
from federation.role_port import LoopAges
from router.errors import TABLE
from router.metrics import RouterMetrics
from router.settings import RouterSettings
from router.workers.metrics import WorkerMetrics
from tests.edge.authority import Authority

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), ROOT / "infra/README.md"]


def families(collectors: CollectorRegistry) -> dict[str, tuple[str, str]]:
    """Metric name -> (type, help), as a scrape would show them."""
    return {
        metric.name + ("_total" if metric.type == "counter" else ""): (metric.type, metric.documentation)
        for metric in collectors.collect()
    }


def all_metrics() -> dict[str, tuple[str, str]]:
    registry = CollectorRegistry()
    FeedMetrics(registry)
    RouterMetrics(registry)
    Loops(registry, ManualClock())
    WorkerMetrics(registry)
    agent: Collector | CollectorRegistry = AgentMetrics(LoopAges(ManualClock(), {})).registry
    return families(registry) | families(agent)


def test_every_metric_stands_in_the_documentation_with_its_help() -> None:
    page = (ROOT / "docs/metrics.md").read_text()
    rows = [f"| `{name}` | {kind} | {text} |" for name, (kind, text) in sorted(all_metrics().items())]
    missing = [row for row in rows if row not in page]
    assert not missing, "docs/metrics.md lacks:\n" + "\n".join(missing)
    told = set(re.findall(r"^\| `(tradewind_\w+)`", page, re.MULTILINE))
    assert told <= set(all_metrics()), "docs/metrics.md tells of metrics that do not exist"


def test_every_error_kind_stands_in_the_tree() -> None:
    import router.errors

    for kind, row in TABLE.items():
        assert re.search(rf"{kind}\s+({row.status}|\(error event\))", router.errors.__doc__ or ""), kind


def test_settings_in_the_configuration_page_exist() -> None:
    known = {field.name for field in msgspec.structs.fields(RouterSettings)}
    page = (ROOT / "docs/configuration.md").read_text()
    block = page.split("```yaml")[1].split("```")[0]
    told = set(re.findall(r"^(\w+):", block, re.MULTILINE))
    assert told <= known


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page}: {target}"


@pytest.mark.parametrize("name", ["serve.yaml", "inventory.yaml", "agent.yaml", "serve-tls.yaml", "inventory-tls.yaml"])
def test_the_example_configuration_passes_the_check(name: str, tmp_path: Path) -> None:
    keys = {
        f"HEARTBEAT_KEY_{cluster}": "0" * 64 for cluster in ("US_CENTRAL1_A", "EUROPE_WEST4_A", "ASIA_NORTHEAST1_A")
    }
    examples = shutil.copytree(ROOT / "infra/examples", tmp_path / "examples")
    authority = Authority()
    (examples / "clusters-ca.pem").write_text(authority.pem)
    for stem in ("door", "front-door"):
        authority.issue(f"{stem}.test").write(examples, stem)
    command = [sys.executable, "-m", "router.cli.main", "check", str(examples / name)]
    done = subprocess.run(command, env={**os.environ, **keys}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    assert "warning" not in done.stderr + done.stdout
