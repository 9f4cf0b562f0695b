"""Which beginning two prompts have in common, and what of a prompt each cluster is believed to have cached. Pure.

A model server keeps the KV cache of prompts by blocks, each named by a hash of everything up to its end, and computes
only what follows the longest beginning that it has. A front door cannot see those blocks, but it can do as they do: cut
the prompt's bytes at fixed places, chain a checksum over the pieces, and remember where it sent each beginning
(`placements`). Those are approximate prefix caches as in llm-d's router, on bytes instead of tokens.

What is hashed: the request's body from the name of the member that holds the prompt (`messages`, say) to its end. JSON
keeps the order of messages, so the next turn of a conversation begins with the bytes of the one before, and members in
front of the prompt (the model, the temperature) do not disturb; those behind it fall into pieces that only an equal
conversation reaches. Nothing is decoded: a prompt that is written differently is taken for another one, which costs
time and never correctness.

Pieces are PIECE_BYTES long up to STEADY_BYTES and then grow with the prompt, an eighth of its size each: 8 KB take 8,
half a megabyte takes 56. The checksum is CRC-32, because it is the fastest chained hash in the standard library; with
its depth beside it, a new beginning is taken for one of 100,000 remembered ones at most once in 40,000 times, which
costs one prompt computed anew. Who wants to can make prompts collide: their own, to their own loss. Not `hash()`: it
differs between processes, and front doors must agree where a prefix is at home (`rendezvous`).

Refused: hashing decoded messages (30 times as dear, for clients that write the same conversation in two ways); a tree
of prompts, as SGLang's router keeps (exact to the byte, but it holds the prompts); asking the clusters which blocks
they have (events for every block, over oceans).
"""

from typing import Final
from zlib import crc32

import msgspec

from router.policy.placements import Placements

PIECE_BYTES: Final = 1024  # About 250 tokens: less takes an accelerator 10 ms and is not worth a detour.
STEADY_BYTES: Final = 16 * 1024
PIECES_PER_DOUBLING: Final = 8
PREFIX_BYTES_MAX: Final = 512 * 1024  # 160 microseconds; what follows is not looked at.

PROMPT_MEMBERS: Final = (
    b'"messages"',
    b'"prompt"',
    b'"input"',
)  # Chat and Anthropic's messages; completions; responses.

_DEPTH: Final = 1 << 32


def _ends() -> tuple[int, ...]:
    """Where pieces end, from the prompt's beginning."""
    ends, step = [], PIECE_BYTES
    end = PIECE_BYTES
    while end <= PREFIX_BYTES_MAX:
        ends.append(end)
        if end >= STEADY_BYTES and end & (end - 1) == 0:
            step = end // PIECES_PER_DOUBLING
        end += step
    return tuple(ends)


ENDS: Final = _ends()


class Prefix(msgspec.Struct, frozen=True, gc=False):
    """A prompt's beginnings: each key stands for everything up to the end in ENDS at the same place."""

    keys: tuple[int, ...]
    prompt_bytes: int  # From the prompt's beginning to the end of the body.

    @property
    def home_key(self) -> int | None:
        """What decides where calls like this one are at home; None for prompts too short to care."""
        return self.keys[0] if self.keys else None


def prefix_of(body: bytes | bytearray, seed: int, member: bytes = PROMPT_MEMBERS[0]) -> Prefix:
    """The beginnings of a body's prompt. `seed`: `seed_of` what must be equal for a cache to be of use."""
    start = body.find(member)
    start = start + len(member) if start >= 0 else 0
    prompt_bytes = len(body) - start
    if prompt_bytes < PIECE_BYTES:
        return Prefix((), prompt_bytes)
    keys: list[int] = []
    checksum, before, depth = seed, start, 0
    for end in ENDS:
        if end > prompt_bytes:
            break
        end += start
        checksum = crc32(body[before:end], checksum)
        keys.append(depth | checksum)
        before = end
        depth += _DEPTH
    return Prefix(tuple(keys), prompt_bytes)


def seed_of(*parts: str) -> int:
    """Where a chain of checksums begins: of the model, the adapter, and whatever else keeps caches apart."""
    return crc32("\0".join(parts).encode())


def session_key(tenant: str, session: str) -> int:
    """The key of a session; never equal to one of a prefix."""
    return crc32(f"{tenant}\0{session}".encode()) | 1 << 62


def cached_shares(placements: Placements, prefix: Prefix, now: float) -> dict[str, float]:
    """The share of the prompt that each cluster is believed to have cached, 0..1; clusters not named have nothing."""
    prompt_bytes = prefix.prompt_bytes
    return {
        cluster: belief * ENDS[depth - 1] / prompt_bytes
        for cluster, (depth, belief) in placements.depths(prefix.keys, now).items()
    }
