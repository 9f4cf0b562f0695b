"""A heartbeat as bytes: sealed by the agent, opened by every front door.

    tw1 <order> <key id> <signature>\\n<JSON payload>

`order` is (epoch, seq) in fixed-width digits, so that text order is time order and a store
can refuse to replace a newer message without reading JSON. The signature is HMAC-SHA256,
in hex, over everything but itself. It covers the bytes, not the fields: a reader ignores
fields it does not know and still verifies.

A message is checked in this order: size, shape, key, signature, then meaning. Nothing is
decoded before the signature holds.
"""

import hashlib
import hmac
import math
from collections.abc import Mapping
from enum import StrEnum

import msgspec

from federation.model import Accelerators, Epoch, Heartbeat, ModelPool

VERSION = b"tw1"
MESSAGE_BYTES_MAX = 64 * 1024  # A cluster with 100 model pools needs about 30 KB.
KEY_BYTES_MIN = 16

NAME_LENGTH_MAX = 256
POOLS_MAX = 256
ACCELERATOR_TYPES_MAX = 64
ADAPTERS_MAX = 4096
REPLICAS_MAX = 100_000
CALLS_MAX = 10_000_000
DEVICES_MAX = 1_000_000
TOKENS_PER_S_MAX = 1e9
SECONDS_MAX = 3_600.0  # Of anything that is waited for.
INTERVAL_MS_RANGE = (50, 60_000)


class Rejection(StrEnum):
    """Why a message was not taken. The strings are metric labels."""

    OVERSIZED = "oversized"
    MALFORMED = "malformed"
    UNKNOWN_CLUSTER = "unknown_cluster"
    UNKNOWN_KEY = "unknown_key"
    BAD_SIGNATURE = "bad_signature"
    WRONG_CLUSTER = "wrong_cluster"
    IMPLAUSIBLE = "implausible"
    OLDER = "older"  # Replayed, or from an agent that was succeeded.


class Rejected(Exception):
    """A heartbeat that is not to be believed."""

    def __init__(self, cause: Rejection, detail: str) -> None:
        super().__init__(f"{cause}: {detail}")
        self.cause = cause
        self.detail = detail


_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(Heartbeat)


def order_text(epoch: Epoch, seq: int) -> bytes:
    """(epoch, seq) in fixed width, so that bytes compare as the numbers do."""
    return f"{epoch.lease_created_ms:015d}.{epoch.lease_transitions:010d}.{epoch.boot_ms:015d}.{seq:015d}".encode()


def seal(heartbeat: Heartbeat, key_id: str, secret: bytes) -> bytes:
    """The signed message for a heartbeat."""
    assert len(secret) >= KEY_BYTES_MIN, "heartbeat key too short"
    assert key_id.split() == [key_id], "a key id is one word"
    order = order_text(heartbeat.epoch, heartbeat.seq)
    payload = _ENCODER.encode(heartbeat)
    key = key_id.encode()
    return b"%s %s %s %s\n%s" % (VERSION, order, key, _signature(order, key, payload, secret), payload)


def unseal(message: bytes, cluster: str, keys: Mapping[str, Mapping[str, bytes]]) -> Heartbeat:
    """The heartbeat in a message found under `cluster`'s name. Raises Rejected with its cause.

    `keys` maps cluster name to key id to secret: several ids at once while keys rotate.
    """
    if len(message) > MESSAGE_BYTES_MAX:
        raise Rejected(Rejection.OVERSIZED, f"{len(message)} bytes, at most {MESSAGE_BYTES_MAX}")
    head, newline, payload = message.partition(b"\n")
    words = head.split(b" ")
    if not newline or len(words) != 4 or words[0] != VERSION:
        raise Rejected(Rejection.MALFORMED, "no tw1 envelope")
    _, order, key, signature = words
    known = keys.get(cluster)
    if known is None:
        raise Rejected(Rejection.UNKNOWN_CLUSTER, f"no key is configured for cluster {cluster}")
    secret = known.get(key.decode("utf-8", "replace"))
    if secret is None:
        raise Rejected(Rejection.UNKNOWN_KEY, f"key id {key[:64]!r} is not configured for cluster {cluster}")
    if not hmac.compare_digest(_signature(order, key, payload, secret), signature):
        raise Rejected(Rejection.BAD_SIGNATURE, f"not signed by cluster {cluster}")
    try:
        heartbeat = _DECODER.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Rejected(Rejection.MALFORMED, str(error)) from None
    if heartbeat.cluster != cluster:
        raise Rejected(Rejection.WRONG_CLUSTER, f"speaks for {heartbeat.cluster!r} under the name of {cluster}")
    reason = implausible(heartbeat)
    if reason is None and order != order_text(heartbeat.epoch, heartbeat.seq):
        reason = "the order in the envelope is not the payload's"
    if reason is not None:
        raise Rejected(Rejection.IMPLAUSIBLE, reason)
    return heartbeat


def implausible(heartbeat: Heartbeat) -> str | None:
    """What no honest agent would say, in words; None if nothing."""
    epoch = heartbeat.epoch
    if not all(0 <= part < 10**15 for part in (epoch.lease_created_ms, epoch.boot_ms, heartbeat.seq)):
        return "epoch or seq out of range"
    if not 0 <= epoch.lease_transitions < 10**10:
        return "lease_transitions out of range"
    low, high = INTERVAL_MS_RANGE
    if not low <= heartbeat.interval_ms <= high:
        return f"interval_ms {heartbeat.interval_ms} is not within {low} and {high}"
    if not (0 <= heartbeat.sent_unix_ms < 10**15 and 0 <= heartbeat.observed_age_ms < 10**15):
        return "sent_unix_ms or observed_age_ms out of range"
    if len(heartbeat.pools) > POOLS_MAX:
        return f"{len(heartbeat.pools)} model pools, at most {POOLS_MAX}"
    if len({pool.model for pool in heartbeat.pools}) != len(heartbeat.pools):
        return "a model stands in two pools"
    if len(heartbeat.accelerators) > ACCELERATOR_TYPES_MAX:
        return f"{len(heartbeat.accelerators)} accelerator types, at most {ACCELERATOR_TYPES_MAX}"
    for pool in heartbeat.pools:
        if (reason := _implausible_pool(pool)) is not None:
            return f"pool {pool.model[:64]!r}: {reason}"
    for accelerators in heartbeat.accelerators:
        if (reason := _implausible_accelerators(accelerators)) is not None:
            return f"accelerators {accelerators.type[:64]!r}: {reason}"
    return None


def _implausible_pool(pool: ModelPool) -> str | None:
    if not 0 < len(pool.model) <= NAME_LENGTH_MAX:
        return "model name empty or too long"
    if not (0 <= pool.replicas_ready <= REPLICAS_MAX and 0 <= pool.replicas_desired <= REPLICAS_MAX):
        return "replicas out of range"
    if not all(0 <= count <= CALLS_MAX for count in (pool.running, pool.waiting, pool.slots)):
        return "running, waiting or slots out of range"
    ratios = (pool.kv_cache_utilization_mean, pool.kv_cache_utilization_max, pool.prefix_cache_hit_ratio)
    if not all(math.isfinite(ratio) and 0 <= ratio <= 1 for ratio in ratios):
        return "a ratio is not within 0 and 1"
    rates = (pool.prefill_tokens_per_s, pool.decode_tokens_per_s)
    if not all(math.isfinite(rate) and 0 <= rate <= TOKENS_PER_S_MAX for rate in rates):
        return "a rate is out of range"
    if not 0 <= pool.time_per_output_token_s <= SECONDS_MAX:
        return "the time per output token is out of range"
    if len(pool.adapters) > ADAPTERS_MAX or len(pool.features) > ADAPTERS_MAX:
        return "too many adapters or features"
    return None


def _implausible_accelerators(accelerators: Accelerators) -> str | None:
    if not 0 < len(accelerators.type) <= NAME_LENGTH_MAX:
        return "type name empty or too long"
    counts = (
        accelerators.total,
        accelerators.ready,
        accelerators.allocated,
        accelerators.idle,
        accelerators.obtainable,
    )
    if not all(0 <= count <= DEVICES_MAX for count in counts):
        return "a count is out of range"
    if max(accelerators.ready, accelerators.idle) > accelerators.total:
        return "more devices ready or idle than there are"
    return None


def _signature(order: bytes, key: bytes, payload: bytes, secret: bytes) -> bytes:
    signed = b"%s %s %s\n%s" % (VERSION, order, key, payload)
    return hmac.new(secret, signed, hashlib.sha256).hexdigest().encode()
