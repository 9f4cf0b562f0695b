"""Prompts of a given length."""

import json
import re

import pytest

from federation.lab.text import tokenize
from router.replay.prompts import WORDS, block_text, chat_body, prompt_text
from router.replay.traces import BLOCK_TOKENS, Arrival


def test_words_are_three_letters_and_each_stands_once() -> None:
    assert len(set(WORDS)) == len(WORDS)
    assert all(re.fullmatch("[a-z]{3}", word) for word in WORDS)


@pytest.mark.parametrize("tokens", [1, 2, 5, 7, 511, 512, 513, 1_500, 20_000])
def test_a_prompt_has_as_many_tokens_as_asked_for(tokens: int) -> None:
    assert len(tokenize(prompt_text(Arrival(0.0, tokens, 1), 3, tokens))) == tokens
    with_blocks = Arrival(0.0, tokens, 1, tuple(range(1 + tokens // BLOCK_TOKENS)))
    assert len(tokenize(prompt_text(with_blocks, 3, tokens))) == tokens


def test_prompts_share_what_their_blocks_share_and_no_more() -> None:
    one = prompt_text(Arrival(0.0, 1_536, 1, (7, 8, 9)), 1, 1_536)
    two = prompt_text(Arrival(0.0, 1_536, 1, (7, 8, 10)), 2, 1_536)
    shared = BLOCK_TOKENS * 2 * 4
    assert one[:shared] == two[:shared]
    assert one[shared : shared + 32] != two[shared : shared + 32]


def test_prompts_without_blocks_differ_from_their_beginning() -> None:
    heads = {prompt_text(Arrival(0.0, 100, 1), number, 100)[:24] for number in range(5_000)}
    assert len(heads) == 5_000


def test_a_block_is_always_the_same() -> None:
    assert block_text(123_456) == block_text(123_456)
    assert block_text(1) != block_text(2)


def test_the_body_asks_for_exactly_so_many_tokens() -> None:
    body = json.loads(chat_body("m", "the cat", 44, stream=True))
    assert body == {
        "model": "m",
        "messages": [{"role": "user", "content": "the cat"}],
        "max_tokens": 44,
        "ignore_eos": True,
        "stream": True,
    }
