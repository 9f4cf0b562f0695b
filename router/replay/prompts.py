"""Prompts of a given length that mean nothing. Pure.

A token is a word of three letters and a space: one token to nearly every tokenizer, four
characters. Two prompts are equal exactly as far as their blocks are; without blocks every
prompt differs from its first words on, so that no prefix cache can help.
"""

from functools import lru_cache
from random import Random
from typing import Final

import msgspec

from router.replay.traces import BLOCK_TOKENS, Arrival

_WORDS: Final = """
    the and for are but not you all any can had her was one our out day get has him his how man new now old see two way
    who boy did its let put say she too use air arm art ask bad bag bed big box bus buy car cat cow cry cup cut dog
"""
WORDS: Final = _WORDS.split()
TOKEN_CHARACTERS: Final = 4
ID_TOKENS: Final = 6  # len(WORDS) ** 6 is about 2e10: more ids than any trace has.
BLOCKS_KEPT: Final = 4_096  # 8 MB of them.
_BELT_TOKENS: Final = 8_192

_BELT: Final = " ".join(Random(512).choices(WORDS, k=_BELT_TOKENS + BLOCK_TOKENS)) + " "


@lru_cache(maxsize=BLOCKS_KEPT)
def block_text(block: int) -> str:
    """The 512 tokens that a hash id stands for; begins with the id, in words."""
    start = Random(block).randrange(_BELT_TOKENS) * TOKEN_CHARACTERS
    length = (BLOCK_TOKENS - ID_TOKENS) * TOKEN_CHARACTERS
    return _id_words(block) + _BELT[start : start + length]


def prompt_text(arrival: Arrival, number: int, tokens: int) -> str:
    """A prompt of `tokens` tokens for an arrival; `number` sets it apart from all others beyond its blocks."""
    length = tokens * TOKEN_CHARACTERS
    pieces: list[str] = []
    missing = length
    for block in arrival.blocks:
        if missing <= 0:
            break
        pieces.append(block_text(block))
        missing -= len(pieces[-1])
    if missing > 0:
        pieces.append(_id_words(number))
        pieces.append(_BELT * (1 + missing // len(_BELT)))
    return "".join(pieces)[:length].rstrip()


def _id_words(number: int) -> str:
    words: list[str] = []
    for _ in range(ID_TOKENS):
        number, digit = divmod(number, len(WORDS))
        words.append(WORDS[digit])
    return " ".join(words) + " "


class _Message(msgspec.Struct):
    role: str
    content: str


class _Body(msgspec.Struct):
    model: str
    messages: list[_Message]
    max_tokens: int
    ignore_eos: bool
    stream: bool


_ENCODE: Final = msgspec.json.Encoder().encode


def chat_body(model: str, prompt: str, max_tokens: int, *, stream: bool) -> bytes:
    """A chat request whose answer has exactly `max_tokens` tokens, where the server knows `ignore_eos`."""
    return _ENCODE(_Body(model, [_Message("user", prompt)], max_tokens, True, stream))
