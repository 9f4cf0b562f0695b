"""One answer, known in full before its first token is due: what each token makes visible, and why it ends. Pure.

The replica model says *when* a token comes, this says *what* it brings. As vLLM does it: an answer that ends by
itself spends one last token, of no text, on saying so; a text that could be the beginning of a stop string is
withheld until the next token decides; the stop string itself is not shown.
"""

from dataclasses import dataclass
from itertools import islice

from federation.lab.text import Place


@dataclass(frozen=True, slots=True)
class Answer:
    """`visible[i]` is the text that token i brings to light, often one piece, sometimes none."""

    visible: tuple[str, ...]
    finish_reason: str  # "stop" or "length"
    stop_reason: str | None  # the stop string that ended it

    @property
    def tokens(self) -> int:
        return len(self.visible)

    @property
    def text(self) -> str:
        return "".join(self.visible)


def answer(place: Place, max_tokens: int, stop: tuple[str, ...] = (), ignore_eos: bool = False) -> Answer:
    """The answer from `place` on, of at least one and at most `max_tokens` tokens."""
    natural = max_tokens if ignore_eos else place.natural_tokens()
    pieces = list(islice(place.pieces(), min(natural, max_tokens)))
    ends_itself = natural < max_tokens
    if stop:
        stopped = _stopped(pieces, stop, ends_itself)
        if stopped:
            return stopped
        visible = _withheld(pieces, stop)
    else:
        visible = pieces
    if ends_itself:
        visible.append("")
    if stop:
        # Nothing is withheld once the answer is over.
        visible[-1] += "".join(pieces)[sum(map(len, visible)) :]
    return Answer(tuple(visible), "stop" if ends_itself else "length", None)


def _stopped(pieces: list[str], stop: tuple[str, ...], ends_itself: bool) -> Answer | None:
    """The answer as its first stop string ends it; None if none occurs."""
    text = "".join(pieces)
    # The string that is complete first ends the answer; of those that are complete together, the longer one.
    hits = [(text.find(string) + len(string), -len(string), string) for string in stop if string in text]
    if not hits:
        return None
    end, _, string = min(hits)
    shown = text[: end - len(string)]
    length = tokens = 0
    while length < end:
        length += len(pieces[tokens])
        tokens += 1
    visible = _withheld(pieces[:tokens], stop)
    seen = 0
    for index, part in enumerate(visible):
        visible[index] = part[: max(0, len(shown) - seen)]
        seen += len(part)
    visible[-1] += shown[sum(map(len, visible)) :]
    return Answer(tuple(visible), "stop", string)


def _withheld(pieces: list[str], stop: tuple[str, ...]) -> list[str]:
    """What each piece makes visible when the beginning of a stop string is kept back."""
    longest = max(map(len, stop)) - 1
    visible, pending = [], ""
    for piece in pieces:
        pending += piece
        keep = 0
        for length in range(min(longest, len(pending)), 0, -1):
            if any(string.startswith(pending[-length:]) for string in stop):
                keep = length
                break
        cut = len(pending) - keep
        visible.append(pending[:cut])
        pending = pending[cut:]
    return visible
