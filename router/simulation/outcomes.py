"""What a simulation found: one row a call, and the figures that are made of them. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from federation.lab.presets import PRESETS
from router.simulation.call import End, SimulatedCall
from router.simulation.scenario import ClusterRow, Objectives

QUANTILES: Final = (0.5, 0.9, 0.95, 0.99)


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """One call, as it ended. Seconds; -1 where there is nothing to measure."""

    at_s: float
    origin: str
    region: str
    tenant: str
    priority: str
    reason: str
    end: str
    attempts: int
    prompt_tokens: int
    output_tokens: int
    cached_tokens: int
    ttft_s: float
    tpot_s: float
    good: bool  # Served, within both objectives.


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """Of all calls of one run that count. Seconds; quantiles of 50, 90, 95 and 99 %, of what was served."""

    calls: int
    served: int
    refused: int
    failed: int
    ttft_s: tuple[float, ...]
    tpot_s: tuple[float, ...]
    goodput: float  # Share of all calls that was served within both objectives.
    prefix_hit_ratio: float  # Of all prompt tokens, those found in a cache.
    cost_per_million_tokens: float  # Of answers, were each replica paid for by the share of its time that it worked.
    crossed: float  # Share served outside the region it came from.
    resumed: int
    failed_over: int


def slowness(row: ClusterRow) -> tuple[float, float]:
    """By how much objectives are stretched where a call was served: prefill and decoding, against an H100."""
    spec, best = PRESETS[row.accelerator], PRESETS["h100"]
    decode = spec.decode_step_s(1, 0) / best.decode_step_s(1, 0)
    return max(1.0, spec.prefill_s / best.prefill_s), max(1.0, decode)


def outcome(
    call: SimulatedCall, rows: Mapping[str, ClusterRow], slow: Mapping[str, tuple[float, float]], limits: Objectives
) -> Outcome:
    """What became of a call. The objectives are those of the cluster's own accelerator."""
    served = call.end is End.SERVED
    ttft_s = call.ttft_s if call.first_token_at >= 0.0 else -1.0
    tpot_s = call.tpot_s if served else -1.0
    good = False
    if served:
        prefill, decode = slow[call.cluster]
        allowed_s = limits.ttft_s + limits.ttft_s_per_prompt_token * call.prompt_tokens * prefill
        good = ttft_s <= allowed_s and tpot_s <= limits.tpot_s * decode
    return Outcome(
        at_s=call.at,
        origin=call.origin,
        region=rows[call.cluster].region if call.cluster else "",
        tenant=call.tenant,
        priority=call.priority,
        reason=call.reason or "",
        end=call.end,
        attempts=call.attempts,
        prompt_tokens=call.prompt_tokens,
        output_tokens=call.output_tokens,
        cached_tokens=call.cached_tokens,
        ttft_s=ttft_s,
        tpot_s=tpot_s,
        good=good,
    )


def figures(outcomes: Sequence[Outcome], cost: float) -> Figures:
    """`cost`: what the work of all of them cost."""
    served = [one for one in outcomes if one.end == End.SERVED]
    prompts = sum(one.prompt_tokens for one in served)
    answers = sum(one.output_tokens for one in served)
    return Figures(
        calls=len(outcomes),
        served=len(served),
        refused=sum(one.end == End.REFUSED for one in outcomes),
        failed=sum(one.end == End.FAILED for one in outcomes),
        ttft_s=quantiles([one.ttft_s for one in served]),
        tpot_s=quantiles([one.tpot_s for one in served if one.output_tokens > 1]),
        goodput=_share(sum(one.good for one in outcomes), len(outcomes)),
        prefix_hit_ratio=_share(sum(one.cached_tokens for one in served), prompts),
        cost_per_million_tokens=1e6 * cost / answers if answers else 0.0,
        crossed=_share(sum(one.origin != one.region for one in served), len(served)),
        resumed=sum(one.reason == "resume" for one in outcomes),
        failed_over=sum(one.reason == "failover" for one in outcomes),
    )


def quantiles(values: Iterable[float], at: Sequence[float] = QUANTILES) -> tuple[float, ...]:
    """Of so large a share of the values, the next one up; zeros where there are no values."""
    ordered = sorted(values)
    if not ordered:
        return tuple([0.0 for _ in at])
    return tuple([ordered[min(len(ordered) - 1, int(share * len(ordered)))] for share in at])


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
