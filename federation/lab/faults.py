"""Faults that an emulated cluster can be told to have, and the request that asks for them. Pure.

One request replaces all that was asked before, so that an empty one clears everything. Chance comes in as a
`random.Random`, so that a seed repeats a run.
"""

from random import Random
from typing import Annotated

import msgspec

Share = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]


class Faults(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """All off by default.

    slow          every step takes this many times as long
    hang          connections are accepted and nothing is answered; streams stop, and go on when it is cleared
    refuse        nothing listens, and connections there were are reset
    unhealthy     /health answers 503, all else works
    error_rate    this share of inference calls is answered with `status` (and, if given, `retry_after_s`)
    cut_streams   this share of streams ends after a random token without the end of its response
    die           the process is gone, without goodbye
    """

    slow: Annotated[float, msgspec.Meta(gt=0.0, le=10_000.0)] = 1.0
    hang: bool = False
    refuse: bool = False
    unhealthy: bool = False
    error_rate: Share = 0.0
    status: Annotated[int, msgspec.Meta(ge=400, le=599)] = 500
    retry_after_s: Annotated[int, msgspec.Meta(ge=0)] | None = None
    cut_streams: Share = 0.0
    die: bool = False

    def refuses_call(self, rng: Random) -> bool:
        return self.error_rate > 0.0 and rng.random() < self.error_rate

    def cut_after(self, tokens: int, rng: Random) -> int | None:
        """After how many tokens a stream of `tokens` is cut, 1..tokens - 1; None: not at all."""
        if tokens < 2 or not self.cut_streams or rng.random() >= self.cut_streams:
            return None
        return rng.randrange(1, tokens)


def read_faults(body: bytes) -> Faults:
    """ValueError, in words, for anything else than a JSON object of the fields above."""
    try:
        return msgspec.json.decode(body or b"{}", type=Faults)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"this asks for no faults: {error}") from None
