from router.simulation.baselines.nearest import Nearest
from router.simulation.world import World
from tests.build import A, B
from tests.simulated import busy, call, world


def test_front_doors_of_a_region_share_its_calls() -> None:
    one = busy(lambda world: Nearest(), rate=5.0, duration_s=60.0, front_doors={"regions": [A, B], "per_region": 2})
    shares = {door.name: 0 for door in one.doors}
    for door in one.doors:
        door.arrive = lambda call, door=door, arrive=door.arrive: (
            shares.__setitem__(door.name, shares[door.name] + 1),
            arrive(call),
        )  # type: ignore[method-assign]
    one.run()
    assert sorted(shares) == ["region-a/1", "region-a/2", "region-b/1", "region-b/2"]
    assert min(shares.values()) > 30


def test_components_draw_from_generators_of_their_own() -> None:
    one: World = world(Nearest())
    assert one.rng("a").random() == one.rng("a").random()
    assert one.rng("a").random() != one.rng("b").random()


def test_watch_is_told_of_each_second_and_the_rest_runs_out() -> None:
    seconds: list[float] = []
    one = world(Nearest(), [call(at=4.9, output_tokens=400)], duration_s=5.0)
    [done] = one.run(seconds.append)
    assert seconds[:5] == [1.0, 2.0, 3.0, 4.0, 5.0]
    assert done.ended_at > 5.0
