"""Accelerators, models and the replicas that they make together. Pure.

Figures of accelerators: H100, A100 and L40S from inference-sim's `hardware_config.json` (2026-08), whose efficiency
factors were fitted to vLLM runs; L4 from NVIDIA's data sheet, its factors assumed to be those of the L40S (same
generation, untested); TPU v6e from Google's data sheet, its factors assumed to be those of the H100. The
corrections below (how much slower than the roofline weights load, what a layer, a step, a request and a token cost) are
inference-sim's trained coefficients; it states an error below 15 to 20 % on end-to-end latency. Figures of models:
their published configurations.
"""

from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from federation.lab.replica_spec import ReplicaSpec

WEIGHT_LOAD_FACTOR: Final = 1.36
KV_READ_FACTOR: Final = 1.95
LAYER_S: Final = 32e-6
STEP_S: Final = 126e-6
SEQUENCE_STEP_S: Final = 4.4e-6
ACCEPT_S: Final = 15.6e-3
FINISH_S: Final = 0.78e-3
TOKEN_S: Final = 46e-6
MEMORY_SHARE: Final = 0.9  # vLLM's gpu_memory_utilization
BYTES_PER_PARAMETER: Final = 2  # BF16


@dataclass(frozen=True, slots=True)
class AcceleratorSpec:
    name: str
    peak_flops: float  # dense BF16, per second
    bandwidth_bytes: float  # of memory, per second
    memory_bytes: float
    mfu_prefill: float  # share of the peak that prompts reach
    mfu_decode: float


@dataclass(frozen=True, slots=True)
class ModelSpec:
    name: str
    parameters: float
    layers: int
    hidden: int
    kv_token_bytes: int

    @property
    def weight_bytes(self) -> float:
        return self.parameters * BYTES_PER_PARAMETER


L4: Final = AcceleratorSpec("L4 24 GB", 121e12, 0.300e12, 24 * 2**30, 0.32, 0.08)
L40S: Final = AcceleratorSpec("L40S 48 GB", 362e12, 0.864e12, 48 * 2**30, 0.32, 0.08)
A100: Final = AcceleratorSpec("A100 SXM 80 GB", 312e12, 2.039e12, 80 * 2**30, 0.38, 0.18)
H100: Final = AcceleratorSpec("H100 SXM 80 GB", 989.5e12, 3.35e12, 80 * 2**30, 0.45, 0.30)
V6E: Final = AcceleratorSpec("TPU v6e 32 GB", 918e12, 1.64e12, 32 * 2**30, 0.45, 0.30)

LLAMA_8B: Final = ModelSpec("Llama-3.1-8B", 8.03e9, 32, 4_096, 131_072)
LLAMA_70B: Final = ModelSpec("Llama-3.3-70B", 70.6e9, 80, 8_192, 327_680)
QWEN_7B: Final = ModelSpec("Qwen2.5-7B", 7.62e9, 28, 3_584, 57_344)


def replica_spec(
    accelerator: AcceleratorSpec,
    model: ModelSpec,
    *,
    max_running: int = 256,
    max_batched_tokens: int = 2_048,
    max_model_tokens: int = 131_072,
    block_tokens: int = 16,
) -> ReplicaSpec:
    """One replica of a model on one accelerator. ValueError if the weights leave no room for a KV cache.

    max_running and max_batched_tokens are those of vLLM's defaults for an API server of this size; the longest
    sequence is what the model allows or 95 % of the KV cache, whichever is less. Handling of an output token is
    charged to its step: every token of the step comes that much later, and the step is longer by under 1 %.
    """
    kv_bytes = MEMORY_SHARE * accelerator.memory_bytes - model.weight_bytes
    kv_capacity_tokens = int(kv_bytes / model.kv_token_bytes)
    if kv_capacity_tokens <= max_batched_tokens:
        raise ValueError(f"{model.name} leaves no room for a KV cache on one {accelerator.name}")
    prefill_flops = accelerator.peak_flops * accelerator.mfu_prefill
    return ReplicaSpec(
        max_running=max_running,
        max_batched_tokens=max_batched_tokens,
        kv_capacity_tokens=kv_capacity_tokens,
        block_tokens=block_tokens,
        max_model_tokens=min(max_model_tokens, kv_capacity_tokens * 95 // 100),
        weights_s=WEIGHT_LOAD_FACTOR * model.weight_bytes / accelerator.bandwidth_bytes,
        kv_read_s=KV_READ_FACTOR * model.kv_token_bytes / accelerator.bandwidth_bytes,
        decode_s=2 * model.parameters / (accelerator.peak_flops * accelerator.mfu_decode),
        prefill_s=2 * model.parameters / prefill_flops,
        attention_s=4 * model.layers * model.hidden / prefill_flops,
        step_s=STEP_S + model.layers * LAYER_S + TOKEN_S,
        sequence_s=SEQUENCE_STEP_S,
        accept_s=ACCEPT_S,
        finish_s=FINISH_S,
    )


SMALL: Final = ReplicaSpec(
    max_running=48,
    max_batched_tokens=512,
    kv_capacity_tokens=98_304,
    block_tokens=16,
    max_model_tokens=32_768,
    weights_s=19.5e-3,
    kv_read_s=60e-9,
    decode_s=0.0,
    prefill_s=50e-6,
    attention_s=0.0,
    step_s=0.5e-3,
    sequence_s=100e-6,
    accept_s=2e-3,
    finish_s=0.5e-3,
)
"""For a laptop, calibrated to nothing: 20 ms a decode step alone, 25 ms with 48 running and another 6 ms with a full
KV cache, 20,000 prompt tokens a second, saturated by 49 callers. Three regions of two replicas carry a production
trace of 25 calls a second, on a fifth of a core. Its step budget of 512 tokens keeps a long
prompt from holding up the others by more than 26 ms a step."""

PRESETS: Final = MappingProxyType(
    {
        "small": SMALL,
        "l4": replica_spec(L4, LLAMA_8B),
        "a100": replica_spec(A100, LLAMA_8B),
        "h100": replica_spec(H100, LLAMA_8B),
        "v6e": replica_spec(V6E, LLAMA_8B),
    }
)
"""By the name that `--preset` takes; the accelerators with Llama-3.1-8B, figures from the sources above."""


def preset(name: str) -> ReplicaSpec:
    """ValueError, with the names that exist, for another one."""
    try:
        return PRESETS[name]
    except KeyError:
        raise ValueError(f"no preset {name!r}; there are {', '.join(PRESETS)}") from None
