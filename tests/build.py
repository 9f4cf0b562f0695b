"""Builders with defaults: a test says only what it is about.

The world they stand in: three regions A, B and C on a line (near, 30 ms, 100 ms from A), one
model, and the instant NOW.
"""

from collections.abc import Mapping
from typing import Any

from federation.ejection import Cause, Standing, State
from federation.geography import Distances
from federation.liveness import Liveness
from federation.model import (
    Accelerators,
    Belief,
    ClusterSpec,
    DeclaredPool,
    Drain,
    Epoch,
    Heartbeat,
    Mode,
    ModelPool,
    Snapshot,
)
from federation.observation import observe
from federation.view import Drop, FleetView, ModelView, PoolView
from router.call import Call

NOW = 1000.0  # Monotonic seconds.
WALL_MS = 1_700_000_000_000.0
MODEL = "llama"
A, B, C = "region-a", "region-b", "region-c"
DISTANCES = Distances(
    {(A, A): 1.0, (B, B): 1.0, (C, C): 1.0, (A, B): 30.0, (A, C): 100.0, (B, C): 70.0},
)
SECRET = b"0123456789abcdef"


def spec(name: str = "a", region: str = A, *, slots: int | None = None, **fields: Any) -> ClusterSpec:
    """A declared cluster; with `slots`, its inventory bounds MODEL."""
    models = fields.pop("models", {} if slots is None else {MODEL: DeclaredPool(slots)})
    return ClusterSpec(name=name, region=region, endpoint=fields.pop("endpoint", f"http://{name}:80"), models=models)


def pool(model: str = MODEL, *, slots: int = 8, running: int = 0, waiting: int = 0, **fields: Any) -> ModelPool:
    """One ready model server with free slots."""
    defaults: dict[str, Any] = {"replicas_ready": 1, "replicas_desired": 1}
    return ModelPool(model=model, slots=slots, running=running, waiting=waiting, **defaults | fields)


def accelerators(**fields: Any) -> Accelerators:
    return Accelerators(**{"type": "nvidia-h100", "total": 8, "ready": 8, "allocated": 8} | fields)


def heartbeat(cluster: str = "a", *, seq: int = 1, boot_ms: int = 1, **fields: Any) -> Heartbeat:
    """A plausible statement of a cluster with one pool."""
    defaults: dict[str, Any] = {
        "region": A,
        "epoch": Epoch(boot_ms=boot_ms),
        "interval_ms": 1000,
        "sent_unix_ms": int(WALL_MS),
        "pools": (pool(),),
    }
    return Heartbeat(cluster=cluster, seq=seq, **defaults | fields)


def drain(cluster: str = "a", *, active: bool = True, version_ms: int = 1, **fields: Any) -> Drain:
    """An operator's wish that holds at WALL_MS."""
    defaults: dict[str, Any] = {"reason": "maintenance", "until_unix_ms": int(WALL_MS) + 60_000}
    return Drain(cluster=cluster, active=active, version_ms=version_ms, **defaults | fields)


def ejected(cause: Cause = Cause.FAILING, *, since: float = NOW, back_off_s: float = 1.0, **fields: Any) -> Standing:
    if cause is Cause.UNREACHABLE:
        fields.setdefault("silent_probes", 3)
    return Standing(state=State.EJECTED, cause=cause, since=since, until=since + back_off_s, times=1, **fields)


def probation(*, since: float = NOW, **fields: Any) -> Standing:
    return Standing(state=State.PROBATION, cause=Cause.FAILING, since=since, until=since, times=1, **fields)


def belief(name: str = "a", region: str = A, *, slots: int | None = None, age_s: float = 0.0, **fields: Any) -> Belief:
    """A cluster in good standing whose last heartbeat came `age_s` before NOW; `heartbeat=None`: never heard."""
    declared = fields.pop("spec", None) or spec(name, region, slots=slots)
    said = fields.pop("heartbeat", heartbeat(name, region=region))
    arrived: dict[str, Any] = {} if said is None else {"arrived_at": NOW - age_s, "advanced": True}
    return Belief(spec=declared, heartbeat=said, **arrived | fields)


def snapshot(*beliefs: Belief, mode: Mode = Mode.LIVE, folded_at: float = NOW) -> Snapshot:
    held = {one.spec.name: one for one in sorted(beliefs, key=lambda one: one.spec.name)}
    return Snapshot(generation=1, mode=mode, folded_at=folded_at, beliefs=held)


def fleet(*beliefs: Belief, now: float = NOW, wall_ms: float = WALL_MS, own_region: str = A) -> FleetView:
    """What a decision reads of these beliefs."""
    return observe(snapshot(*beliefs, folded_at=min(now, NOW)), now, wall_ms, DISTANCES, own_region)


def candidate(
    cluster: str = "a",
    region: str = A,
    *,
    slots: float = 8.0,
    load: float = 0.0,
    share: float = 1.0,
    drop: Drop | None = None,
    in_panic: bool | None = None,
    doubted: bool = False,
) -> PoolView:
    """A pool as a decision sees it."""
    answers = drop in (Drop.EJECTED, Drop.NOT_READY)
    return PoolView(
        cluster=cluster,
        region=region,
        model=MODEL,
        liveness=Liveness.FRESH,
        slots=slots,
        load_of_others=load,
        share=share,
        drop=drop,
        in_panic=answers if in_panic is None else in_panic,
        probed_rtt_ms=None,
        doubted=doubted,
    )


def fleet_of(*pools: PoolView, all_models_known: bool = True) -> FleetView:
    """A view of just these pools."""
    by_name = tuple(sorted(pools, key=lambda one: one.cluster))
    return FleetView(
        generation=7,
        mode=Mode.LIVE,
        at=NOW,
        distances=DISTANCES,
        own_region=A,
        models={MODEL: ModelView(MODEL, by_name)} if pools else {},
        clusters=tuple(one.cluster for one in by_name),
        all_models_known=all_models_known,
    )


def regions_of(view: FleetView) -> Mapping[str, str]:
    """Cluster name -> region, of every pool in a view."""
    return {one.cluster: one.region for model in view.models.values() for one in model.pools}


def call(**fields: Any) -> Call:
    """A chat call from region A for MODEL, allowed anywhere."""
    return Call(**{"id": "req_1", "path": "/v1/chat/completions", "model": MODEL, "origin": A} | fields)
