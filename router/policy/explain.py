"""The decision that would be taken now, cluster by cluster, with the numbers."""

from random import Random

import msgspec

from federation.view import Drop, FleetView
from router.call import Call
from router.decision import Place
from router.policy.decide import FREE_SLOTS_MIN, Own, decide


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One cluster as this call sees it."""

    cluster: str
    region: str
    rank: int | None  # 1: where it would go.
    verdict: str
    rtt_ms: float
    rtt_measured: bool
    liveness: str | None = None
    slots: float | None = None
    load_of_others: float | None = None
    own_in_flight: int | None = None
    headroom_slots: float | None = None
    saturation: float | None = None
    slow_start_share: float | None = None


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a person needs to see why."""

    model: str
    origin: str
    generation: int
    mode: str
    outcome: str  # The reason of the decision, or why there is none.
    rows: tuple[Row, ...]


def explain(call: Call, fleet: FleetView, own: Own, regions: dict[str, str], rng: Random) -> Explanation:
    """Explain a call against every cluster in `regions` (cluster name -> region), nearest first."""
    decision = decide(call, fleet, own, rng)
    ranks = (
        {placed.pool.cluster: rank for rank, placed in enumerate(decision.order, start=1)}
        if isinstance(decision, Place)
        else {}
    )
    view = fleet.models.get(call.model)
    pools = {pool.cluster: pool for pool in view.pools} if view is not None else {}
    rows: list[Row] = []
    for cluster, region in regions.items():
        measured = fleet.distances.is_measured(call.origin, region)
        rank = ranks.get(cluster)
        pool = pools.get(cluster)
        rtt_ms = fleet.rtt_ms(call.origin, region, pool.probed_rtt_ms if pool is not None else None)
        if pool is None:
            rows.append(
                Row(
                    cluster=cluster,
                    region=region,
                    rank=None,
                    verdict=Drop.MODEL_NOT_SERVED,
                    rtt_ms=rtt_ms,
                    rtt_measured=measured,
                )
            )
            continue
        mine = own.get((cluster, call.model), 0)
        if call.regions is not None and region not in call.regions:
            verdict: str = Drop.REGION_NOT_ALLOWED
        elif pool.drop is not None:
            verdict = pool.drop if rank is None else f"panic ({pool.drop})"
        elif pool.headroom_slots(mine) < FREE_SLOTS_MIN:
            verdict = "full"
        else:
            # Whether a slow starter takes this very call is drawn; the row tells its share.
            small = "doubted" if pool.doubted else Drop.SLOW_START
            verdict = "has room" if pool.share >= 1.0 else small
        rows.append(
            Row(
                cluster=cluster,
                region=region,
                rank=rank,
                verdict=verdict,
                rtt_ms=rtt_ms,
                rtt_measured=measured,
                liveness=pool.liveness,
                slots=pool.slots,
                load_of_others=pool.load_of_others,
                own_in_flight=mine,
                headroom_slots=pool.headroom_slots(mine),
                saturation=pool.saturation(mine) if pool.slots > 0 else None,
                slow_start_share=pool.share,
            )
        )
    if isinstance(decision, Place):
        outcome: str = decision.reason
    else:
        outcome = "no candidate" if decision.known else "model not known"
    return Explanation(
        model=call.model,
        origin=call.origin,
        generation=fleet.generation,
        mode=fleet.mode,
        outcome=outcome,
        rows=tuple(sorted(rows, key=lambda row: (row.rtt_ms, row.cluster))),
    )
