"""How long a model pool takes for each further token of an answer, as a value that learns from outcomes. Pure.

    seconds per output token = alone + crowd * busy_ratio

A step of a replica that batches continuously reads all weights once, and the cached tokens of everything that runs: so
a token takes longer the more there runs, in proportion. Learnt as `latency` learns, with two coefficients: recursive
least squares on relative errors, directional forgetting, bounded residuals.

An answer tells it only when it ended well and had TOKENS_MIN tokens: the first few come in whatever the network makes
of them.
"""

from typing import Final

import msgspec

from router.policy.residuals import CHANGE_AFTER, SCALE_START, judged

TOKENS_MIN: Final = 2
FORGETTING: Final = 0.98
REOPEN_SHARE: Final = 0.002
REOPEN_SHARE_CHANGED: Final = 0.5
UNSURE: Final = 2.25
MAGNITUDE_S: Final = 0.001
ERROR_RATE: Final = 0.02
ALONE_S: Final = 0.02  # An 8B model on an H100: 8 ms; on an L4: 75 ms.
CROWD_S: Final = 0.01
TPOT_S_MIN: Final = 0.001
TPOT_S_MAX: Final = 10.0
LEAST: Final = 1e-9
REST_HALF_LIFE_S: Final = 60.0


class DecodingModel(msgspec.Struct, frozen=True, gc=False):
    """What is believed of one (cluster, model). Seconds per output token."""

    alone_s: float
    crowd_s: float  # What is added when all slots run.
    prior: tuple[float, float]  # Of both, before anything was learnt.
    covariance: tuple[float, float, float]
    scale: float = SCALE_START
    run: int = 0
    seen: int = 0
    error_ratio: float = 0.0  # As in LatencyModel.
    bias_ratio: float = 0.0

    def predict(self, busy_ratio: float) -> float:
        """Seconds per output token while that share of the slots runs (0..1)."""
        return self.alone_s + self.crowd_s * busy_ratio


def prior(decode_tokens_per_s: float = 0.0, running: int = 0) -> DecodingModel:
    """What a heartbeat's rate, a sum over the calls that run, lets one expect; 0: not known."""
    alone_s, crowd_s = ALONE_S, CROWD_S
    if decode_tokens_per_s > 0.0 and running > 0:
        alone_s = min(0.2, max(0.002, running / decode_tokens_per_s))
        crowd_s = 0.5 * alone_s
    return DecodingModel(alone_s, crowd_s, (alone_s, crowd_s), _ignorance(alone_s, crowd_s))


def learnt(model: DecodingModel, tokens: int, took_s: float, busy_ratio: float) -> DecodingModel:
    """The model after an answer whose last `tokens` took that long. ValueError for what is no finite number."""
    if not -1e9 < took_s + busy_ratio < 1e9:
        raise ValueError(f"not an outcome: {took_s} s at {busy_ratio}")
    if tokens < TOKENS_MIN or took_s <= 0.0:
        return model
    alone, crowd = model.alone_s, model.crowd_s
    observed, predicted = took_s / tokens, alone + crowd * busy_ratio
    weight = 1.0 / (predicted if predicted > MAGNITUDE_S else MAGNITUDE_S)
    counted, scale, run = judged((observed - predicted) * weight, model.scale, model.run)
    seen = model.seen + 1
    share = REOPEN_SHARE_CHANGED if run >= CHANGE_AFTER or run <= -CHANGE_AFTER else REOPEN_SHARE
    (aa, ab, bb), (fresh_aa, _, fresh_bb) = model.covariance, _ignorance(alone, crowd)
    aa += share * (fresh_aa - aa)
    ab -= share * ab
    bb += share * (fresh_bb - bb)
    a, b = weight, busy_ratio * weight
    pa, pb = aa * a + ab * b, ab * a + bb * b
    s = a * pa + b * pb
    if s < LEAST:
        aa, ab, bb = _ignorance(alone, crowd)
        pa, pb = aa * a, bb * b
        s = a * pa + b * pb
    gain = counted / (1.0 + s)
    k = (FORGETTING - (1.0 - FORGETTING) / s) / (FORGETTING * (1.0 + s))
    larger = observed if observed > predicted else predicted
    ratio = (observed - predicted) / larger
    rate = ERROR_RATE if seen > 50 else 1.0 / seen
    return DecodingModel(
        min(TPOT_S_MAX, max(TPOT_S_MIN, alone + gain * pa)),
        min(TPOT_S_MAX, max(0.0, crowd + gain * pb)),
        model.prior,
        (aa - k * pa * pa, ab - k * pa * pb, bb - k * pb * pb),
        scale,
        run,
        seen,
        model.error_ratio + rate * (abs(ratio) - model.error_ratio),
        model.bias_ratio + rate * (ratio - model.bias_ratio),
    )


def rested(model: DecodingModel, idle_s: float) -> DecodingModel:
    """The model after `idle_s` without an outcome: as `latency.rested`."""
    kept = 2.0 ** (-max(0.0, idle_s) / REST_HALF_LIFE_S)
    alone, crowd = model.prior
    alone += kept * (model.alone_s - alone)
    crowd += kept * (model.crowd_s - crowd)
    fresh = _ignorance(alone, crowd)
    covariance = tuple(
        [before + (1.0 - kept) * (after - before) for before, after in zip(model.covariance, fresh, strict=True)]
    )
    scale = SCALE_START + kept * (model.scale - SCALE_START)
    return msgspec.structs.replace(model, alone_s=alone, crowd_s=crowd, covariance=covariance, scale=scale, run=0)


def _ignorance(alone: float, crowd: float) -> tuple[float, float, float]:
    """Either may be off by about itself; what a crowd adds, by as much as a token takes alone."""
    return (UNSURE * (alone + MAGNITUDE_S) ** 2, 0.0, UNSURE * (alone + crowd) ** 2)
