from router.simulation.baselines.llm_d import LlmD
from router.simulation.baselines.ranking import candidates
from router.simulation.call import Attempt
from router.simulation.door import Door
from tests.build import NOW, belief, heartbeat, pool, snapshot
from tests.simulated import FAR, MIDDLE, NEAR, call, world

MODEL = "llama-8b"


def door_with(**reported: dict[str, float]) -> Door:
    """Clusters that report so much: waiting, and use of the KV cache."""
    door = world(LlmD()).doors[0]
    beliefs = [
        belief(name, heartbeat=heartbeat(name, pools=(pool(MODEL, **reported.get(name, {})),)))
        for name in door.clusters
    ]
    door.snapshot = snapshot(*beliefs, folded_at=NOW)
    return door


def first(policy: LlmD, door: Door, **fields: object) -> str:
    one = call(**fields)
    return policy.ranked(door, one, candidates(door, one))[0].cluster


def test_shortest_queue_wins_whatever_the_distance() -> None:
    door = door_with(near={"waiting": 5}, middle={"waiting": 4}, far={"waiting": 0})
    assert first(LlmD(), door) == FAR


def test_queues_are_normalised_so_one_call_more_is_as_bad_as_a_thousand() -> None:
    full = {"kv_cache_utilization_mean": 0.9}
    door = door_with(near={"waiting": 1}, middle={"waiting": 1}, far={"waiting": 0, **full})
    assert first(LlmD(), door) == FAR, "2 x 1 for the queue outweighs 2 x 0.9 for the cache"


def test_emptier_kv_cache_wins_among_equal_queues() -> None:
    door = door_with(
        near={"kv_cache_utilization_mean": 0.5},
        middle={"kv_cache_utilization_mean": 0.1},
        far={"kv_cache_utilization_mean": 0.6},
    )
    assert first(LlmD(), door) == MIDDLE


def test_prefix_and_session_draw_a_call_to_where_they_were() -> None:
    policy, door = LlmD(), door_with()
    one = call(blocks=(1, 2, 3, 4), session="s")
    policy.sending(door, Attempt(one, door, door.clusters[NEAR], 0.0, (NEAR,), 0, 0.0))
    assert {first(policy, door, blocks=(1, 2, 3, 4, 5)) for _ in range(20)} == {NEAR}
    assert {first(policy, door, session="s") for _ in range(20)} == {NEAR}
    assert len({first(policy, door, blocks=(9,)) for _ in range(40)}) == 3, "ties are drawn"
