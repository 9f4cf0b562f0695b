from federation.liveness import Liveness
from federation.model import Mode
from router.simulation.baselines.nearest import Nearest
from router.simulation.heartbeats import Reader, Store
from tests.build import heartbeat
from tests.simulated import NEAR, busy, world


def test_last_word_of_each_cluster_counts() -> None:
    store = Store()
    for seq, name in ((1, "a"), (1, "b"), (2, "a")):
        store.write(heartbeat(name, seq=seq))
    assert [(one.cluster, one.seq) for one in store.since(0)] == [("a", 2), ("b", 1)]
    assert [(one.cluster, one.seq) for one in store.since(2)] == [("a", 2)]


def test_unreachable_store_takes_nothing_and_is_told_of() -> None:
    one = world(Nearest())
    door, store = one.doors[0], Store()
    reader = Reader(store, door)
    store.is_reachable = False
    store.write(heartbeat(NEAR))
    reader.poll()
    door.tick(0.0)
    assert store.written == 0
    assert door.snapshot.mode is Mode.FROZEN


def test_lost_heartbeats_make_a_cluster_stale() -> None:
    one = world(Nearest(), heartbeats={"loss": 1.0}, duration_s=5.0)
    one.run()
    assert {pool.liveness for pool in one.doors[0].pools("llama-8b")} == {Liveness.LOST}


def test_agent_tells_load_and_speed() -> None:
    one = busy(lambda world: Nearest(), rate=20.0, duration_s=15.0)
    seen = []
    one.timeline.at(14.0, lambda _: seen.append(one.doors[0].snapshot.beliefs[NEAR].heartbeat))
    one.run()
    [pool] = seen[0].pools
    assert pool.slots == 256
    assert 10 < pool.running < 200
    assert 0.008 < pool.time_per_output_token_s < 0.2
    assert pool.decode_tokens_per_s > 500
