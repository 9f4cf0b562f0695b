"""A sequence: one prompt and its answer inside a replica, and what is reported about it. Pure.

`batching` alone moves a sequence from stage to stage; others read.
"""

from collections.abc import Hashable
from collections.abc import Sequence as Blocks
from enum import Enum
from typing import NamedTuple


class Stage(Enum):
    NEW = "new"
    WAITING = "waiting"
    PREFILL = "prefill"
    DECODE = "decode"
    LEAVING = "leaving"  # cancelled; its slot is free from the end of the step that runs now
    DONE = "done"


class Sequence:
    """Times are seconds on the caller's clock, -1.0 = not yet. `blocks` are hashes of the prompt's full blocks,
    each covering everything before it; fewer than there are (or none) means that the rest is never reused.

    `output_tokens` 0 is a prompt alone (an embedding): it finishes when its prompt is computed.
    ValueError for an empty prompt or a negative answer.
    """

    __slots__ = (
        "arrived_at",
        "before_tokens",
        "blocks",
        "cached_tokens",
        "computed_tokens",
        "finish_step",
        "finished_at",
        "first_token_at",
        "key",
        "offset_steps",
        "output_tokens",
        "pinned_blocks",
        "prompt_tokens",
        "ready_at",
        "stage",
        "target_tokens",
    )

    def __init__(self, key: Hashable, prompt_tokens: int, output_tokens: int, blocks: Blocks[Hashable] = ()) -> None:
        if prompt_tokens < 1 or output_tokens < 0:
            raise ValueError("a sequence needs a prompt of at least one token and an answer of at least none")
        self.key = key
        self.prompt_tokens = prompt_tokens
        self.output_tokens = output_tokens
        self.blocks = blocks
        self.stage = Stage.NEW
        self.cached_tokens = 0  # of the prompt, found in the prefix cache when first admitted
        self.arrived_at = self.ready_at = self.first_token_at = self.finished_at = -1.0
        # The replica's own notes.
        self.before_tokens = 0  # tokens of the answer that were there when the present prefill began
        self.target_tokens = prompt_tokens  # what the prefill must reach: prompt and before_tokens
        self.computed_tokens = 0
        self.pinned_blocks = 0  # leading blocks held in the cache
        self.offset_steps = 0  # while decoding: tokens generated = the replica's steps - offset_steps
        self.finish_step = -1  # the replica's step that ends it; -1 while that is not known, and when cancelled


class Kind(Enum):
    FIRST_TOKEN = "first_token"
    FINISHED = "finished"


class Progress(NamedTuple):
    """What became of a sequence at the end of a step; a finish is complete at the door `finish_s` later."""

    at: float
    kind: Kind
    sequence: Sequence
