"""A replica's metrics under vLLM's names, in Prometheus's text format. Pure.

Only what a reader of a model server needs to know its load; names, labels and buckets as vLLM 0.11's engine has them.
"""

from bisect import bisect_left
from collections.abc import Iterable
from typing import Final

from federation.lab.batching import Replica

TTFT_BUCKETS_S: Final = (
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0,
    160.0, 640.0, 2560.0,
)  # fmt: skip
TOKEN_BUCKETS_S: Final = (
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0,
)  # fmt: skip
FINISHED_REASONS: Final = ("stop", "length", "abort", "error")


class Histogram:
    """Counts of observations by upper bound, and their sum in seconds."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, seconds: float, times: int = 1) -> None:
        self._counts[bisect_left(self._bounds, seconds)] += times
        self._sum += seconds * times

    def lines(self, name: str, labels: str) -> Iterable[str]:
        total = 0
        for bound, seen in zip((*self._bounds, "+Inf"), self._counts, strict=True):
            total += seen
            yield f'{name}_bucket{{{labels},le="{bound}"}} {total}'
        yield f"{name}_count{{{labels}}} {total}"
        yield f"{name}_sum{{{labels}}} {self._sum}"


class ServingMetrics:
    """What the replica does not count itself: how answers ended, and how long their tokens took."""

    __slots__ = ("finished", "time_per_token", "time_to_first_token")

    def __init__(self) -> None:
        self.finished = dict.fromkeys(FINISHED_REASONS, 0)
        self.time_to_first_token = Histogram(TTFT_BUCKETS_S)
        self.time_per_token = Histogram(TOKEN_BUCKETS_S)

    def page(self, replica: Replica, model: str) -> str:
        escaped = model.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        labels = f'engine="0",model_name="{escaped}"'
        spec = replica.spec
        blocks = spec.kv_capacity_tokens // spec.block_tokens
        lines: list[str] = []

        def add(name: str, kind: str, text: str, *samples: str) -> None:
            lines.extend((f"# HELP {name} {text}", f"# TYPE {name} {kind}", *samples))

        def one(name: str, kind: str, text: str, value: float) -> None:
            add(name, kind, text, f"{name}{{{labels}}} {value}")

        one("vllm:num_requests_running", "gauge", "Requests in the batch.", replica.running)
        one("vllm:num_requests_waiting", "gauge", "Requests in the queue.", replica.waiting)
        one("vllm:kv_cache_usage_perc", "gauge", "KV cache in use, 0 to 1.", max(0.0, replica.kv_used_ratio))
        one("vllm:num_preemptions_total", "counter", "Requests put back for want of KV room.", replica.preemptions)
        one("vllm:prompt_tokens_total", "counter", "Prompt tokens served.", replica.prompt_tokens)
        one("vllm:generation_tokens_total", "counter", "Tokens generated.", replica.generation_tokens)
        one("vllm:prefix_cache_queries_total", "counter", "Prompt tokens looked up.", replica.prefix_query_tokens)
        one("vllm:prefix_cache_hits_total", "counter", "Prompt tokens found cached.", replica.prefix_hit_tokens)
        add(
            "vllm:request_success_total",
            "counter",
            "Requests over, by how they ended.",
            *(
                f'vllm:request_success_total{{{labels},finished_reason="{reason}"}} {ended}'
                for reason, ended in self.finished.items()
            ),
        )
        name = "vllm:time_to_first_token_seconds"
        add(name, "histogram", "Arrival to first token.", *self.time_to_first_token.lines(name, labels))
        name = "vllm:inter_token_latency_seconds"
        add(name, "histogram", "From one token to the next.", *self.time_per_token.lines(name, labels))
        name = "vllm:cache_config_info"
        config = f'block_size="{spec.block_tokens}",enable_prefix_caching="True",num_gpu_blocks="{blocks}"'
        add(name, "gauge", "Size of the KV cache.", f"{name}{{{labels},{config}}} 1.0")
        return "\n".join(lines) + "\n"
