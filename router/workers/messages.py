"""The words of the channel between the parent and a worker, and how they are cut from a stream of bytes. Pure.

A frame is four bytes of length, then MessagePack. Both ends are of one version: the parent
starts its workers from the code that it runs itself.
"""

from collections.abc import Iterator
from enum import StrEnum

import msgspec

from federation.model import Drain
from router.settings import RouterSettings
from router.workers.evidence import Evidence
from router.workers.tally import Family

FRAME_BYTES_MAX = 4 * 1024 * 1024
LENGTH_BYTES = 4

Counts = tuple[tuple[str, str, int], ...]  # (cluster, model, calls there now).


class Begin(msgspec.Struct, frozen=True, tag="begin", kw_only=True):
    """The first word to a worker: what it is, and what is known already."""

    settings: RouterSettings
    probes: Evidence
    drains: tuple[Drain, ...]


class Step(StrEnum):
    """What a worker is to do next."""

    LISTEN = "listen"  # Take connections.
    END = "end"  # End well: lame duck, then no new connections, then the grace period.
    CUT = "cut"  # End at once.


class Order(msgspec.Struct, frozen=True, tag="order"):
    step: Step
    place: int = 0  # For LISTEN: the number of the place, from 0.


class Told(msgspec.Struct, frozen=True, tag="told", kw_only=True):
    """Ten times a second: the calls of the other workers, and drains that this one was not told of yet."""

    elsewhere: Counts
    drains: tuple[Drain, ...] = ()


class Ask(msgspec.Struct, frozen=True, tag="ask"):
    """Somebody reads the metrics: figures, now."""

    number: int


class Phase(StrEnum):
    """How far a worker is."""

    WARM = "warm"  # Everything is loaded, the fleet has been heard: it waits for the word to listen.
    LISTENING = "listening"
    LAME_DUCK = "lame_duck"  # Still takes connections, and says on each that it closes.
    CLOSED = "closed"  # Takes no connections; finishes its calls.


class Beat(msgspec.Struct, frozen=True, tag="beat", kw_only=True):
    """Ten times a second: a worker lives, and what it has under way."""

    phase: Phase
    calls: int
    connections: int
    in_flight: Counts


class Figures(msgspec.Struct, frozen=True, tag="figures", kw_only=True):
    """Once a second, and when asked: everything that a worker counts."""

    number: int  # Of the question; 0: unasked.
    families: tuple[Family, ...]


ToWorker = Begin | Order | Told | Ask | Evidence
ToParent = Beat | Figures | Evidence
Message = ToWorker | ToParent


class BadFrame(Exception):
    """Bytes that are no message of ours."""


def framed(message: Message) -> bytes:
    """A message as it goes over the channel."""
    content = msgspec.msgpack.encode(message)
    return len(content).to_bytes(LENGTH_BYTES, "big") + content


class Frames:
    """Cuts messages out of a stream of bytes."""

    def __init__(self) -> None:
        self._decoder = msgspec.msgpack.Decoder(Message)
        self._bytes = bytearray()

    def feed(self, data: bytes) -> Iterator[Message]:
        """The messages that are complete with these bytes. Raises BadFrame."""
        self._bytes += data
        while len(self._bytes) >= LENGTH_BYTES:
            end = LENGTH_BYTES + length_of(self._bytes)
            if len(self._bytes) < end:
                return
            content = bytes(memoryview(self._bytes)[LENGTH_BYTES:end])
            del self._bytes[:end]
            yield self.message(content)

    def message(self, content: bytes) -> Message:
        """What one frame holds. Raises BadFrame."""
        try:
            message: Message = self._decoder.decode(content)
            return message
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise BadFrame(f"not a message: {error}") from None


def length_of(head: bytes | bytearray) -> int:
    """The length that a frame's first bytes tell. Raises BadFrame."""
    length = int.from_bytes(head[:LENGTH_BYTES], "big")
    if length > FRAME_BYTES_MAX:
        raise BadFrame(f"a frame of {length} bytes; at most {FRAME_BYTES_MAX} are allowed")
    return length
