"""What stands under a key in a store, as bytes: the drain record, and the order word of a heartbeat."""

import msgspec

from federation.model import Drain
from federation.wire import VERSION

# An undrain, and a drain that has ended, stay this long, so that every front door that still
# holds the older record finds the newer one.
DRAIN_KEPT_MS = 3_600_000
DRAIN_AHEAD_MS_MAX = 366 * 24 * 3_600_000  # No drain is kept longer than this, whatever it says.

_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(Drain)


def order_of(message: bytes) -> bytes | None:
    """The order word in the envelope of a heartbeat (federation.wire); None if this is no heartbeat."""
    words = message[:256].split(b" ", 2)
    if len(words) != 3 or words[0] != VERSION or not words[1].replace(b".", b"").isdigit():
        return None
    return words[1]


def encode_drain(drain: Drain) -> bytes:
    return _ENCODER.encode(drain)


def decode_drain(cluster: str, record: bytes) -> Drain | None:
    """The drain found under `cluster`'s name; None if that is not what the bytes say."""
    try:
        drain = _DECODER.decode(record)
    except (msgspec.DecodeError, RecursionError):
        return None
    return drain if drain.cluster == cluster else None


def drain_ttl_ms(until_unix_ms: int, wall_ms: int) -> int:
    """How long a drain record is kept: until an hour after its end, and at least an hour from now."""
    return min(max(until_unix_ms - wall_ms, 0), DRAIN_AHEAD_MS_MAX) + DRAIN_KEPT_MS
