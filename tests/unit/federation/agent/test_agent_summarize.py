"""Model servers' figures become pools. Expected numbers are worked out in the comments."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.agent.exposition import Engine, Figures, Page
from federation.agent.facts import ScrapeResult, Served, ServerFacts
from federation.agent.summarize import RATE_MEMORY_S, PoolRules, Summary, summarize
from federation.model import Epoch, Heartbeat, ModelPool
from federation.wire import implausible

IDLE = Figures(running=0.0, waiting=0.0, prompt_tokens=0.0, generated_tokens=0.0, prefix_queries=0.0, prefix_hits=0.0)


def server(
    url: str = "http://a",
    figures: Figures | None = IDLE,
    *,
    at: float = 100.0,
    models: tuple[str, ...] = ("m",),
    adapters: dict[str, tuple[str, ...]] | None = None,
    engine: Engine | None = Engine.VLLM,
    result: ScrapeResult = ScrapeResult.OK,
) -> ServerFacts:
    page = Page(engine, {models[0]: figures} if models else {}) if figures is not None else None
    return ServerFacts(url, result, Served(models, adapters or {}), page, at)


def pool(*servers: ServerFacts, rules: PoolRules | None = None) -> ModelPool:
    (only,) = summarize(Summary(), servers, rules or PoolRules()).pools
    return only


def test_figures_add_up_over_ready_servers() -> None:
    first = replace(IDLE, running=3.0, waiting=1.0, kv_utilization_mean=0.5, kv_utilization_max=0.75)
    second = replace(IDLE, running=4.0, waiting=0.0, kv_utilization_mean=0.25, kv_utilization_max=0.25)
    found = pool(server("http://a", first), server("http://b", second))
    assert (found.replicas_ready, found.replicas_desired) == (2, 2)
    assert (found.running, found.waiting, found.slots) == (7, 1, 512)
    assert (found.kv_cache_utilization_mean, found.kv_cache_utilization_max) == (0.375, 0.75)
    assert found.features == ("continue_final_message", "stop_withheld")


def test_a_silent_server_is_desired_and_neither_ready_nor_idle() -> None:
    silent = server("http://b", None, result=ScrapeResult.TIMEOUT)
    found = pool(server("http://a", replace(IDLE, running=200.0)), silent)
    assert (found.replicas_ready, found.replicas_desired, found.running, found.slots) == (1, 2, 200, 256)


def test_a_pool_stands_while_none_of_its_servers_answers() -> None:
    found = pool(server(figures=None, result=ScrapeResult.REFUSED))
    assert (found.replicas_ready, found.replicas_desired, found.slots, found.features) == (0, 1, 0, ())


def test_a_server_never_heard_of_adds_nothing() -> None:
    assert summarize(Summary(), [server(figures=None, models=(), result=ScrapeResult.TIMEOUT)]).pools == ()


def test_a_server_without_metrics_is_ready_with_unknown_load() -> None:
    found = pool(server(figures=None, result=ScrapeResult.NO_METRICS))
    assert (found.replicas_ready, found.running, found.slots, found.features) == (1, 0, 256, ("no_metrics",))


def test_a_page_that_does_not_say_how_many_run_is_unknown_load() -> None:
    assert "no_metrics" in pool(server(figures=Figures(prompt_tokens=5.0))).features


@pytest.mark.parametrize(
    ("slots", "expected"),
    [(256, 512), (8, 16), ({"m": 32}, 64), ({"other": 32}, 512)],
    ids=["default", "one for all", "by model", "model not named"],
)
def test_slots_are_those_of_the_ready_replicas(slots: int | dict[str, int], expected: int) -> None:
    assert pool(server("http://a"), server("http://b"), rules=PoolRules(slots)).slots == expected


def test_pools_are_sorted_by_model() -> None:
    facts = [server("http://a", models=("z",)), server("http://b", models=("a",))]
    assert [found.model for found in summarize(Summary(), facts).pools] == ["a", "z"]


def test_two_names_for_the_same_weights_both_see_the_whole_server() -> None:
    pools = summarize(Summary(), [server(figures=replace(IDLE, running=9.0), models=("m", "alias"))]).pools
    assert [(found.model, found.running, found.slots) for found in pools] == [("alias", 9, 256), ("m", 9, 256)]


def test_figures_without_a_model_belong_to_the_server_s_model() -> None:
    facts = ServerFacts(
        "http://a", ScrapeResult.OK, Served(("gguf",)), Page(Engine.LLAMACPP, {"": replace(IDLE, running=1.0)})
    )
    (found,) = summarize(Summary(), [facts]).pools
    assert (found.model, found.running, found.features) == ("gguf", 1, ())


def test_a_server_that_hides_its_list_is_known_by_its_metrics() -> None:
    facts = ServerFacts("http://a", ScrapeResult.OK, Served(), Page(Engine.VLLM, {"m": replace(IDLE, running=2.0)}))
    (found,) = summarize(Summary(), [facts]).pools
    assert (found.model, found.running) == ("m", 2)


def test_adapters_come_from_the_list_and_from_the_page() -> None:
    page = Page(Engine.VLLM, {"m": IDLE}, adapters=("live",))
    facts = ServerFacts("http://a", ScrapeResult.OK, Served(("m",), {"m": ("listed",)}), page)
    assert pool(facts).adapters == ("listed", "live")
    two = replace(facts, served=Served(("m", "n"), {"m": ("listed",)}))
    assert [found.adapters for found in summarize(Summary(), [two]).pools] == [("listed",), ()]


@pytest.mark.parametrize(
    ("engines", "configured", "expected"),
    [
        ((Engine.VLLM, Engine.SGLANG), (), ("continue_final_message",)),
        ((Engine.VLLM, Engine.LLAMACPP), (), ()),
        ((Engine.LLAMACPP,), ("continue_final_message",), ("continue_final_message",)),
    ],
)
def test_a_feature_is_what_every_ready_server_can(
    engines: tuple[Engine, ...], configured: tuple[str, ...], expected: tuple[str, ...]
) -> None:
    servers = [server(f"http://{number}", engine=engine) for number, engine in enumerate(engines)]
    assert pool(*servers, rules=PoolRules(features=configured)).features == expected


def after(summary: Summary, at: float, **counters: float) -> Summary:
    return summarize(summary, [server(figures=replace(IDLE, **counters), at=at)])


def test_rates_are_unknown_until_two_looks_saw_work() -> None:
    once = after(Summary(), 100.0, prompt_tokens=5000.0)
    assert once.pools[0].prefill_tokens_per_s == 0.0
    twice = after(once, 102.0, prompt_tokens=7000.0, generated_tokens=100.0)
    assert twice.pools[0].prefill_tokens_per_s == 1000.0  # 2,000 tokens in 2 s.
    assert twice.pools[0].decode_tokens_per_s == 50.0  # 100 tokens in 2 s.


def test_a_changed_rate_is_seen_to_two_thirds_after_its_memory() -> None:
    summary = after(after(Summary(), 100.0), 101.0, generated_tokens=100.0)
    summary = after(summary, 101.0 + RATE_MEMORY_S, generated_tokens=100.0 + 200.0 * RATE_MEMORY_S)
    expected = 100 + (1 - math.exp(-1)) * (200 - 100)  # From 100 towards 200 tokens a second.
    assert summary.pools[0].decode_tokens_per_s == pytest.approx(expected)


def test_an_idle_server_keeps_the_rate_of_its_last_work() -> None:
    summary = after(after(Summary(), 100.0), 101.0, generated_tokens=100.0)
    summary = after(summary, 500.0, generated_tokens=100.0)
    assert summary.pools[0].decode_tokens_per_s == 100.0


def test_a_counter_that_went_back_tells_nothing_and_starts_anew() -> None:
    summary = after(after(Summary(), 100.0), 101.0, generated_tokens=100.0)
    summary = after(summary, 102.0, generated_tokens=5.0)  # Restarted.
    assert summary.pools[0].decode_tokens_per_s == 100.0
    summary = after(summary, 103.0, generated_tokens=105.0)
    assert summary.pools[0].decode_tokens_per_s == pytest.approx(100.0)  # 100 tokens in 1 s again.


def test_a_server_s_rates_outlive_a_missed_look() -> None:
    summary = after(after(Summary(), 100.0), 101.0, generated_tokens=100.0)
    summary = summarize(summary, [server(figures=None, result=ScrapeResult.TIMEOUT, at=102.0)])
    assert summary.pools[0].decode_tokens_per_s == 0.0
    summary = after(summary, 103.0, generated_tokens=300.0)  # 200 tokens in the 2 s since last seen.
    assert summary.pools[0].decode_tokens_per_s == pytest.approx(100.0)


def test_a_server_taken_out_of_the_configuration_is_forgotten() -> None:
    summary = after(Summary(), 100.0)
    assert summarize(summary, [server("http://other")]).tallies.keys() == {("http://other", "m")}  # type: ignore[union-attr]


def test_hit_ratio_is_that_of_recent_queries() -> None:
    summary = after(Summary(), 100.0, prefix_queries=1000.0, prefix_hits=0.0)
    summary = after(summary, 101.0, prefix_queries=1100.0, prefix_hits=75.0)
    assert summary.pools[0].prefix_cache_hit_ratio == 0.75  # 75 of 100 since the first look.


def test_gauges_serve_where_there_is_no_counter() -> None:
    figures = Figures(running=1.0, decode_tokens_per_s=80.0, prefill_tokens_per_s=900.0, prefix_hit_ratio=0.5)
    found = pool(server(figures=figures))
    assert (found.decode_tokens_per_s, found.prefill_tokens_per_s, found.prefix_cache_hit_ratio) == (80.0, 900.0, 0.5)


_figure = st.one_of(st.none(), st.floats(0, 1e15))
_figures = st.builds(
    Figures,
    running=_figure,
    waiting=_figure,
    kv_utilization_mean=_figure,
    kv_utilization_max=_figure,
    prompt_tokens=_figure,
    generated_tokens=_figure,
    prefix_queries=_figure,
    prefix_hits=_figure,
    prefix_hit_ratio=_figure,
    prefill_tokens_per_s=_figure,
    decode_tokens_per_s=_figure,
)
_model = st.sampled_from(["m", "n", "x" * 256])
_facts = st.builds(
    ServerFacts,
    url=st.sampled_from(["http://a", "http://b", "http://c"]),
    result=st.sampled_from(list(ScrapeResult)),
    served=st.builds(
        Served,
        models=st.lists(_model, max_size=3, unique=True).map(tuple),
        adapters=st.dictionaries(_model, st.lists(st.text(max_size=300), max_size=3).map(tuple), max_size=2),
    ),
    page=st.one_of(
        st.none(),
        st.builds(
            Page,
            engine=st.sampled_from([None, *Engine]),
            models=st.dictionaries(st.sampled_from(["", "m", "n", "y" * 300]), _figures, max_size=3),
            adapters=st.lists(st.text(max_size=300), max_size=3).map(tuple),
        ),
    ),
    at=st.floats(0, 1000),
)


@given(st.lists(st.lists(_facts, max_size=4, unique_by=lambda facts: facts.url), max_size=4))
def test_whatever_servers_say_the_heartbeat_is_plausible(looks: list[list[ServerFacts]]) -> None:
    summary = Summary()
    for facts in looks:
        summary = summarize(summary, facts)
        heartbeat = Heartbeat(
            cluster="c",
            region="r",
            epoch=Epoch(boot_ms=1),
            seq=1,
            interval_ms=1000,
            sent_unix_ms=1,
            pools=summary.pools,
        )
        assert implausible(heartbeat) is None
        ready = sum(server.ready for server in facts)
        assert all(found.replicas_ready <= min(ready, found.replicas_desired) for found in summary.pools)


def test_time_per_token_is_that_of_the_tokens_since_the_last_look() -> None:
    once = after(Summary(), 100.0, inter_token_s=10.0, inter_tokens=1000.0)
    assert once.pools[0].time_per_output_token_s == 0.0
    twice = after(once, 101.0, inter_token_s=12.0, inter_tokens=1050.0)
    assert twice.pools[0].time_per_output_token_s == pytest.approx(0.04)  # 50 tokens in 2 s of waiting for them.
    idle = after(twice, 102.0, inter_token_s=12.0, inter_tokens=1050.0)
    assert idle.pools[0].time_per_output_token_s == 0.0
    restarted = after(idle, 103.0, inter_token_s=0.1, inter_tokens=5.0)
    assert restarted.pools[0].time_per_output_token_s == 0.0


def test_time_per_token_of_a_pool_weighs_servers_by_their_tokens() -> None:
    def servers(at: float, *counts: tuple[float, float]) -> list[ServerFacts]:
        return [
            server(f"http://{number}", figures=replace(IDLE, inter_token_s=seconds, inter_tokens=tokens), at=at)
            for number, (seconds, tokens) in enumerate(counts)
        ]

    once = summarize(Summary(), servers(100.0, (0.0, 0.0), (0.0, 0.0)))
    twice = summarize(once, servers(101.0, (3.0, 300.0), (5.0, 100.0)))
    assert twice.pools[0].time_per_output_token_s == pytest.approx(0.02)


def test_what_servers_can_do_is_remembered_while_none_of_them_is_ready() -> None:
    once = summarize(Summary(), [server(engine=Engine.VLLM)])
    assert "continue_final_message" in once.pools[0].features
    gone = summarize(once, [server(engine=Engine.VLLM, result=ScrapeResult.REFUSED)])
    assert gone.pools[0].replicas_ready == 0
    assert gone.pools[0].features == once.pools[0].features
    other = summarize(gone, [server(engine=Engine.LLAMACPP)])
    assert "continue_final_message" not in other.pools[0].features
