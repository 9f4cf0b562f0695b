"""The metrics page as Prometheus's own parser reads it."""

from dataclasses import replace

from prometheus_client.parser import text_string_to_metric_families

from federation.lab.batching import Replica, Sequence
from federation.lab.exposition import Histogram, ServingMetrics
from federation.lab.presets import SMALL


def samples(page: str) -> dict[str, list[tuple[dict[str, str], float]]]:
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


def test_the_page_tells_a_replicas_load_under_vllms_names() -> None:
    replica, metrics = Replica(replace(SMALL, max_running=16)), ServingMetrics()
    for number in range(20):
        replica.submit(Sequence(number, 100, 50), 0.0)
    replica.advance(0.5)
    metrics.finished["stop"] += 3
    page = samples(metrics.page(replica, 'a "quoted" name'))
    assert page["vllm:num_requests_running"][0][1] == 16
    assert page["vllm:num_requests_waiting"][0][1] == 4
    assert 0.015 < page["vllm:kv_cache_usage_perc"][0][1] < 0.05
    assert page["vllm:prompt_tokens_total"][0][1] == 1_600
    assert page["vllm:generation_tokens_total"][0][1] == replica.generation_tokens
    assert page["vllm:prefix_cache_queries_total"][0][1] == 1_600
    assert page["vllm:prefix_cache_hits_total"][0][1] == 0
    labels, value = page["vllm:cache_config_info"][0]
    assert (labels["block_size"], labels["num_gpu_blocks"], value) == ("16", "6144", 1.0)
    assert {row[0]["model_name"] for rows in page.values() for row in rows} == {'a "quoted" name'}
    ended = {labels["finished_reason"]: value for labels, value in page["vllm:request_success_total"]}
    assert ended == {"stop": 3, "length": 0, "abort": 0, "error": 0}
    assert page["vllm:num_preemptions_total"][0][1] == 0


def test_a_histogram_counts_up_to_each_bound() -> None:
    histogram = Histogram((0.1, 1.0))
    histogram.observe(0.1)
    histogram.observe(0.5, times=3)
    histogram.observe(7.0)
    assert list(histogram.lines("x", "a")) == [
        'x_bucket{a,le="0.1"} 1',
        'x_bucket{a,le="1.0"} 4',
        'x_bucket{a,le="+Inf"} 5',
        "x_count{a} 5",
        "x_sum{a} 8.6",
    ]
