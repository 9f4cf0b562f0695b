import pytest

from router.simulation.baselines.prequal import AGE_S_MAX, POOL_MAX, Prequal, Probe
from router.simulation.baselines.ranking import candidates
from router.simulation.door import Door
from tests.simulated import FAR, MIDDLE, NEAR, busy, call, world


def policy_with(*probes: Probe, seen: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4, 0.5)) -> tuple[Prequal, Door]:
    policy = Prequal()
    policy._pool = list(probes)
    policy._seen.extend(seen)
    return policy, world(policy).doors[0]


def probe(cluster: str, in_flight: float, latency_s: float, uses_left: int = 9) -> Probe:
    return Probe(cluster, in_flight, latency_s, 0.0, uses_left)


@pytest.mark.parametrize(
    ("probes", "chosen"),
    [
        pytest.param([probe(NEAR, 0.1, 0.5), probe(FAR, 0.3, 0.1)], FAR, id="cold: least latency, whatever the load"),
        pytest.param([probe(NEAR, 0.1, 0.5), probe(FAR, 0.6, 0.1)], NEAR, id="one is hot: a cold one"),
        pytest.param([probe(NEAR, 0.9, 0.1), probe(FAR, 0.6, 0.5)], FAR, id="all hot: least calls in flight"),
    ],
)
def test_hot_cold_rule(probes: list[Probe], chosen: str) -> None:
    policy, door = policy_with(*probes)
    assert policy.hot_from() == 0.4
    assert policy.ranked(door, call(), candidates(door, call()))[0].cluster == chosen


def test_own_call_counts_on_the_probe_and_uses_it_up() -> None:
    first = probe(FAR, 0.1, 0.1, uses_left=2)
    policy, door = policy_with(first, probe(NEAR, 0.1, 0.5), probe(MIDDLE, 0.1, 0.9), probe(MIDDLE, 0.1, 0.9))
    policy.ranked(door, call(), candidates(door, call()))
    assert first.in_flight == pytest.approx(0.1 + 1 / 256)
    policy.ranked(door, call(), candidates(door, call()))
    assert first not in policy._pool


def test_old_answers_are_forgotten() -> None:
    policy, door = policy_with(probe(FAR, 0.1, 0.1), probe(NEAR, 0.1, 0.5))
    door.timeline.run(AGE_S_MAX + 0.1)
    policy.ranked(door, call(), candidates(door, call()))
    assert policy._pool == []


def test_worst_and_oldest_are_removed_in_turn() -> None:
    worst = probe(MIDDLE, 0.9, 0.2)
    policy, door = policy_with(probe(FAR, 0.1, 0.1), probe(NEAR, 0.1, 0.5), worst, probe(NEAR, 0.2, 0.5))
    policy.ranked(door, call(), candidates(door, call()))
    assert worst not in policy._pool
    assert len(policy._pool) == 3
    policy.ranked(door, call(), candidates(door, call()))
    assert len(policy._pool) == 2


def test_probes_come_back_a_round_trip_later_and_the_pool_is_bounded() -> None:
    policies: list[Prequal] = []

    def make(world: object) -> Prequal:
        policies.append(Prequal())
        return policies[-1]

    done = busy(make, rate=30.0, duration_s=10.0).run()
    assert len(policies[0]._seen) == 128
    assert len(policies[0]._pool) <= POOL_MAX
    assert {one.end for one in done} == {"served"}
