"""Messages survive the channel however its bytes are cut, and what is no message is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.model import Drain
from federation.outcome import Outcome, OutcomeKind
from router.settings import RouterSettings
from router.workers.evidence import Evidence
from router.workers.messages import (
    FRAME_BYTES_MAX,
    Ask,
    BadFrame,
    Beat,
    Begin,
    Figures,
    Frames,
    Message,
    Order,
    Phase,
    Step,
    Told,
    framed,
)
from router.workers.tally import Family, Sample

DRAIN = Drain(cluster="a", active=True, reason="why", version_ms=1, until_unix_ms=2)
ALL: list[Message] = [
    Begin(
        settings=RouterSettings(region="r", inventory="i", stores=("redis://h",)),
        probes=Evidence(at=1.0),
        drains=(DRAIN,),
    ),
    Order(Step.LISTEN, 3),
    Told(elsewhere=(("a", "m", 2),), drains=(DRAIN,)),
    Ask(7),
    Beat(phase=Phase.WARM, calls=1, connections=2, in_flight=(("a", "m", 1),)),
    Figures(number=7, families=(Family("f", "counter", "h", (Sample("f_total", (("l", "v"),), 1.0),)),)),
    Evidence(at=2.0, outcomes=(Outcome(cluster="a", model="m", kind=OutcomeKind.NO_ROOM, retry_after_s=2.0),)),
]


@given(st.lists(st.integers(1, 50), max_size=40))
def test_messages_come_out_as_they_went_in_wherever_the_bytes_are_cut(cuts: list[int]) -> None:
    stream = b"".join(framed(message) for message in ALL)
    frames, found, at = Frames(), [], 0
    for length in [*cuts, len(stream)]:
        found += list(frames.feed(stream[at : at + length]))
        at += length
    assert found == ALL


def test_a_frame_beyond_the_bound_is_refused_before_it_is_read() -> None:
    with pytest.raises(BadFrame, match="at most"):
        list(Frames().feed((FRAME_BYTES_MAX + 1).to_bytes(4, "big")))


@pytest.mark.parametrize("content", [b"", b"\xc1", b"\x80", b"\x81\xa4type\xa5other", b"\x81\xa4type\xa3ask"])
def test_what_is_no_message_is_refused(content: bytes) -> None:
    with pytest.raises(BadFrame):
        list(Frames().feed(len(content).to_bytes(4, "big") + content))
