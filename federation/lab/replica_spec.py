"""What one replica of a model can do: limits, and the latency model's coefficients. Pure.

The numbers for real accelerators are in `presets`; what is done with them, in `batching`.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ReplicaSpec:
    """Limits in tokens and sequences, coefficients in seconds. ValueError for a replica that could never work.

    A step over D decoding sequences with K tokens of context, R running sequences and prompt chunks of n tokens
    computed after c earlier ones takes

        max(weights_s + kv_read_s * K, decode_s * D)
        + sum over chunks of prefill_s * n + attention_s * n * (c + n / 2)
        + step_s + sequence_s * R
    """

    max_running: int
    max_batched_tokens: int  # of one step: decoding sequences and prompt chunks together
    kv_capacity_tokens: int
    block_tokens: int  # what the prefix cache finds again, in pieces of this many tokens
    max_model_tokens: int  # of one sequence: prompt and answer together
    weights_s: float
    kv_read_s: float
    decode_s: float
    prefill_s: float
    attention_s: float
    step_s: float
    sequence_s: float
    accept_s: float  # from a sequence's arrival until it may join a step
    finish_s: float  # from its last token until the answer is complete at the server's door

    def __post_init__(self) -> None:
        if self.max_running < 1 or self.block_tokens < 1:
            raise ValueError("max_running and block_tokens must be at least 1")
        if self.max_batched_tokens <= self.max_running:
            raise ValueError("max_batched_tokens must exceed max_running, or prompts would starve")
        if self.max_model_tokens >= self.kv_capacity_tokens:
            raise ValueError("max_model_tokens must be less than kv_capacity_tokens, or a sequence might never finish")
        if self.step_s <= 0.0:
            raise ValueError("step_s must be positive, or infinitely many steps would fit an instant")

    def decode_step_s(self, decoding: int, context_tokens: int) -> float:
        """Seconds of one step without prompt chunks."""
        work_s = max(self.weights_s + self.kv_read_s * context_tokens, self.decode_s * decoding)
        return work_s + self.step_s + self.sequence_s * decoding

    def chunk_s(self, tokens: int, after_tokens: int) -> float:
        """Seconds that a chunk of a prompt adds to its step."""
        return self.prefill_s * tokens + self.attention_s * tokens * (after_tokens + tokens / 2)
