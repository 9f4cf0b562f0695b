"""A scenario: a fleet, its load, and what befalls it, as a short YAML file says it. Pure.

Drills are scenarios too, so this is the one format and the one parser of both. Every mistake is told with its file,
line and what was expected.
"""

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from federation.geography import COORDINATES
from federation.lab.presets import PRESETS
from router.call import Priority
from router.document import Document, Unreadable, nearest
from router.simulation.faults import FAULTS, NEEDS_CLUSTER

CLUSTERS_MAX: Final = 5_000
DURATION_S_MAX: Final = 7 * 86_400.0


class BadScenario(ValueError):
    """A scenario that cannot be run: `lines` says every mistake with file and line."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


class ClusterRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One cluster; or, with `times`, so many alike, named NAME-1, NAME-2 ..."""

    name: str
    region: str
    replicas: int = 2
    accelerator: str = "h100"  # A preset of the emulated model server.
    model: str = "llama-8b"
    times: int = 1
    cost_per_hour: float = 1.0  # Of a replica; in whatever money.


class Heartbeats(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How what clusters say reaches the front doors."""

    interval_s: float = 1.0
    delay_s: float = 0.15  # Its way to the store, and the front door's own polling: half of 0.25 s.
    loss: float = 0.0  # Share of heartbeats that never arrive.


class FrontDoors(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where calls come in."""

    regions: tuple[str, ...] | None = None  # None: wherever there are clusters.
    per_region: int = 1


class Lengths(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Token counts: log-normal, as most that were ever measured roughly are."""

    median: float
    p95: float
    most: int = 32_000


class Surge(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """So many times the calls of one region, for a while."""

    region: str
    at_s: float
    for_s: float
    times: float = 10.0


class TenantRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who calls: its share of all calls, at one priority."""

    name: str
    share: float = 1.0
    priority: Priority = Priority.STANDARD


class Workload(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is asked: a trace's arrivals, or generated ones; and how many."""

    trace: str | None = None  # A file of router.replay.traces, relative to the scenario.
    rate: float | None = None  # Calls a second, mean over all regions and the day.
    load: float | None = None  # Instead: of what the fleet can serve within its objectives.
    regions: dict[str, float] | None = None  # Weights; None: all front doors' regions alike.
    day_s: float | None = None  # The length of a (compressed) day; None: no time of day.
    night: float = 0.3  # The night's rate, as a share of the day's highest.
    prompt_tokens: Lengths = Lengths(median=700, p95=4_000)
    output_tokens: Lengths = Lengths(median=150, p95=600, most=2_000)
    turns: float = 1.0  # Mean number of calls in a conversation, each with all before it as its beginning.
    think_s: float = 20.0  # Mean pause between an answer and the next turn.
    system_prompts: int = 0  # Beginnings that conversations share.
    system_tokens: int = 1_024
    surges: tuple[Surge, ...] = ()
    tenants: tuple[TenantRow, ...] = (TenantRow("anonymous"),)


class FaultRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Something that befalls a cluster, a region or the store."""

    kind: str
    at_s: float
    for_s: float
    target: str = ""  # A cluster's or a region's name; empty where the fault has no place.
    factor: float = 5.0  # slow: so many times slower.
    replicas: int = 1  # capacity_cut: so many replicas fewer.
    every_s: float = 6.0  # flapping: down for half of it, up for the other half.
    door: str = ""  # partition: the region of the front doors that cannot reach it.


class Objectives(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a served call must keep to count as good. Both are scaled for accelerators slower than an H100."""

    ttft_s: float = 1.0
    ttft_s_per_prompt_token: float = 0.0002
    tpot_s: float = 0.05


class Scenario(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The whole file."""

    name: str
    about: str = ""
    duration_s: float
    warm_up_s: float = 0.0  # Calls that arrive in it are not counted.
    seed: int = 1
    rtt: str | None = None  # A matrix in ms, relative to the scenario; what it lacks is the great circle's.
    clusters: tuple[ClusterRow, ...]
    front_doors: FrontDoors = FrontDoors()
    heartbeats: Heartbeats = Heartbeats()
    workload: Workload = Workload()
    faults: tuple[FaultRow, ...] = ()
    objectives: Objectives = Objectives()

    @property
    def door_regions(self) -> list[str]:
        """Where calls come in, sorted."""
        return sorted(set(self.front_doors.regions or [row.region for row in self.clusters]))


def parse(text: str, name: str) -> Scenario:
    """A scenario from YAML. Raises BadScenario."""
    try:
        document = Document.parse(text, name)
    except Unreadable as error:
        raise BadScenario([f"{name}:{error.line or 1}: {error}"]) from None
    scenario = document.convert(Scenario)
    if scenario is not None:
        _check(scenario, document)
    if scenario is None or document.is_wrong:
        raise BadScenario(document.lines())
    return scenario


def _check(scenario: Scenario, document: Document) -> None:
    """Notes what a type cannot say."""
    _check_numbers(scenario, document)
    _check_clusters(scenario, document)
    _check_load(scenario.workload, document, scenario.door_regions)
    names = {row.name for row in scenario.clusters}
    names |= {
        f"{row.name}-{number}" for row in scenario.clusters if row.times > 1 for number in range(1, row.times + 1)
    }
    regions = {row.region for row in scenario.clusters}
    for index, fault in enumerate(scenario.faults):
        path = f"faults.{index}"
        if fault.kind not in FAULTS:
            document.wrong(f"{path}.kind", f"no such fault; {nearest(fault.kind, list(FAULTS))}")
        elif fault.kind in NEEDS_CLUSTER and fault.target not in names and fault.target not in regions:
            known = ", ".join(sorted(names | regions)[:8])
            document.wrong(
                f"{path}.target", f"expected the name of a cluster or region ({known}), found {fault.target!r}"
            )
        if fault.at_s < 0 or fault.for_s <= 0:
            document.wrong(path, "expected at_s of at least 0 and for_s above 0")
        if fault.factor <= 0 or fault.every_s <= 0 or fault.replicas < 1:
            document.wrong(path, "expected factor and every_s above 0, replicas of at least 1")
        if fault.kind == "partition" and fault.door not in scenario.door_regions:
            document.wrong(f"{path}.door", f"expected a front door's region: {', '.join(scenario.door_regions)}")


def _check_numbers(scenario: Scenario, document: Document) -> None:
    if not 0 < scenario.duration_s <= DURATION_S_MAX:
        document.wrong("duration_s", f"expected above 0 and at most {DURATION_S_MAX:g} seconds")
    elif not 0 <= scenario.warm_up_s < scenario.duration_s:
        document.wrong("warm_up_s", "expected at least 0 and less than duration_s")
    heartbeats = scenario.heartbeats
    if not 0.05 <= heartbeats.interval_s <= 60 or not 0 <= heartbeats.delay_s <= 60 or not 0 <= heartbeats.loss <= 1:
        document.wrong("heartbeats", "expected interval_s from 0.05 to 60, delay_s from 0 to 60, loss from 0 to 1")
    if scenario.front_doors.per_region < 1:
        document.wrong("front_doors.per_region", "expected at least 1")
    objectives = scenario.objectives
    if objectives.ttft_s <= 0 or objectives.tpot_s <= 0 or objectives.ttft_s_per_prompt_token < 0:
        document.wrong("objectives", "expected ttft_s and tpot_s above 0, ttft_s_per_prompt_token of at least 0")


def _check_clusters(scenario: Scenario, document: Document) -> None:
    if not scenario.clusters:
        document.wrong("clusters", "expected at least one cluster")
    seen: dict[str, int] = {}
    for index, row in enumerate(scenario.clusters):
        path = f"clusters.{index}"
        if row.name in seen:
            document.wrong(f"{path}.name", f"{row.name!r} is taken by clusters.{seen[row.name]}; name it otherwise")
        seen.setdefault(row.name, index)
        if row.accelerator not in PRESETS:
            document.wrong(f"{path}.accelerator", f"no such preset; {nearest(row.accelerator, list(PRESETS))}")
        if row.replicas < 1 or row.times < 1 or row.cost_per_hour < 0:
            document.wrong(path, "expected replicas and times of at least 1, cost_per_hour of at least 0")
        if scenario.rtt is None and row.region not in COORDINATES:
            document.wrong(f"{path}.region", f"no such region; {nearest(row.region, list(COORDINATES))}")
    if sum(max(1, row.times) for row in scenario.clusters) > CLUSTERS_MAX:
        document.wrong("clusters", f"expected at most {CLUSTERS_MAX} clusters in all")


def _check_load(workload: Workload, document: Document, regions: list[str]) -> None:
    if (workload.rate is None) == (workload.load is None):
        document.wrong("workload", "expected either rate (calls a second) or load (of what the fleet can serve)")
    for name in ("rate", "load", "day_s"):
        value = getattr(workload, name)
        if value is not None and value <= 0:
            document.wrong(f"workload.{name}", f"expected a number above 0, found {value:g}")
    for name, lengths in (("prompt_tokens", workload.prompt_tokens), ("output_tokens", workload.output_tokens)):
        if not 1 <= lengths.median <= lengths.p95 or lengths.most < lengths.median:
            document.wrong(f"workload.{name}", "expected 1 <= median <= p95, and most of at least the median")
    if workload.turns < 1 or workload.think_s < 0 or workload.system_prompts < 0 or workload.system_tokens < 0:
        document.wrong("workload", "expected turns of at least 1; think_s, system_prompts, system_tokens of at least 0")
    if not 0 <= workload.night <= 1:
        document.wrong("workload.night", "expected a share from 0 to 1")
    weights = workload.regions or {}
    for region, weight in weights.items():
        if region not in regions:
            document.wrong(f"workload.regions.{region}", f"no front door there; {nearest(region, regions)}")
        if weight < 0:
            document.wrong(f"workload.regions.{region}", "expected a weight of at least 0")
    if weights and sum(weights.values()) <= 0:
        document.wrong("workload.regions", "expected at least one weight above 0")
    for index, surge in enumerate(workload.surges):
        if surge.region not in regions:
            document.wrong(f"workload.surges.{index}.region", f"no front door there; {nearest(surge.region, regions)}")
        if surge.at_s < 0 or surge.for_s <= 0 or surge.times <= 0:
            document.wrong(f"workload.surges.{index}", "expected at_s of at least 0; for_s and times above 0")
    if not workload.tenants or any(tenant.share <= 0 for tenant in workload.tenants):
        document.wrong("workload.tenants", "expected at least one tenant, each with a share above 0")


def expanded(rows: Iterable[ClusterRow]) -> Mapping[str, ClusterRow]:
    """Every single cluster by its name, in the order of names."""
    found: dict[str, ClusterRow] = {}
    for row in rows:
        if row.times == 1:
            found[row.name] = row
        else:
            found |= {f"{row.name}-{number}": row for number in range(1, row.times + 1)}
    return {name: found[name] for name in sorted(found)}
