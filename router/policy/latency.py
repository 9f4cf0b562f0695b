"""How long a model pool will take to its first token, as a value that learns from outcomes. Pure.

    seconds after the round trip
        = base + prefill * work + ahead * ahead_ktokens + busy * busy_ratio + queue * queue_ratio

| feature       | what, as known when a call is placed | unit |
|---------------|--------------------------------------|------|
| work          | the prompt less what is believed cached, with attention's share: `work_ktokens` | 1,000 tokens |
| ahead_ktokens | work of prompts sent there that have no first token yet, per replica | 1,000 tokens |
| busy_ratio    | calls running there over slots, 0..1 | ratio |
| queue_ratio   | calls waiting there for a slot, over slots | ratio |

The terms are those of a replica that batches continuously (docs/routing/model.md). It learns by recursive
least squares on relative errors, for a tenth of a second matters at 0.2 s and not at 20 s. Three things make it safe:

- *Directional forgetting* (R. Kulhavy, Restricted exponential forgetting in real-time identification, Automatica 23,
  1987): the past is forgotten only in the direction in which news came. Ordinary exponential forgetting divides the
  whole covariance by lambda each time; fed the same features 100,000 times it grows without bound in all others, and
  ends in infinities or in a jump at the first different call (wind-up).
- *Return*: each REOPEN_EVERY outcomes the covariance moves a little towards that of the prior, and far towards it when
  the residuals say that something changed. A mean of two positive matrices is positive, so it stays bounded above, and
  below, where directional forgetting alone may lose all gain (S. Bittanti, P. Bolzern, M. Campi, Convergence and
  exponential convergence of identification algorithms with directional forgetting factor, Automatica 26, 1990, who
  add to the covariance for the same reason).
- *Bounds*: residuals are limited (`residuals`), coefficients never negative and never absurd.

What was only waited for (a timeout, a client who left) is known to take "at least" that long: it counts if more was
waited than predicted, and otherwise says nothing.

Refused: a regression in the information form that leans on the prior (bounded as well, but a thousand short prompts
make it forget what long ones cost); gradient descent (needs hundreds of outcomes, as the features differ in scale); a
mean per bucket of prompt size and load (needs more outcomes than a cluster has in an hour).
"""

from typing import Final

import msgspec

from router.policy.residuals import CHANGE_AFTER, SCALE_START, is_change, judged

BYTES_PER_TOKEN: Final = 4.0  # Of English text in JSON; what it is off by goes into the coefficients.
ATTENTION_PER_TOKEN: Final = 2.6e-5  # 2 x layers x hidden / parameters: 1.9e-5 (70B) to 3.3e-5 (8B) for Llama and Qwen.

FORGETTING: Final = 0.98  # In the direction of news: the last 50 outcomes count.
REOPEN_EVERY: Final = 16  # Outcomes, so that it costs a sixteenth.
REOPEN_SHARE: Final = 0.016
REOPEN_SHARE_CHANGED: Final = 0.5
UNSURE: Final = 2.25  # The square of 1.5: how far off a coefficient is expected to be, in units of itself.
PROPORTION: Final = 0.6  # How much of that is expected to be common to all coefficients.
ERROR_RATE: Final = 0.02
MAGNITUDE_S: Final = 0.02  # Below it errors are judged as if of this much: nobody cares about a millisecond.
REST_HALF_LIFE_S: Final = 60.0

# The prior, where heartbeats say nothing. Optimistic: who looks too fast is tried and corrected, who looks too slow
# is never tried.
BASE_S: Final = 0.03
PREFILL_TOKENS_PER_S_MIN: Final = 20_000.0  # A replica of an 8B model on an H100 does 28,000, on an L4 2,400.
BUSY_S: Final = 0.05
TOKENS_PER_ANSWER: Final = 256.0
TPOT_S: Final = 0.02

COEFFICIENT_S_MAX: Final = 600.0
FLOORS_S: Final = (0.005, 0.01, 0.01, 0.02, 0.1)  # What a coefficient may be off by even where it is believed to be 0.

LEAST: Final = 1e-9  # No sound covariance says so little: directional forgetting keeps it near 0.02.

Coefficients = tuple[float, float, float, float, float]


class LatencyModel(msgspec.Struct, frozen=True, gc=False):
    """What is believed of one (cluster, model). All coefficients are seconds per unit of their feature."""

    base_s: float
    prefill_s: float
    ahead_s: float
    busy_s: float
    queue_s: float
    prior: Coefficients
    covariance: tuple[float, ...]  # Upper triangle by rows, 15 values, in units of the (relative) noise's variance.
    scale: float = SCALE_START  # The usual size of relative errors: a standard deviation, outliers apart.
    run: int = 0  # See residuals.judged.
    seen: int = 0  # Outcomes learnt from.
    error_ratio: float = 0.0  # Mean of |observed - predicted| / the larger of both, over the last fifty. 0..1.
    bias_ratio: float = 0.0  # The same with its sign: above 0, it takes longer than predicted. -1..1.

    def predict(self, work: float, ahead_ktokens: float, busy_ratio: float, queue_ratio: float) -> float:
        """Seconds to the first token, the round trip apart."""
        return (
            self.base_s
            + self.prefill_s * work
            + self.ahead_s * ahead_ktokens
            + self.busy_s * busy_ratio
            + self.queue_s * queue_ratio
        )

    def doubt_s(self, work: float, ahead_ktokens: float, busy_ratio: float, queue_ratio: float) -> float:
        """One standard deviation of what will be observed around the prediction: noise, and coefficients not known."""
        predicted = self.predict(work, ahead_ktokens, busy_ratio, queue_ratio)
        magnitude = predicted if predicted > MAGNITUDE_S else MAGNITUDE_S
        row = (1.0, work, ahead_ktokens, busy_ratio, queue_ratio)
        upper = iter(self.covariance)
        variance = 0.0
        for i in range(5):
            variance += next(upper) * row[i] * row[i]
            for j in range(i + 1, 5):
                variance += 2.0 * next(upper) * row[i] * row[j]
        noise = self.scale * magnitude
        return float((noise * noise + self.scale * self.scale * variance) ** 0.5)


def work_ktokens(prompt_tokens: float, cached_tokens: float) -> float:
    """The work of a prompt of which the first `cached_tokens` are there already, in thousands of tokens.

    Attention makes a late token dearer than an early one: n new ones after c cached cost as n x (1 + a x (c + n / 2)).
    """
    new = prompt_tokens - cached_tokens
    if new <= 0.0:
        return 0.0
    return 0.001 * new * (1.0 + ATTENTION_PER_TOKEN * (cached_tokens + 0.5 * new))


def prior(
    prefill_tokens_per_s: float = 0.0,
    decode_tokens_per_s: float = 0.0,
    replicas: int = 1,
    running: int = 0,
) -> LatencyModel:
    """What a heartbeat's rates of the pool (sums over its replicas; 0: not known) let one expect.

    The rates are what the servers did, so a lower bound for what they can do.
    """
    each = max(1, replicas)
    tokens_per_s = max(PREFILL_TOKENS_PER_S_MIN, prefill_tokens_per_s / each)
    tpot_s = TPOT_S
    if decode_tokens_per_s > 0.0 and running > 0:
        tpot_s = min(0.2, max(0.002, running / decode_tokens_per_s))
    prefill_s = 1000.0 / tokens_per_s
    expected = (BASE_S, prefill_s, prefill_s, BUSY_S, TOKENS_PER_ANSWER * tpot_s)
    return LatencyModel(*expected, expected, _ignorance(*expected))


def learnt(
    model: LatencyModel,
    waited_s: float,
    work: float,
    ahead_ktokens: float,
    busy_ratio: float,
    queue_ratio: float,
    at_least: bool = False,
) -> LatencyModel:
    """The model after one outcome: `waited_s` from sending to the first token, less the round trip.

    The features are those of the moment when the call was placed. `at_least`: no token came, and this long was waited.
    ValueError for what is not a finite number: it would never leave the coefficients again.
    """
    if not -1e9 < waited_s + work + ahead_ktokens + busy_ratio + queue_ratio < 1e9:
        raise ValueError(f"not an outcome: {waited_s} s at {(work, ahead_ktokens, busy_ratio, queue_ratio)}")
    base, prefill, ahead, busy, queue = model.base_s, model.prefill_s, model.ahead_s, model.busy_s, model.queue_s
    predicted = base + prefill * work + ahead * ahead_ktokens + busy * busy_ratio + queue * queue_ratio
    if waited_s < 0.0:
        waited_s = 0.0
    weight = 1.0 / (predicted if predicted > MAGNITUDE_S else MAGNITUDE_S)
    residual = (waited_s - predicted) * weight
    if at_least and residual <= 0.0:
        return model
    counted, scale, run = judged(residual, model.scale, model.run)
    seen = model.seen + 1
    covariance = model.covariance
    if run >= CHANGE_AFTER or run <= -CHANGE_AFTER:
        covariance = _reopened(covariance, REOPEN_SHARE_CHANGED, base, prefill, ahead, busy, queue)
    elif not seen % REOPEN_EVERY:
        covariance = _reopened(covariance, REOPEN_SHARE, base, prefill, ahead, busy, queue)
    aa, ab, ac, ad, ae, bb, bc, bd, be, cc, cd, ce, dd, de, ee = covariance
    a, b, c, d, e = weight, work * weight, ahead_ktokens * weight, busy_ratio * weight, queue_ratio * weight
    pa = aa * a + ab * b + ac * c + ad * d + ae * e
    pb = ab * a + bb * b + bc * c + bd * d + be * e
    pc = ac * a + bc * b + cc * c + cd * d + ce * e
    pd = ad * a + bd * b + cd * c + dd * d + de * e
    pe = ae * a + be * b + ce * c + de * d + ee * e
    s = a * pa + b * pb + c * pc + d * pd + e * pe
    if s < LEAST:
        return learnt(_begun_anew(model), waited_s, work, ahead_ktokens, busy_ratio, queue_ratio, at_least)
    gain = counted / (1.0 + s)
    base += gain * pa
    prefill += gain * pb
    ahead += gain * pc
    busy += gain * pd
    queue += gain * pe
    # Kulhavy's rule: information is lost in the direction of the news, and nowhere else.
    k = (FORGETTING - (1.0 - FORGETTING) / s) / (FORGETTING * (1.0 + s))
    ka, kb, kc, kd = k * pa, k * pb, k * pc, k * pd
    error, bias = (model.error_ratio, model.bias_ratio) if at_least else _errors(model, waited_s, predicted, seen)
    return LatencyModel(
        0.0 if base < 0.0 else base if base < COEFFICIENT_S_MAX else COEFFICIENT_S_MAX,
        0.0 if prefill < 0.0 else prefill if prefill < COEFFICIENT_S_MAX else COEFFICIENT_S_MAX,
        0.0 if ahead < 0.0 else ahead if ahead < COEFFICIENT_S_MAX else COEFFICIENT_S_MAX,
        0.0 if busy < 0.0 else busy if busy < COEFFICIENT_S_MAX else COEFFICIENT_S_MAX,
        0.0 if queue < 0.0 else queue if queue < COEFFICIENT_S_MAX else COEFFICIENT_S_MAX,
        model.prior,
        (
            *(aa - ka * pa, ab - ka * pb, ac - ka * pc, ad - ka * pd, ae - ka * pe),
            *(bb - kb * pb, bc - kb * pc, bd - kb * pd, be - kb * pe),
            *(cc - kc * pc, cd - kc * pd, ce - kc * pe, dd - kd * pd, de - kd * pe, ee - k * pe * pe),
        ),
        scale,
        run,
        seen,
        error,
        bias,
    )


def _errors(model: LatencyModel, waited_s: float, predicted: float, seen: int) -> tuple[float, float]:
    """error_ratio and bias_ratio after one more: at first the mean of all, then of the last fifty or so."""
    difference = waited_s - predicted
    larger = waited_s if difference > 0.0 else predicted
    ratio = difference / larger if larger > 0.0 else 0.0
    rate = ERROR_RATE if seen > 50 else 1.0 / seen
    error, bias = model.error_ratio, model.bias_ratio
    return error + rate * ((ratio if ratio > 0.0 else -ratio) - error), bias + rate * (ratio - bias)


def rested(model: LatencyModel, idle_s: float) -> LatencyModel:
    """The model after `idle_s` without an outcome: each minute half of what it knew gives way to the prior.

    Without that a cluster that was slow once would look slow for ever, since nobody goes there any more.
    """
    kept = 2.0 ** (-max(0.0, idle_s) / REST_HALF_LIFE_S)
    now = (model.base_s, model.prefill_s, model.ahead_s, model.busy_s, model.queue_s)
    base, prefill, ahead, busy, queue = (
        before + kept * (learned - before) for learned, before in zip(now, model.prior, strict=True)
    )
    return msgspec.structs.replace(
        model,
        base_s=base,
        prefill_s=prefill,
        ahead_s=ahead,
        busy_s=busy,
        queue_s=queue,
        covariance=_reopened(model.covariance, 1.0 - kept, base, prefill, ahead, busy, queue),
        scale=SCALE_START + kept * (model.scale - SCALE_START),
        run=0,
    )


def has_changed(model: LatencyModel) -> bool:
    """Whether the last outcomes say that the cluster is not what it was."""
    return is_change(model.run)


def _begun_anew(model: LatencyModel) -> LatencyModel:
    """The same coefficients, with nothing held for certain: for a covariance that rounding has spoilt."""
    believed = (model.base_s, model.prefill_s, model.ahead_s, model.busy_s, model.queue_s)
    return msgspec.structs.replace(model, covariance=_ignorance(*believed))


def _reopened(
    covariance: tuple[float, ...], share: float, base: float, prefill: float, ahead: float, busy: float, queue: float
) -> tuple[float, ...]:
    """The covariance, that much nearer to one that knows of each coefficient its order of magnitude only."""
    fresh = _ignorance(base, prefill, ahead, busy, queue)
    return tuple([before + share * (after - before) for before, after in zip(covariance, fresh, strict=True)])


def _ignorance(base: float, prefill: float, ahead: float, busy: float, queue: float) -> tuple[float, ...]:
    """Each coefficient may be off by about itself; all of them together in proportion, and each on its own.

    What makes a cluster slower than believed (a smaller accelerator, a noisy neighbour) makes it so in everything:
    short prompts then tell what long ones will cost.
    """
    own_base, own_prefill, own_ahead, own_busy, own_queue = FLOORS_S
    together = UNSURE * PROPORTION
    alone = UNSURE - together
    return (
        *(together * base * base + alone * (base + own_base) ** 2, together * base * prefill),
        *(together * base * ahead, together * base * busy, together * base * queue),
        *(together * prefill * prefill + alone * (prefill + own_prefill) ** 2, together * prefill * ahead),
        *(together * prefill * busy, together * prefill * queue),
        *(together * ahead * ahead + alone * (ahead + own_ahead) ** 2, together * ahead * busy),
        together * ahead * queue,
        *(together * busy * busy + alone * (busy + own_busy) ** 2, together * busy * queue),
        together * queue * queue + alone * (queue + own_queue) ** 2,
    )
