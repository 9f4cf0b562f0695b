"""Answers: how they end, and what each token makes visible."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.lab.answer import answer
from federation.lab.text import place_in_completion

PLACE = place_in_completion("hello", 0)
NATURAL = PLACE.natural_tokens()
TEXT = answer(PLACE, 1_000).text


def test_an_answer_that_ends_by_itself_spends_a_token_on_saying_so() -> None:
    ended = answer(PLACE, 1_000)
    assert ended.finish_reason == "stop"
    assert ended.stop_reason is None
    assert ended.tokens == NATURAL + 1
    assert ended.visible[-1] == ""


def test_max_tokens_ends_it_earlier() -> None:
    assert answer(PLACE, 5).finish_reason == "length"
    assert answer(PLACE, 5).tokens == 5
    assert answer(PLACE, NATURAL).finish_reason == "length"
    assert answer(PLACE, NATURAL).text == TEXT


def test_ignore_eos_runs_to_max_tokens() -> None:
    endless = answer(PLACE, NATURAL + 50, ignore_eos=True)
    assert endless.tokens == NATURAL + 50
    assert endless.finish_reason == "length"
    assert endless.text.startswith(TEXT)


def test_a_stop_string_ends_it_and_is_not_shown() -> None:
    words = TEXT.split(" ")
    stop = f"{words[6]} {words[7]}"
    stopped = answer(PLACE, 1_000, (stop, "never there"))
    assert stopped.text == TEXT[: TEXT.index(stop)]
    assert stopped.finish_reason == "stop"
    assert stopped.stop_reason == stop


def test_what_may_become_a_stop_string_is_withheld_until_it_cannot() -> None:
    third = answer(PLACE, 3).visible[2]
    held = answer(PLACE, 10, (third + "!",))
    plain = answer(PLACE, 10)
    assert held.visible[2] == ""
    assert held.visible[3] == plain.visible[2] + plain.visible[3]
    assert held.text == plain.text
    assert answer(PLACE, 3, (third + "!",)).text == answer(PLACE, 3).text  # shown when the answer is over


def test_a_complete_answer_continued_is_one_token_of_no_text() -> None:
    ended = answer(place_in_completion("hello" + TEXT, 0), 10)
    assert (ended.visible, ended.finish_reason) == (("",), "stop")


@pytest.mark.parametrize("limit", [7, 1_000])
@given(start=st.integers(0, 150), length=st.integers(1, 25), tail=st.sampled_from(["", "#"]))
def test_nothing_shown_ever_has_to_be_taken_back(limit, start, length, tail) -> None:
    """Whatever the stop string: the visible text is the plain one up to its first occurrence, and at no token
    is more visible than what could not be part of it."""
    plain = answer(PLACE, limit)
    stop = (TEXT[start : start + length] or "x") + tail
    stopped = answer(PLACE, limit, (stop,))
    if stop in plain.text:
        assert stopped.text == plain.text[: plain.text.index(stop)]
        assert stopped.stop_reason == stop
    else:
        assert stopped.text == plain.text
        assert stopped.tokens == plain.tokens
        assert stopped.finish_reason == plain.finish_reason
    shown = made = ""
    for token, part in enumerate(stopped.visible[:-1]):
        shown += part
        made += plain.visible[token]
        assert made.startswith(shown)
        assert not any(made[len(shown) - back :].startswith(stop) for back in range(len(stop)) if back <= len(shown))
