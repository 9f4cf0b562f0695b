from tests.benchmarks import plan
from tests.benchmarks.proxies import PROXIES


def test_whole_run_takes_less_than_25_minutes() -> None:
    one_round = sum(one.takes_s for proxy in PROXIES for one in plan.SCENARIOS if plan.applies(one, proxy.name))
    starts_s = sum(plan.start_s(proxy.name) for proxy in PROXIES)
    emulated_s = 30.0  # tests.benchmarks.model_server, which `make bench` runs as well.
    assert plan.ROUNDS * (one_round + starts_s) + plan.LONG.takes_s + emulated_s < 25 * 60


def test_long_streams_reach_a_thousand_events() -> None:
    assert plan.LONG.window_s * plan.LONG.per_s >= 1_000


def test_half_load_is_bounded_by_the_load_generator() -> None:
    assert plan.half_load_per_s(100.0) == 5_000
    assert plan.half_load_per_s(20.0) == plan.OPEN_LOOP_PER_S_MAX


def test_uploads_are_for_some() -> None:
    [upload] = [one for one in plan.ARRIVALS if one.upload]
    assert plan.applies(upload, "tradewind")
    assert not plan.applies(upload, "litellm")


def test_quick_is_quicker() -> None:
    """Less LiteLLM, whose starts take most of it."""
    some = plan.scenarios(quick=True)
    assert len(some) == len(plan.QUICK)
    assert sum(sum(one.takes_s for one in some if plan.applies(one, proxy.name)) for proxy in PROXIES[:-1]) < 90
