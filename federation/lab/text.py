"""What an emulated model says: an endless text that is a function of the prompt and the seed. Pure.

Owns the words *piece* (the text of one token) and *key* (16 bytes that stand for prompt and seed). Piece i of a
text is picked from VOCABULARY by hash(key, i), so that any part of it can be made without the part before.

Continuing. An answer that broke off is continued with exactly what the uninterrupted one would have said, wherever
the cut was, in the middle of a word too. For chat the key comes from the conversation without the assistant's
partial text, and the partial text says by its length where to go on. A completion's prompt does not say where the
generated part begins, so every completion opens with MARK: each MARK in the prompt may be the place, and it is
the place if what follows is the beginning of the text of what precedes it. A partial text that nobody here has
written is part of the prompt like any other.

Tokens. `tokenize` cuts any text into pieces by one regular expression, and cuts a text made here into the pieces it
was made of; so counts agree between prompt, answer and usage. About 4.5 characters of English to a token.

Refused: text as a function of the text so far (as a real model's is): it finds the place by itself, but a cut in
the middle of a token changes everything after.
"""

import re
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from itertools import count
from typing import Final
from zlib import crc32

_WORDS: Final = """
    anchor harbour lantern tide sail mast compass rudder keel deck hull stern bow galley cargo pilot signal beacon
    chart sextant horizon storm breeze gale current reef shoal island coast cape strait channel delta lagoon port
    quay pier wharf dock ferry barge sloop brig cutter schoon vessel captain mate bosun crew sailor trader market
    spice silk cotton amber pepper saffron copper silver ledger letter voyage passage route course bearing league
    fathom knot north south east west dawn noon dusk night morning winter summer monsoon equator tropic the a and of
    to in with from over under between before after along across while until when where which that this these
    those every many few some most only also still then there here now soon later often never always slow swift
    steady calm rough deep shallow bright dark warm cold salt fresh long short wide narrow high low old new first
    last next far near open closed heavy light quiet loud holds carries brings takes finds leaves meets turns runs
    moves waits rests follows leads passes reaches crosses returns arrives departs loads lands sights marks counts
    keeps trades learns tells asks answers knows sees hears steers drifts rises falls begins ends opens closes
    café naïve señal Übersee façade mañana 港口 貿易 海 船 čluk łódź ветер море
"""

VOCABULARY: Final = (*(" " + word for word in _WORDS.split()), *([",", "."] * 9), " ⛵", " 🚢", "\n", ";")
"""Each is one piece of `tokenize`, after any other; at most 256, one byte of a hash picks one."""

MARK: Final = "§"
_KEY_BYTES: Final = 16
_PIECES_PER_HASH: Final = 64  # blake2b's longest digest
_PIECE: Final = re.compile(r" ?\w{1,7}| ?[^\w\s]|\s")
_MARKS_TRIED: Final = 8
_TOKEN_IDS: Final = 128_256  # the size of Llama 3's vocabulary
SHORTEST_ANSWER: Final = 20
LONGEST_ANSWER: Final = 200


def tokenize(text: str) -> list[str]:
    """The pieces of any text; they join to the text again."""
    return _PIECE.findall(text)


def token_id(piece: str) -> int:
    """A stable number for a piece; two pieces may share one."""
    return crc32(piece.encode("utf-8", "surrogatepass")) % _TOKEN_IDS


_PIECES_BY_ID: Final = {token_id(piece.removeprefix(" ")): piece.removeprefix(" ") for piece in VOCABULARY} | {
    token_id(piece): piece for piece in VOCABULARY
}


def piece_of(number: int) -> str:
    """A piece that has this number; one of ours if it can be."""
    return _PIECES_BY_ID.get(number, f"<{number}>")


def block_hashes(pieces: Sequence[str], block_tokens: int) -> tuple[bytes, ...]:
    """A hash for each full block, of everything up to its end; equal prefixes give equal leading hashes."""
    chain = blake2b(digest_size=8)
    hashes = []
    for end in range(block_tokens, len(pieces) + 1, block_tokens):
        chain.update("\x00".join(pieces[end - block_tokens : end]).encode("utf-8", "surrogatepass"))
        hashes.append(chain.digest())
    return tuple(hashes)


def key_of(prompt: str, seed: int) -> bytes:
    """What the text is a function of."""
    salt = blake2b(str(seed).encode(), digest_size=16).digest()
    return blake2b(prompt.encode("utf-8", "surrogatepass"), digest_size=_KEY_BYTES, salt=salt).digest()


def natural_tokens(key: bytes) -> int:
    """How many pieces the answer has if nothing ends it earlier, SHORTEST_ANSWER..LONGEST_ANSWER."""
    return SHORTEST_ANSWER + int.from_bytes(key[:4], "big") % (LONGEST_ANSWER - SHORTEST_ANSWER + 1)


def pieces_from(key: bytes, first: int, opening: str = "") -> Iterator[str]:
    """Pieces first, first + 1, ... of the endless text. `opening`, if any, is piece 0; it comes without a space."""
    size = len(VOCABULARY)
    for row in count(first // _PIECES_PER_HASH):
        picks = blake2b(row.to_bytes(8, "big"), key=key).digest()
        for position in range(_PIECES_PER_HASH):
            index = row * _PIECES_PER_HASH + position
            if index >= first:
                piece = VOCABULARY[picks[position] % size]
                yield piece if index else opening or piece.removeprefix(" ")


class Place:
    """Where in an endless text an answer begins: at piece `index`, of which only `rest` is left ("" = all)."""

    __slots__ = ("index", "key", "opening", "rest")

    def __init__(self, key: bytes, opening: str, index: int = 0, rest: str = "") -> None:
        self.key = key
        self.opening = opening
        self.index = index
        self.rest = rest

    def pieces(self) -> Iterator[str]:
        """The endless rest of the text."""
        if self.rest:
            yield self.rest
            yield from pieces_from(self.key, self.index + 1, self.opening)
        else:
            yield from pieces_from(self.key, self.index, self.opening)

    def natural_tokens(self) -> int:
        """How many of these pieces belong to the natural answer; none if it is already complete."""
        return max(0, natural_tokens(self.key) - self.index)


def place_after(partial: str, key: bytes, opening: str) -> Place | None:
    """The place behind `partial` in the text of `key`; None if that text does not begin with it."""
    at = 0
    for index, piece in enumerate(pieces_from(key, 0, opening)):
        if at == len(partial):
            return Place(key, opening, index)
        end = at + len(piece)
        if end > len(partial):
            kept = len(partial) - at
            return Place(key, opening, index, piece[kept:]) if partial[at:] == piece[:kept] else None
        if partial[at:end] != piece:
            return None
        at = end
    raise AssertionError("the text is endless")


def place_in_chat(conversation: str, partial: str, seed: int) -> Place:
    """Where the answer to a rendered conversation goes on, `partial` of it being there already."""
    found = place_after(partial, key_of(conversation, seed), "")
    return found or Place(key_of(conversation + partial, seed), "")


def place_in_completion(prompt: str, seed: int) -> Place:
    """Where the answer to `prompt` begins, or goes on if the prompt ends with an answer's beginning."""
    end = len(prompt)
    for _ in range(_MARKS_TRIED):
        start = prompt.rfind(MARK, 0, end)
        if start < 0:
            break
        found = place_after(prompt[start:], key_of(prompt[:start], seed), MARK)
        if found:
            return found
        end = start
    return Place(key_of(prompt, seed), MARK)
