"""From what the model servers say to model pools: the serving capacity of a cluster.

Only ready servers count towards load and slots. One that does not answer still counts as
desired for the models it last listed.

Two rates are observed from counters, as moving averages over the seconds in which there was
work; an idle server keeps the rate of its last busy time. They are what the servers did, so
a lower bound for what they can do: a cluster that saw three calls an hour has never shown
its speed. Tokens found in the prefix cache count as prefilled where the server counts them
so (vLLM does). 0 means: not known yet.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from federation.agent.exposition import Engine, Figures
from federation.agent.facts import ServerFacts
from federation.features import CONTINUE_FINAL_MESSAGE, NO_METRICS, STOP_WITHHELD
from federation.model import ModelPool
from federation.wire import (
    ADAPTERS_MAX,
    CALLS_MAX,
    NAME_LENGTH_MAX,
    POOLS_MAX,
    REPLICAS_MAX,
    SECONDS_MAX,
    TOKENS_PER_S_MAX,
)

SLOTS_PER_REPLICA = 256  # vLLM's max_num_seqs on current accelerators, if nothing else is configured.
RATE_MEMORY_S = 10.0  # A change of rate is seen to two thirds after this long.

_CONTINUING = frozenset({Engine.VLLM, Engine.SGLANG})


@dataclass(frozen=True, slots=True)
class PoolRules:
    """What the operator says about the model servers."""

    slots_per_replica: int | Mapping[str, int] = SLOTS_PER_REPLICA  # For all models, or by model.
    features: tuple[str, ...] = ()  # Of every server, beyond what its kind tells.

    def slots(self, model: str) -> int:
        if isinstance(self.slots_per_replica, int):
            return self.slots_per_replica
        return self.slots_per_replica.get(model, SLOTS_PER_REPLICA)


DEFAULT_RULES = PoolRules()


@dataclass(frozen=True, slots=True)
class Tally:
    """The counters of one model on one server when last seen, and the rates they gave."""

    at: float
    figures: Figures
    prefill_tokens_per_s: float = 0.0
    decode_tokens_per_s: float = 0.0
    prefix_queries: float = 0.0  # Both fade with RATE_MEMORY_S; only their ratio means something.
    prefix_hits: float = 0.0
    inter_token_s: float = 0.0  # Since the look before: seconds from token to token, summed, and of how many tokens.
    inter_tokens: float = 0.0


@dataclass(frozen=True, slots=True)
class Summary:
    """The pools, sorted by model, and what the next summary needs to tell rates."""

    pools: tuple[ModelPool, ...] = ()
    tallies: Mapping[tuple[str, str], Tally] | None = None  # By server URL and model.


@dataclass(frozen=True, slots=True)
class _Share:
    """One ready server's part in a pool."""

    facts: ServerFacts
    figures: Figures | None
    tally: Tally | None


def summarize(previous: Summary, facts: Sequence[ServerFacts], rules: PoolRules = DEFAULT_RULES) -> Summary:
    """The pools of all models that any of the servers serves or is known to have served."""
    earlier = previous.tallies or {}
    tallies = {key: earlier[key] for key in ((s.url, m) for s in facts for m in _models(s)) if key in earlier}
    desired: dict[str, int] = {}
    shares: dict[str, list[_Share]] = {}
    for server in facts:
        for model in _models(server):
            desired[model] = desired.get(model, 0) + 1
            if not server.ready:
                continue
            key = (server.url, model)
            figures = _figures(server, model)
            if figures is not None:
                tallies[key] = _tally(earlier.get(key), figures, server.at)
            shares.setdefault(model, []).append(_Share(server, figures, tallies.get(key)))
    names = sorted(desired)[:POOLS_MAX]
    able = {pool.model: pool.features for pool in previous.pools}
    pools = tuple(_pool(model, desired[model], shares.get(model, []), rules, able.get(model, ())) for model in names)
    return Summary(pools, tallies)


def _models(server: ServerFacts) -> Sequence[str]:
    """What it lists; a server that keeps its list to itself may still name its models in its metrics."""
    if server.served.models or server.page is None:
        return server.served.models
    return [model for model in server.page.models if 0 < len(model) <= NAME_LENGTH_MAX]


def _figures(server: ServerFacts, model: str) -> Figures | None:
    """The figures of a model; None if its load is unknown.

    Where a page speaks of one model only, it speaks of all that the server lists: they are
    names for the same weights, and each of them sees the whole load and capacity.
    """
    if server.page is None:
        return None
    found = server.page.models.get(model)
    if found is None and len(server.page.models) == 1:
        (found,) = server.page.models.values()
    return found if found is not None and found.running is not None else None


def _pool(
    model: str, desired: int, shares: Sequence[_Share], rules: PoolRules, features_before: tuple[str, ...]
) -> ModelPool:
    ready = len(shares)
    known = [share.figures for share in shares if share.figures is not None]
    tallies = [share.tally for share in shares if share.tally is not None]
    return ModelPool(
        model=model,
        replicas_ready=min(ready, REPLICAS_MAX),
        replicas_desired=min(desired, REPLICAS_MAX),
        running=_count(figures.running for figures in known),
        waiting=_count(figures.waiting for figures in known),
        slots=_count([float(ready * rules.slots(model))]),
        kv_cache_utilization_mean=_mean(figures.kv_utilization_mean for figures in known),
        kv_cache_utilization_max=_ratio(max((figures.kv_utilization_max or 0.0 for figures in known), default=0.0)),
        prefill_tokens_per_s=_rate(
            _first(figures.prefill_tokens_per_s, tally.prefill_tokens_per_s, figures.prompt_tokens)
            for figures, tally in _pairs(shares)
        ),
        decode_tokens_per_s=_rate(
            _first(figures.decode_tokens_per_s, tally.decode_tokens_per_s, figures.generated_tokens)
            for figures, tally in _pairs(shares)
        ),
        time_per_output_token_s=_time_per_token_s(tallies),
        prefix_cache_hit_ratio=_hit_ratio(known, tallies),
        adapters=_adapters(model, shares),
        # What servers can do does not change while none is ready; and this may be the last that is heard of them.
        features=_features(shares, rules) if shares else features_before or _features(shares, rules),
    )


def _tally(before: Tally | None, figures: Figures, at: float) -> Tally:
    """The rates after one more look. A counter that went back (a restart) tells nothing this time."""
    if before is None or at <= before.at:
        return replace(before, figures=figures) if before is not None else Tally(at, figures)
    elapsed_s = at - before.at
    weight = 1 - math.exp(-elapsed_s / RATE_MEMORY_S)
    old = before.figures
    queries = _delta(old.prefix_queries, figures.prefix_queries)
    hits = _delta(old.prefix_hits, figures.prefix_hits)
    looked_up = queries is not None and hits is not None and queries > 0
    fade = 1 - weight if looked_up else 1.0
    return Tally(
        at=at,
        figures=figures,
        prefill_tokens_per_s=_faded(
            before.prefill_tokens_per_s, _delta(old.prompt_tokens, figures.prompt_tokens), elapsed_s, weight
        ),
        decode_tokens_per_s=_faded(
            before.decode_tokens_per_s, _delta(old.generated_tokens, figures.generated_tokens), elapsed_s, weight
        ),
        prefix_queries=before.prefix_queries * fade + (queries or 0.0) * looked_up,
        prefix_hits=before.prefix_hits * fade + (hits or 0.0) * looked_up,
        inter_token_s=_delta(old.inter_token_s, figures.inter_token_s) or 0.0,
        inter_tokens=_delta(old.inter_tokens, figures.inter_tokens) or 0.0,
    )


def _delta(before: float | None, after: float | None) -> float | None:
    return after - before if before is not None and after is not None and after >= before else None


def _faded(rate: float, tokens: float | None, elapsed_s: float, weight: float) -> float:
    if not tokens:
        return rate  # Nothing to do in this time, or not known: what it can do has not changed.
    seen = tokens / elapsed_s
    return seen if rate == 0 else rate + weight * (seen - rate)


def _pairs(shares: Iterable[_Share]) -> Iterable[tuple[Figures, Tally]]:
    return ((share.figures, share.tally) for share in shares if share.figures is not None and share.tally is not None)


def _first(gauge: float | None, observed: float, counter: float | None) -> float:
    """The observed rate where the server counts; else the rate that it states itself."""
    return observed if counter is not None else (gauge or 0.0)


def _hit_ratio(known: Sequence[Figures], tallies: Sequence[Tally]) -> float:
    queries = math.fsum(tally.prefix_queries for tally in tallies)
    if queries > 0:
        return _ratio(math.fsum(tally.prefix_hits for tally in tallies) / queries)
    return _mean(figures.prefix_hit_ratio for figures in known)


def _time_per_token_s(tallies: Sequence[Tally]) -> float:
    """Of all tokens since the last look; 0: there were none, or nobody counts them."""
    tokens = math.fsum(tally.inter_tokens for tally in tallies)
    seconds = math.fsum(tally.inter_token_s for tally in tallies)
    return min(seconds / tokens, SECONDS_MAX) if tokens >= 1 else 0.0


def _adapters(model: str, shares: Sequence[_Share]) -> tuple[str, ...]:
    names: set[str] = set()
    for share in shares:
        names.update(share.facts.served.adapters.get(model, ()))
        # The page does not say whose adapters they are; with one model listed there is no doubt.
        if share.facts.page is not None and len(share.facts.served.models) == 1:
            names.update(share.facts.page.adapters)
    return tuple(sorted(name for name in names if 0 < len(name) <= NAME_LENGTH_MAX)[:ADAPTERS_MAX])


def _features(shares: Sequence[_Share], rules: PoolRules) -> tuple[str, ...]:
    features = set(rules.features)
    if shares and all(share.facts.page is not None and share.facts.page.engine in _CONTINUING for share in shares):
        features.add(CONTINUE_FINAL_MESSAGE)
    if shares and all(share.facts.page is not None and share.facts.page.engine is Engine.VLLM for share in shares):
        features.add(STOP_WITHHELD)
    if any(share.figures is None for share in shares):
        features.add(NO_METRICS)
    return tuple(sorted(features))


def _count(values: Iterable[float | None]) -> int:
    return min(round(math.fsum(value or 0.0 for value in values)), CALLS_MAX)


def _rate(values: Iterable[float]) -> float:
    return min(math.fsum(values), TOKENS_PER_S_MAX)


def _mean(values: Iterable[float | None]) -> float:
    known = [value for value in values if value is not None]
    return _ratio(math.fsum(known) / len(known)) if known else 0.0


def _ratio(value: float) -> float:
    return min(max(value, 0.0), 1.0)
