"""Which failed calls count as ones that could have been saved."""

import pytest

from tests.app.fleet import REGIONS
from tests.soak.ask import Kind
from tests.soak.faults import Condition, Fault, FaultKind
from tests.soak.verdict import Verdict, verdict
from tests.unit.soak.runs import CONDITIONS, failed, fault

BROKE = "stream_broken: The cluster's answer broke off"
KILL = fault(FaultKind.KILL)
BOTH = [KILL, fault(FaultKind.CUT, REGIONS[1])]


@pytest.mark.parametrize(
    ("kind", "error", "came", "faults", "expected"),
    [
        (Kind.CHAT, "upstream_failed: 502", {}, [KILL], Verdict.SAVEABLE),
        (Kind.CHAT, "no_room: 429", {"status": 429}, BOTH, Verdict.SAVEABLE),
        (Kind.CHAT, "clusters_broken: 2", {"status": 502}, BOTH, Verdict.BROKE_TWO),
        (Kind.CHAT, "clusters_broken: 2", {"status": 502}, [KILL], Verdict.SAVEABLE),
        (Kind.CHAT_STREAM, BROKE, {"status": 200, "received": 9}, [KILL], Verdict.SAVEABLE),
        (Kind.CHAT_STREAM, BROKE, {"status": 200, "received": 9}, BOTH, Verdict.BROKE_TWO),
        (Kind.TOOLS_STREAM, BROKE, {"status": 200, "received": 9}, [KILL], Verdict.BEGUN),
        (Kind.TOOLS_STREAM, BROKE, {"status": 200, "received": 9}, [], Verdict.SAVEABLE),
        (Kind.TOOLS_STREAM, "no_cluster: none", {"status": 503}, [KILL], Verdict.SAVEABLE),
        (Kind.SLOW_VECTORS, "the connection ended", {"status": 200, "received": 9}, [KILL], Verdict.BEGUN),
        (Kind.SLOW_VECTORS, "the connection ended", {}, [KILL], Verdict.SAVEABLE),
        (Kind.MESSAGES_STREAM, BROKE, {"status": 200, "received": 9}, [fault(FaultKind.FREEZE)], Verdict.BEGUN),
        (Kind.MESSAGES_STREAM, BROKE, {"status": 200, "received": 9}, [fault(FaultKind.SLOW)], Verdict.SAVEABLE),
        (Kind.CHAT, "server_error: 500", {"status": 502}, [fault(FaultKind.ERRORS)], Verdict.SAVEABLE),
        (Kind.BAD, "502 instead of 400", {"status": 502}, [KILL], Verdict.SAVEABLE),
    ],
)
def test_reason_is_one_that_the_design_gives(
    kind: Kind, error: str, came: dict, faults: list[Fault], expected: Verdict
) -> None:
    assert verdict(failed(kind, error, **came), faults, CONDITIONS) is expected


def test_two_clusters_that_answer_500_are_enough() -> None:
    faults = [fault(FaultKind.ERRORS, region) for region in REGIONS[:2]]
    assert verdict(failed(Kind.CHAT, "upstream_failed", status=502), faults, CONDITIONS) is Verdict.TWO_ERRORS


def test_without_a_whole_region_nothing_can_be_saved() -> None:
    full = Condition("admitted", "fresh", 1.0, drained=False)
    record = failed(Kind.CHAT, "no_room: 429", status=429)
    assert verdict(record, [KILL], dict.fromkeys(REGIONS, full)) is Verdict.NOBODY
    others = [KILL, *(fault(FaultKind.SLOW, region) for region in REGIONS[1:])]
    assert verdict(record, others, CONDITIONS) is Verdict.NOBODY


def test_nothing_excuses_a_wrong_answer() -> None:
    full = dict.fromkeys(REGIONS, Condition("ejected", "lost", None, drained=True))
    record = failed(Kind.CHAT_STREAM, "wrong text from character 3 on", status=200, received=9)
    assert verdict(record, BOTH, full) is Verdict.SAVEABLE


def test_fault_long_past_excuses_nothing() -> None:
    old = [fault(FaultKind.KILL, region, 1.0, 5.0) for region in REGIONS[:2]]
    record = failed(Kind.TOOLS_STREAM, BROKE, status=200, received=9)
    assert verdict(record, old, CONDITIONS) is Verdict.SAVEABLE
