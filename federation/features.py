"""What a model pool's servers can do beyond the plain API: the words that heartbeats and inventories use. Pure."""

from collections.abc import Iterable

CONTINUE_FINAL_MESSAGE = "continue_final_message"  # vLLM, SGLang: goes on with an unfinished assistant message.
ASSISTANT_PREFILL = "assistant_prefill"  # llama.cpp: a trailing assistant message is gone on with as it stands.
STOP_WITHHELD = "stop_withheld"  # What may be the beginning of a stop string is not sent until that is decided.
NO_METRICS = "no_metrics"  # Some server's metrics could not be read.

DECLARABLE = (CONTINUE_FINAL_MESSAGE, ASSISTANT_PREFILL, STOP_WITHHELD)

RESUMES = "resumes"  # Derived: it can go on with a text that another server began.


def with_derived(declared: Iterable[str]) -> frozenset[str]:
    """The features, and what follows from them."""
    features = frozenset(declared)
    if CONTINUE_FINAL_MESSAGE in features or ASSISTANT_PREFILL in features:
        return features | {RESUMES}
    return features
