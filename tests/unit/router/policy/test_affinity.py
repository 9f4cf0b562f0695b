"""Beginnings of prompts, and who is believed to have them."""

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.policy.affinity import (
    ENDS,
    PIECE_BYTES,
    PIECES_PER_DOUBLING,
    PREFIX_BYTES_MAX,
    STEADY_BYTES,
    Prefix,
    cached_shares,
    prefix_of,
    seed_of,
    session_key,
)
from router.policy.placements import Placements

SEED = seed_of("llama")
SYSTEM = {"role": "system", "content": "You are a patient assistant. " * 100}


def said(number: int, length: int = 3000) -> dict[str, str]:
    return {"role": "user" if number % 2 else "assistant", "content": f"{number} says " + "word " * (length // 5)}


def chat(*messages: dict[str, str], **fields: Any) -> bytes:
    return json.dumps({"model": "llama", **fields, "messages": list(messages), "stream": True}).encode()


def common(one: Prefix, two: Prefix) -> int:
    """How many leading keys are equal."""
    same = [a == b for a, b in zip(one.keys, two.keys, strict=False)]
    return same.index(False) if False in same else len(same)


def test_next_turn_begins_with_the_turn_before() -> None:
    turn = [SYSTEM, said(1), said(2), said(3)]
    before, after = prefix_of(chat(*turn[:2]), SEED), prefix_of(chat(*turn), SEED)
    assert common(before, after) >= len(before.keys) - 1
    assert len(before.keys) >= 5


def test_other_members_in_front_of_the_prompt_do_not_disturb() -> None:
    one = prefix_of(chat(SYSTEM, said(1)), SEED)
    two = prefix_of(chat(SYSTEM, said(1), temperature=0.7, user="somebody", max_tokens=100), SEED)
    assert one.keys == two.keys


def test_one_byte_changes_all_that_follows_and_nothing_before() -> None:
    body = chat(SYSTEM, said(1, 20_000))
    place = body.index(b"messages") + 5 * PIECE_BYTES
    changed = body[:place] + b"#" + body[place + 1 :]
    one, two = prefix_of(body, SEED), prefix_of(changed, SEED)
    assert common(one, two) == 4
    assert not set(one.keys[4:]) & set(two.keys)


def test_models_do_not_share() -> None:
    body = chat(SYSTEM, said(1))
    assert common(prefix_of(body, SEED), prefix_of(body, seed_of("llama", "adapter"))) == 0


def test_the_member_is_found_by_its_name_and_not_in_a_string() -> None:
    tricky = json.dumps({"user": 'they call it "messages":', "messages": [SYSTEM]}).encode()
    plain = json.dumps({"messages": [SYSTEM]}).encode()
    assert prefix_of(tricky, SEED).keys == prefix_of(plain, SEED).keys
    other = json.dumps({"prompt": "word " * 1000}).encode()
    assert prefix_of(other, SEED, b'"prompt"').keys
    assert prefix_of(other, SEED).keys, "without the member the whole body is hashed"


def test_short_prompts_have_no_beginnings() -> None:
    prefix = prefix_of(chat(said(1, 100)), SEED)
    assert prefix.keys == ()
    assert prefix.home_key is None
    assert cached_shares(Placements(), prefix, 0.0) == {}


def test_pieces_grow_with_the_prompt() -> None:
    assert ENDS[0] == PIECE_BYTES
    assert ENDS[-1] == PREFIX_BYTES_MAX
    assert len(ENDS) < 64
    for before, end in pairwise(ENDS):
        assert end - before <= max(PIECE_BYTES, before // PIECES_PER_DOUBLING)
    assert ENDS[15] == STEADY_BYTES


def test_bytearrays_may_be_changed_afterwards() -> None:
    body = bytearray(chat(SYSTEM))
    assert prefix_of(body, SEED) == prefix_of(bytes(body), SEED)
    body.append(1)


def test_cluster_that_served_the_turn_before_is_believed_to_have_it() -> None:
    placements = Placements(lifetime_s=100.0)
    placements.note(prefix_of(chat(SYSTEM, said(1), said(2)), SEED).keys, "a", 0.0)
    placements.note(prefix_of(chat(SYSTEM, said(7)), SEED).keys, "b", 0.0)
    shares = cached_shares(placements, prefix_of(chat(SYSTEM, said(1), said(2), said(3)), SEED), 0.0)
    assert shares["a"] == pytest.approx(2 / 3, abs=0.15)
    assert shares["b"] == pytest.approx(0.22, abs=0.1), "what all calls of this application begin with"
    faded = cached_shares(placements, prefix_of(chat(SYSTEM, said(1), said(2), said(3)), SEED), 50.0)
    assert faded["a"] == pytest.approx(shares["a"] / 2)


def test_sessions_have_keys_of_their_own() -> None:
    assert session_key("t", "s") == session_key("t", "s")
    assert len({session_key("t", "s"), session_key("u", "s"), session_key("t", "s2")}) == 3
    assert session_key("t", "s") > max(prefix_of(chat(SYSTEM), SEED).keys)


@given(st.binary(max_size=40_000), st.binary(max_size=5_000), st.binary(max_size=5_000))
def test_equal_beginnings_have_equal_keys(shared: bytes, one: bytes, two: bytes) -> None:
    marked = b'"messages"' + shared
    first, second = prefix_of(marked + one, SEED), prefix_of(marked + two, SEED)
    pieces = sum(1 for end in ENDS if end <= len(shared))
    assert first.keys[:pieces] == second.keys[:pieces]
    assert len(first.keys) == sum(1 for end in ENDS if end <= first.prompt_bytes)


@given(st.binary(max_size=3_000))
def test_shares_never_exceed_the_prompt(body: bytes) -> None:
    placements = Placements()
    prefix = prefix_of(body, SEED)
    placements.note(prefix.keys, "a", 0.0)
    assert all(0.0 < share <= 1.0 for share in cached_shares(placements, prefix, 0.0).values())
