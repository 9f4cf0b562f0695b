"""One line a change, and none without."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.ejection import Standing
from federation.model import Belief, Mode, Snapshot
from federation.transitions import Transition, transitions
from tests.build import NOW, belief, drain, ejected, probation, snapshot, spec


def told(before: Snapshot, after: Snapshot, later_s: float = 0.0) -> list[Transition]:
    return list(transitions(before, after, NOW, NOW + later_s))


ONE = snapshot(belief("a"))


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        pytest.param(
            ONE, replace(ONE, mode=Mode.FROZEN), Transition("mode", None, "live", "frozen"), id="stores cannot be heard"
        ),
        pytest.param(
            ONE,
            snapshot(belief("a"), belief("b")),
            Transition("inventory", "b", "absent", "declared"),
            id="cluster declared",
        ),
        pytest.param(ONE, snapshot(), Transition("inventory", "a", "declared", "removed"), id="cluster removed"),
        pytest.param(
            snapshot(belief(heartbeat=None)), ONE, Transition("liveness", "a", "lost", "fresh"), id="heard for once"
        ),
        pytest.param(
            ONE,
            snapshot(belief(standing=ejected())),
            Transition("standing", "a", "admitted", "ejected", "failing"),
            id="ejected",
        ),
        pytest.param(
            ONE,
            snapshot(belief(standing=Standing(doubted_until=1e9))),
            Transition("standing", "a", "admitted", "doubted", "failing, as half the fleet"),
            id="doubted",
        ),
        pytest.param(
            snapshot(belief(standing=Standing(doubted_until=1e9))),
            ONE,
            Transition("standing", "a", "doubted", "admitted"),
            id="doubted no more",
        ),
        pytest.param(
            snapshot(belief(standing=probation())),
            snapshot(belief(standing=Standing(times=1))),
            Transition("standing", "a", "probation", "admitted"),
            id="admitted again",
        ),
        pytest.param(
            ONE,
            snapshot(belief(drain=drain())),
            Transition("drain", "a", "serving", "drained", "maintenance"),
            id="drained",
        ),
        pytest.param(
            snapshot(belief(drain=drain())),
            snapshot(belief(drain=drain(active=False, version_ms=2, reason="done"))),
            Transition("drain", "a", "drained", "serving", "done"),
            id="undrained",
        ),
    ],
)
def test_change_is_told_in_one_line(before: Snapshot, after: Snapshot, expected: Transition) -> None:
    assert told(before, after) == [expected]


def test_time_alone_makes_a_statement_stale_and_lost() -> None:
    assert told(ONE, ONE, 5) == [Transition("liveness", "a", "fresh", "stale")]
    assert told(ONE, ONE, 50) == [Transition("liveness", "a", "fresh", "lost")]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(belief(), belief(rtt_s=0.1), id="a probe's time"),
        pytest.param(belief(), belief(standing=Standing(silent_probes=2)), id="a silent probe"),
        pytest.param(belief(drain=drain()), belief(drain=drain(version_ms=2)), id="a drain made longer"),
        pytest.param(belief(), belief(drain=drain(active=False)), id="the end of a drain never seen"),
        pytest.param(belief(), belief(spec=spec(slots=4)), id="a changed bound"),
    ],
)
def test_what_is_no_change_of_state_is_not_told(before: Belief, after: Belief) -> None:
    assert told(snapshot(before), snapshot(after)) == []


def test_changes_come_in_cluster_order() -> None:
    before = snapshot(belief("a"), belief("b"), belief("c"))
    after = snapshot(belief("c", standing=ejected()), belief("a", drain=drain()), belief("b", age_s=5))
    assert [(one.cluster, one.kind) for one in told(before, after)] == [
        ("a", "drain"),
        ("b", "liveness"),
        ("c", "standing"),
    ]


beliefs = st.builds(
    belief,
    st.sampled_from("abcd"),
    age_s=st.sampled_from([0.0, 5.0, 50.0]),
    standing=st.sampled_from([Standing(), ejected(), probation()]),
    drain=st.none() | st.builds(drain, active=st.booleans(), version_ms=st.integers(0, 3)),
)
snapshots = st.builds(lambda held, mode: snapshot(*held, mode=mode), st.lists(beliefs), st.sampled_from(Mode))


@given(snapshots)
def test_nothing_is_told_without_a_change(held: Snapshot) -> None:
    assert told(held, held) == []


@given(snapshots, snapshots)
def test_each_kind_is_told_once_a_cluster_and_names_two_different_states(before: Snapshot, after: Snapshot) -> None:
    lines = told(before, after)
    assert len({(line.kind, line.cluster) for line in lines}) == len(lines)
    assert all(line.before != line.after for line in lines)
    back = told(after, before)
    assert {(line.kind, line.cluster) for line in back if line.kind != "drain"} == {
        (line.kind, line.cluster) for line in lines if line.kind != "drain"
    }
