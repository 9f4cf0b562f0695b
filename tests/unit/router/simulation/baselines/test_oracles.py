import pytest

from federation.lab.batching import Sequence
from router.decision import Reason
from router.simulation.baselines.oracles import Clairvoyant, Greedy, tpot_s, ttft_s
from router.simulation.baselines.ranking import candidates
from tests.simulated import MIDDLE, NEAR, call, world


def test_prediction_of_a_first_token_is_what_happens() -> None:
    for prompt_tokens in (100, 3000, 30_000):
        one = world(Greedy())
        [done] = world(Greedy(), [call(prompt_tokens=prompt_tokens)]).run()
        predicted_s = ttft_s(one.clusters[NEAR].replicas[0], call(prompt_tokens=prompt_tokens), 1.0) + 0.001
        assert done.ttft_s == pytest.approx(predicted_s, rel=0.1)


def test_what_is_pending_counts_and_what_is_cached_does_not() -> None:
    replica = world(Greedy()).clusters[NEAR].replicas[0]
    alone_s = ttft_s(replica, call(prompt_tokens=1000), 1.0)
    replica.submit(Sequence("x", 5000, 10), 0.0)
    assert ttft_s(replica, call(prompt_tokens=1000), 1.0) > alone_s + 5000 * replica.spec.prefill_s
    assert ttft_s(replica, call(prompt_tokens=1000), 5.0) > 4 * ttft_s(replica, call(prompt_tokens=1000), 1.0)


def test_greedy_goes_where_the_first_token_comes_soonest() -> None:
    one = world(Greedy())
    door = one.doors[0]
    assert Greedy().ranked(door, call(), candidates(door, call()))[0].cluster == NEAR
    one.clusters[NEAR].replicas[0].submit(Sequence("x", 20_000, 10), 0.0)
    assert Greedy().ranked(door, call(), candidates(door, call()))[0].cluster == MIDDLE


def test_clairvoyant_sends_long_answers_to_fast_tokens_and_short_ones_to_near_ones() -> None:
    one = world(Clairvoyant())
    door, near = one.doors[0], one.clusters[NEAR].replicas[0]
    for number in range(60):
        near.submit(Sequence(str(number), 1000, 2000), 0.0)
    near.advance(4.0)
    one.timeline.now = 4.0
    assert tpot_s(near, call(), 1.0) > 1.3 * tpot_s(one.clusters[MIDDLE].replicas[0], call(), 1.0)
    short = Clairvoyant().ranked(door, call(output_tokens=1), candidates(door, call()))[0].cluster
    long = Clairvoyant().ranked(door, call(output_tokens=1000), candidates(door, call()))[0].cluster
    assert (short, long) == (NEAR, MIDDLE)


def test_what_is_on_its_way_counts() -> None:
    one = world(Greedy())
    door = one.doors[0]
    door.send(call(prompt_tokens=20_000), (NEAR,), Reason.NEAREST)
    assert one.clusters[NEAR].coming_tokens == 20_000
    assert Greedy().ranked(door, call(), candidates(door, call()))[0].cluster == MIDDLE
    one.timeline.run(0.1)
    assert one.clusters[NEAR].coming_tokens == 0
