import pytest

from federation.ejection import State
from router.decision import Reason
from router.simulation.baselines.nearest import Nearest
from router.simulation.call import End
from router.simulation.ours import Tradewind
from tests.build import A
from tests.simulated import FAR, MIDDLE, NEAR, busy, call, world


def test_refused_call_goes_to_the_next_in_order() -> None:
    one = world(Nearest(), [call(at=1.0)])
    one.timeline.at(0.99, lambda _: one.clusters[NEAR].lose())
    [done] = one.run()
    assert (done.end, done.cluster, done.reason, done.attempts) == (End.SERVED, MIDDLE, Reason.FAILOVER, 2)


def test_broken_stream_goes_on_elsewhere_with_what_it_lacks() -> None:
    one = world(Nearest(), [call(at=1.0, output_tokens=300)])
    one.timeline.at(2.0, lambda _: one.clusters[NEAR].lose())
    [done] = one.run()
    assert (done.end, done.cluster, done.reason) == (End.SERVED, MIDDLE, Reason.RESUME)
    assert 0 < done.delivered_tokens < 300
    assert done.first_token_at < 2.0 < done.ended_at


def test_frozen_cluster_is_found_by_probes_and_its_calls_are_taken_elsewhere() -> None:
    one = world(Tradewind(), [call(at=3.0, output_tokens=600), call(at=4.1)])
    one.timeline.at(4.0, lambda _: one.clusters[NEAR].cut_off())
    streaming, waiting = one.run()
    assert streaming.end is waiting.end is End.SERVED
    assert (streaming.reason, streaming.cluster) == (Reason.RESUME, MIDDLE)
    assert waiting.cluster == MIDDLE
    assert waiting.ttft_s == pytest.approx(1.5, abs=0.4)  # Three silent probes.
    assert streaming.delivered_tokens < 130  # A second's worth, not what was made after the cut.


def test_only_the_parted_door_goes_round_a_partition() -> None:
    one = busy(
        lambda world: Tradewind(),
        front_doors={"regions": [A, "region-b"]},
        faults=[{"kind": "partition", "target": NEAR, "door": A, "at_s": 5, "for_s": 5}],
    )
    states: dict[str, State] = {}
    one.timeline.at(
        9.0, lambda _: states.update({door.region: door.snapshot.beliefs[NEAR].standing.state for door in one.doors})
    )
    done = one.run()
    assert states == {A: State.EJECTED, "region-b": State.ADMITTED}
    assert all(each.end is End.SERVED for each in done)


def test_heartbeats_make_clusters_fresh_and_own_calls_are_counted_apart() -> None:
    one = world(Nearest(), [call(at=3.0, output_tokens=2000)])
    seen = []
    one.timeline.at(6.0, lambda _: seen.extend((one.doors[0].pools("llama-8b"), dict(one.doors[0].own))))
    one.run()
    pools, own = seen
    assert [pool.cluster for pool in pools] == [FAR, MIDDLE, NEAR]
    assert {pool.liveness for pool in pools} == {"fresh"}
    assert own == {(NEAR, "llama-8b"): 1}
    assert [pool.load_of_others for pool in pools] == [0.0, 0.0, 0.0]


def test_nowhere_to_go_is_a_refusal() -> None:
    one = world(Nearest(), [call(at=5.0)])
    for cluster in one.clusters.values():
        cluster.cut_off()
    [done] = one.run()
    assert done.end is End.REFUSED
