import pytest

from router.simulation.call import End, SimulatedCall
from router.simulation.outcomes import Outcome, figures, outcome, quantiles, slowness
from router.simulation.scenario import ClusterRow, Objectives
from tests.build import A, B
from tests.simulated import call

ROWS = {"h": ClusterRow("h", A), "l": ClusterRow("l", B, accelerator="l4")}
SLOW = {name: slowness(row) for name, row in ROWS.items()}


def served(cluster: str = "h", ttft_s: float = 0.5, tpot_s: float = 0.02, prompt_tokens: int = 1000) -> SimulatedCall:
    one = call(at=1.0, prompt_tokens=prompt_tokens, output_tokens=11)
    one.end, one.cluster = End.SERVED, cluster
    one.first_token_at = 1.0 + ttft_s
    one.ended_at = one.first_token_at + 10 * tpot_s
    return one


def judged(one: SimulatedCall) -> Outcome:
    return outcome(one, ROWS, SLOW, Objectives())


@pytest.mark.parametrize(
    ("one", "good"),
    [
        pytest.param(served(ttft_s=1.19), True, id="1 s and 0.2 ms a token"),
        pytest.param(served(ttft_s=1.21), False, id="first token too late"),
        pytest.param(served(tpot_s=0.051), False, id="tokens too slow"),
        pytest.param(served("l", ttft_s=2.0), True, id="an L4's prompts take longer"),
        pytest.param(served("l", tpot_s=0.2), True, id="and its tokens"),
        pytest.param(served("l", tpot_s=0.8), False, id="but not for ever"),
    ],
)
def test_good_is_within_both_objectives(one: SimulatedCall, good: bool) -> None:
    assert judged(one).good is good


def test_slower_accelerators_are_slower_than_an_h100() -> None:
    prefill, decode = SLOW["l"]
    assert SLOW["h"] == (1.0, 1.0)
    assert prefill == pytest.approx(989.5 * 0.45 / (121 * 0.32), rel=0.01)
    assert 9 < decode < 11


def test_what_was_not_served_is_never_good_and_has_no_times() -> None:
    one = call()
    one.end = End.REFUSED
    assert (judged(one).good, judged(one).ttft_s, judged(one).region) == (False, -1.0, "")


def test_figures_count_everything_and_measure_what_was_served() -> None:
    refused, failed = call(), call()
    refused.end, failed.end = End.REFUSED, End.FAILED
    found = figures([judged(one) for one in (served(), served("l"), refused, failed)], cost=2.2)
    assert (found.calls, found.served, found.refused, found.failed) == (4, 2, 1, 1)
    assert found.goodput == 0.5
    assert found.ttft_s[0] == pytest.approx(0.5)
    assert found.crossed == 0.5
    assert found.cost_per_million_tokens == pytest.approx(100_000)  # 22 tokens for 2.2.


def test_nothing_measured_is_zero() -> None:
    assert quantiles([]) == (0.0, 0.0, 0.0, 0.0)
    assert figures([], 0.0).goodput == 0.0


def test_quantiles_are_values_that_there_were() -> None:
    assert quantiles([float(one) for one in range(100)]) == (50.0, 90.0, 95.0, 99.0)
