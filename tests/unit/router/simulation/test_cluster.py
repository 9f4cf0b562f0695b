import pytest

from router.simulation.baselines.nearest import Nearest
from router.simulation.call import End, SimulatedCall
from router.simulation.cluster import Health
from router.simulation.world import World
from tests.simulated import CLUSTERS, NEAR, call, world


def near_only(*calls: SimulatedCall, replicas: int = 1, **fields: object) -> World:
    return world(Nearest(), calls, clusters=({**CLUSTERS[0], "replicas": replicas},), **fields)


def test_first_token_comes_after_a_round_trip_and_the_prompt() -> None:
    [done] = near_only(call(prompt_tokens=1000)).run()
    # 1 ms there and back, 15.6 ms to be accepted, 1,000 tokens of prompt at 36 microseconds, a step.
    assert done.ttft_s == pytest.approx(0.001 + 0.0156 + 0.036 + 0.008, abs=0.004)
    assert done.end is End.SERVED


def test_gateway_takes_the_replica_with_the_least_outstanding() -> None:
    one = near_only(*[call(output_tokens=500) for _ in range(6)], replicas=3)
    one.timeline.run(0.0)
    one._next_arrival(None)
    one.timeline.run(1.5)
    assert [replica.outstanding for replica in one.clusters[NEAR].replicas] == [2, 2, 2]


def test_lost_cluster_refuses_and_breaks_what_it_had() -> None:
    calls = [call(at=1.0, output_tokens=1000), call(at=8.0)]
    one = near_only(*calls)
    one.timeline.at(2.0, lambda _: one.clusters[NEAR].lose())
    begun, refused = one.run()
    assert begun.delivered_tokens > 50
    assert refused.delivered_tokens == 0
    assert (begun.end, refused.end) == (End.FAILED, End.REFUSED)


def test_what_was_cut_off_arrives_when_it_heals() -> None:
    one = near_only(call(at=1.0, output_tokens=10), call(at=1.2, output_tokens=10))
    one.timeline.at(1.01, lambda _: one.clusters[NEAR].cut_off())
    one.timeline.at(1.5, lambda _: one.clusters[NEAR].heal())
    first, second = one.run()
    assert {first.end, second.end} == {End.SERVED}
    assert first.first_token_at == pytest.approx(1.5005)
    assert second.first_token_at > 1.5


def test_unwell_cluster_answers_that_it_is() -> None:
    one = near_only(call(at=1.0))
    one.clusters[NEAR].unwell()
    [done] = one.run()
    assert done.end is End.FAILED
    assert done.ended_at == pytest.approx(1.001)
    assert one.clusters[NEAR].health is Health.UNWELL


def test_slow_cluster_takes_so_many_times_as_long() -> None:
    [plain] = near_only(call(output_tokens=100)).run()
    slowed = near_only(call(output_tokens=100))
    slowed.clusters[NEAR].slow_down(5.0)
    [slow] = slowed.run()
    assert slow.tpot_s == pytest.approx(5 * plain.tpot_s, rel=0.02)


def test_capacity_that_is_cut_takes_its_calls_along_and_comes_back_empty() -> None:
    one = near_only(*[call(output_tokens=2000) for _ in range(4)], replicas=2)
    cluster = one.clusters[NEAR]
    one.timeline.at(2.0, lambda _: cluster.cut_capacity(1))
    one.timeline.at(3.0, lambda _: cluster.cut_capacity(0))
    one.run()
    assert sum(done.attempts == 2 for done in one.calls) == 2
    assert cluster.slots == 512
    assert cluster.busy_s > 10


def test_too_long_for_the_model_fails_at_once_and_is_tried_nowhere_else() -> None:
    [done] = near_only(call(prompt_tokens=200_000)).run()
    assert (done.end, done.attempts) == (End.FAILED, 1)
