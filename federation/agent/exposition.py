"""The few figures we need from a model server's Prometheus page, found without parsing the page.

A page of vLLM has 500 lines, of which a dozen matter; one regular expression finds them in
a fraction of what a full parser takes. Whatever is not a known line is passed over: this
never raises.

Known: vLLM (0.5 to today, where a name changed the newer one wins), SGLang, llama.cpp.
"""

import math
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice

SERIES_MAX = 20_000  # Of known names on one page; a real one has a few hundred at most.
VALUE_MAX = 1e15  # Beyond this a figure is a fault of the sender.


class Engine(StrEnum):
    VLLM = "vllm"
    SGLANG = "sglang"
    LLAMACPP = "llamacpp"


@dataclass(frozen=True, slots=True)
class Figures:
    """What a page says of one model. None: it does not say."""

    running: float | None = None  # Calls.
    waiting: float | None = None
    kv_utilization_mean: float | None = None  # 0 to 1, over the engines behind this page.
    kv_utilization_max: float | None = None
    prompt_tokens: float | None = None  # Counters, since the engine started.
    generated_tokens: float | None = None
    prefix_queries: float | None = None
    prefix_hits: float | None = None
    inter_token_s: float | None = None  # Seconds from one token to the next, summed over all,
    inter_tokens: float | None = None  # and how many that are.
    prefix_hit_ratio: float | None = None  # Gauges of servers that do not count.
    prefill_tokens_per_s: float | None = None
    decode_tokens_per_s: float | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """What a page says. `models` is keyed by the label model_name, "" where there is none."""

    engine: Engine | None  # None: none of the known names stands on it.
    models: Mapping[str, Figures]
    adapters: tuple[str, ...] = ()  # LoRA adapters that run or wait, sorted.


# Our name for a figure, and the names that servers give it, best first.
_NAMES: dict[str, tuple[str, ...]] = {
    "running": ("vllm:num_requests_running", "sglang:num_running_reqs", "llamacpp:requests_processing"),
    "waiting": ("vllm:num_requests_waiting", "sglang:num_queue_reqs", "llamacpp:requests_deferred"),
    "kv": (
        "vllm:kv_cache_usage_perc",
        "vllm:gpu_cache_usage_perc",
        "sglang:token_usage",
        "llamacpp:kv_cache_usage_ratio",
    ),
    "prompt_tokens": ("vllm:prompt_tokens_total", "sglang:prompt_tokens_total", "llamacpp:prompt_tokens_total"),
    "generated_tokens": (
        "vllm:generation_tokens_total",
        "sglang:generation_tokens_total",
        "llamacpp:tokens_predicted_total",
    ),
    "prefix_queries": ("vllm:prefix_cache_queries_total", "vllm:gpu_prefix_cache_queries_total"),
    "prefix_hits": ("vllm:prefix_cache_hits_total", "vllm:gpu_prefix_cache_hits_total"),
    "prefix_hit_ratio": ("sglang:cache_hit_rate",),
    "prefill_tokens_per_s": ("llamacpp:prompt_tokens_seconds",),
    "decode_tokens_per_s": ("sglang:gen_throughput", "llamacpp:predicted_tokens_seconds"),
    "inter_token_s": (
        "vllm:inter_token_latency_seconds_sum",
        "vllm:time_per_output_token_seconds_sum",
        "sglang:inter_token_latency_seconds_sum",
        "sglang:time_per_output_token_seconds_sum",
    ),
    "inter_tokens": (
        "vllm:inter_token_latency_seconds_count",
        "vllm:time_per_output_token_seconds_count",
        "sglang:inter_token_latency_seconds_count",
        "sglang:time_per_output_token_seconds_count",
    ),
    "adapters": ("vllm:lora_requests_info",),
}
_FIGURE = {name.encode(): (figure, rank) for figure, names in _NAMES.items() for rank, name in enumerate(names)}


def _alternatives() -> bytes:
    """All known names, grouped by engine: a line of another name is given up after a few letters."""
    by_engine: dict[bytes, list[bytes]] = {}
    for name in sorted(_FIGURE):
        engine, _, rest = name.partition(b":")
        by_engine.setdefault(engine, []).append(rest)
    return b"|".join(engine + b":(?:" + b"|".join(names) + b")" for engine, names in by_engine.items())


# Starts with a plain line feed rather than ^, which the matcher can search for quickly.
# Label values may hold braces and escaped quotes, so they are matched as quoted strings.
_LINE = re.compile(
    rb"\n(" + _alternatives() + rb")"
    rb'(?:\{((?:[^"}\n]|"(?:[^"\\\n]|\\.)*")*)\})?[ \t]+([-+0-9.eE]+)(?=\s|$)'
)
_LABEL = re.compile(rb'(?:^|,)[ \t]*([A-Za-z_]\w*)[ \t]*=[ \t]*"((?:[^"\\]|\\.)*)"')
_SAMPLE = re.compile(rb"^(?:# (?:HELP|TYPE) )?[A-Za-z_:][\w:]*(?:\{[^\n]*\})?[ \t]+\S", re.MULTILINE)
_ESCAPED = re.compile(r"\\(.)")


def looks_like_exposition(page: bytes) -> bool:
    """Whether there is at least one line of the Prometheus text format (an HTML page has none at its start)."""
    return page.lstrip()[:1] != b"<" and _SAMPLE.search(page) is not None


def read_page(page: bytes) -> Page:
    """The known figures on a page in the Prometheus text format. Never raises."""
    values: dict[tuple[str, str, int], list[float]] = defaultdict(list)
    engine: Engine | None = None
    adapters, adapters_at = b"", -math.inf
    for match in islice(_LINE.finditer(b"\n" + page), SERIES_MAX):
        name, labels, text = match.groups()
        try:
            value = float(text)
        except ValueError:
            continue
        if not 0 <= value <= VALUE_MAX:  # NaN is not within either.
            continue
        engine = engine or Engine(name.partition(b":")[0].decode())
        figure, rank = _FIGURE[name]
        known = dict(_LABEL.findall(labels)) if labels else {}
        if figure == "adapters":
            # Every set of adapters seen so far stays on the page; the value says when it was true.
            if value >= adapters_at:
                adapters_at = value
                adapters = known.get(b"running_lora_adapters", b"") + b"," + known.get(b"waiting_lora_adapters", b"")
            continue
        if known.get(b"tp_rank", b"0") != b"0" or known.get(b"pp_rank", b"0") != b"0":
            continue  # The ranks of one engine repeat the same figures.
        values[_text(known.get(b"model_name", b"")), figure, rank].append(value)
    names = sorted({_text(name.strip()) for name in adapters.split(b",") if name.strip()})
    models = {model: _figures(model, values) for model in sorted({model for model, _, _ in values})}
    return Page(engine, models, tuple(names))


def _figures(model: str, values: Mapping[tuple[str, str, int], list[float]]) -> Figures:
    def best(figure: str) -> list[float] | None:
        for rank in range(len(_NAMES[figure])):
            if found := values.get((model, figure, rank)):
                return found
        return None

    def total(figure: str) -> float | None:
        return math.fsum(found) if (found := best(figure)) else None

    def mean(figure: str) -> float | None:
        return math.fsum(found) / len(found) if (found := best(figure)) else None

    kv = best("kv")
    return Figures(
        running=total("running"),
        waiting=total("waiting"),
        kv_utilization_mean=mean("kv"),
        kv_utilization_max=max(kv) if kv else None,
        prompt_tokens=total("prompt_tokens"),
        generated_tokens=total("generated_tokens"),
        prefix_queries=total("prefix_queries"),
        prefix_hits=total("prefix_hits"),
        inter_token_s=total("inter_token_s"),
        inter_tokens=total("inter_tokens"),
        prefix_hit_ratio=mean("prefix_hit_ratio"),
        prefill_tokens_per_s=total("prefill_tokens_per_s"),
        decode_tokens_per_s=total("decode_tokens_per_s"),
    )


def _text(label: bytes) -> str:
    text = label.decode("utf-8", "replace")
    return _ESCAPED.sub(lambda match: "\n" if match[1] == "n" else match[1], text) if "\\" in text else text
