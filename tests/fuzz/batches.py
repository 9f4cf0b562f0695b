"""A batch of each kind of fuzzing: what one process does between two looks at the clock."""

import time

from tests.fuzz import answer_side, desync, request_side, sockets
from tests.fuzz.desync import Counts

BATCH_CASES = 4_000
BATCH_ROUNDS = 60
BATCH_CALLS = 4_000
KINDS = ("requests", "answers", "interleaved", "sockets")
SHARE = {"requests": 2, "answers": 2, "interleaved": 5, "sockets": 2}  # Of the batches.


def batch(kind: str, seed: int) -> tuple[str, list[str], int, Counts, float]:
    """One batch of a kind: what went wrong, cases or calls, counts, and the seconds that it took."""
    began = time.perf_counter()
    counts = Counts()
    if kind == "requests":
        faults = request_side.run_cases(seed, range(BATCH_CASES))
        done = BATCH_CASES
    elif kind == "answers":
        faults = answer_side.run_cases(seed, range(BATCH_CASES))
        done = BATCH_CASES
    elif kind == "interleaved":
        faults, counts = desync.run(seed, range(BATCH_ROUNDS))
        done = counts.calls
    else:
        faults, counts = sockets.run(seed, BATCH_CALLS)
        done = counts.calls
    return kind, [f"{kind}: {fault}" for fault in faults], done, counts, time.perf_counter() - began
