"""The quick scan of a metrics page, against pages of real servers and against prometheus_client's parser."""

import math
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from federation.agent.exposition import Engine, Figures, looks_like_exposition, read_page

VLLM = b"""\
# HELP python_gc_objects_collected_total Objects collected during gc
# TYPE python_gc_objects_collected_total counter
python_gc_objects_collected_total{generation="0"} 8124.0
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="llama"} 12.0
vllm:num_requests_running{engine="1",model_name="llama"} 4.0
vllm:num_requests_waiting{engine="0",model_name="llama"} 3.0
vllm:num_requests_waiting{engine="1",model_name="llama"} 0.0
vllm:kv_cache_usage_perc{engine="0",model_name="llama"} 0.5
vllm:kv_cache_usage_perc{engine="1",model_name="llama"} 0.25
vllm:prompt_tokens_total{engine="0",model_name="llama"} 1.5e+06
vllm:prompt_tokens_created{engine="0",model_name="llama"} 1.7e+09
vllm:generation_tokens_total{engine="0",model_name="llama"} 2000.0
vllm:prefix_cache_queries_total{engine="0",model_name="llama"} 100.0
vllm:prefix_cache_hits_total{engine="0",model_name="llama"} 40.0
vllm:lora_requests_info{max_lora="4",running_lora_adapters="old",waiting_lora_adapters=""} 1.700000001e+09
vllm:lora_requests_info{max_lora="4",running_lora_adapters="sql, chat",waiting_lora_adapters="law"} 1.700000002e+09
vllm:time_to_first_token_seconds_bucket{engine="0",le="0.001",model_name="llama"} 0.0
"""

SGLANG = b"""\
sglang:num_running_reqs{engine_type="unified",model_name="qwen",pp_rank="0",tp_rank="0"} 7.0
sglang:num_running_reqs{engine_type="unified",model_name="qwen",pp_rank="0",tp_rank="1"} 7.0
sglang:num_queue_reqs{engine_type="unified",model_name="qwen",pp_rank="0",tp_rank="0"} 2.0
sglang:token_usage{engine_type="unified",model_name="qwen",pp_rank="0",tp_rank="0"} 0.28
sglang:gen_throughput{engine_type="unified",model_name="qwen",pp_rank="0",tp_rank="0"} 86.5
sglang:cache_hit_rate{engine_type="unified",model_name="qwen",pp_rank="0",tp_rank="0"} 0.75
sglang:prompt_tokens_total{model_name="qwen"} 8128902.0
sglang:generation_tokens_total{model_name="qwen"} 7557572.0
"""

LLAMACPP = b"""\
# TYPE llamacpp:prompt_tokens_total counter
llamacpp:prompt_tokens_total 221
llamacpp:tokens_predicted_total 90
llamacpp:prompt_tokens_seconds 310.5
llamacpp:predicted_tokens_seconds 41.25
llamacpp:kv_cache_usage_ratio 0.125
llamacpp:requests_processing 1
llamacpp:requests_deferred 2
"""


def test_vllm_page_with_two_engines() -> None:
    page = read_page(VLLM)
    assert page.engine is Engine.VLLM
    assert page.adapters == ("chat", "law", "sql")
    assert page.models == {
        "llama": Figures(
            running=16.0,
            waiting=3.0,
            kv_utilization_mean=0.375,
            kv_utilization_max=0.5,
            prompt_tokens=1_500_000.0,
            generated_tokens=2000.0,
            prefix_queries=100.0,
            prefix_hits=40.0,
        )
    }


def test_sglang_page_counts_one_rank_of_each_engine() -> None:
    page = read_page(SGLANG)
    assert page.engine is Engine.SGLANG
    assert page.models == {
        "qwen": Figures(
            running=7.0,
            waiting=2.0,
            kv_utilization_mean=0.28,
            kv_utilization_max=0.28,
            prompt_tokens=8128902.0,
            generated_tokens=7557572.0,
            prefix_hit_ratio=0.75,
            decode_tokens_per_s=86.5,
        )
    }


def test_llamacpp_page_names_no_model() -> None:
    page = read_page(LLAMACPP)
    assert page.engine is Engine.LLAMACPP
    assert page.models == {
        "": Figures(
            running=1.0,
            waiting=2.0,
            kv_utilization_mean=0.125,
            kv_utilization_max=0.125,
            prompt_tokens=221.0,
            generated_tokens=90.0,
            prefill_tokens_per_s=310.5,
            decode_tokens_per_s=41.25,
        )
    }


@pytest.mark.parametrize(
    ("page", "utilization"),
    [
        (b'vllm:gpu_cache_usage_perc{model_name="m"} 0.5\n', 0.5),
        (b'vllm:gpu_cache_usage_perc{model_name="m"} 0.5\nvllm:kv_cache_usage_perc{model_name="m"} 0.25\n', 0.25),
    ],
    ids=["old name", "both names"],
)
def test_the_newer_of_two_names_wins(page: bytes, utilization: float) -> None:
    assert read_page(page).models["m"].kv_utilization_max == utilization


@pytest.mark.parametrize(
    "value", ["NaN", "+Inf", "-Inf", "-1", "1e999", "abc", "", "0x10", "1_0", "1.2.3", "e", "1e16"]
)
def test_what_is_no_figure_is_passed_over(value: str) -> None:
    page = f'vllm:num_requests_running{{model_name="m"}} {value}\nvllm:num_requests_waiting{{model_name="m"}} 2\n'
    figures = read_page(page.encode()).models["m"]
    assert (figures.running, figures.waiting) == (None, 2.0)


@pytest.mark.parametrize(
    ("labels", "model"),
    [
        (r'model_name="a}b"', "a}b"),
        (r'model_name="a\"b,c"', 'a"b,c'),
        (r'model_name="a\\b"', r"a\b"),
        (r'other_model_name="x",model_name="m"', "m"),
        (r'x="model_name=\"no\"",model_name="m",', "m"),
        (r'engine="0", model_name="m"', "m"),
        ('model_name="Qwen/Qwen2.5-7B"', "Qwen/Qwen2.5-7B"),
        ("", ""),
    ],
)
def test_labels_are_read_as_prometheus_reads_them(labels: str, model: str) -> None:
    assert set(read_page(f"vllm:num_requests_running{{{labels}}} 1\n".encode()).models) == {model}


@pytest.mark.parametrize(
    "page",
    [
        b"",
        b"\x00\xff\xfe" * 1000,
        b"vllm:num_requests_running",
        b'vllm:num_requests_running{model_name="m" 1\n',
        b'vllm:num_requests_running{model_name="m"}1\n',
        b"x_vllm:num_requests_running 1\n",
        b" vllm:num_requests_running 1\n",
        b"# vllm:num_requests_running 1\n",
        b"vllm:num_requests_running_max 1\n",
        b'vllm:num_requests_running{model_name="m"} 1abc\n',
        b"<html>vllm:num_requests_running 1</html>",
    ],
)
def test_other_lines_say_nothing(page: bytes) -> None:
    assert read_page(page).engine is None


def test_line_ends_of_windows_and_timestamps_are_allowed() -> None:
    page = b"vllm:num_requests_running 3 1700000000000\r\nvllm:num_requests_waiting 4\r\n"
    figures = read_page(page).models[""]
    assert (figures.running, figures.waiting) == (3.0, 4.0)


_value = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True).map(repr), st.integers(0, 1000).map(str), st.just("NaN")
)
_label = st.text(st.characters(codec="utf-8", exclude_categories=("Cs",), exclude_characters="\r\n"), max_size=8)
_name = st.sampled_from(
    ["vllm:num_requests_running", "vllm:num_requests_waiting", "vllm:prompt_tokens_total", "vllm:other", "python_info"]
)


def escaped(label: str) -> str:
    return label.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


@given(st.lists(st.tuples(_name, _label, _label, _value), max_size=20))
@example([("vllm:num_requests_running", "{", "}", "1")])
def test_agrees_with_the_full_parser(lines: list[tuple[str, str, str, str]]) -> None:
    page = "".join(f'{n}{{z="{escaped(z)}",model_name="{escaped(m)}"}} {v}\n' for n, m, z, v in lines)
    expected: dict[str, float] = {}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            if sample.name == "vllm:num_requests_running" and 0 <= sample.value <= 1e15:
                model = sample.labels["model_name"]
                expected[model] = expected.get(model, 0.0) + sample.value
    found = {model: f.running for model, f in read_page(page.encode()).models.items() if f.running is not None}
    assert found.keys() == expected.keys()
    assert all(math.isclose(found[model], total, rel_tol=1e-9) for model, total in expected.items())


@given(st.binary(max_size=400))
@settings(max_examples=300)
def test_bytes_of_any_kind_never_raise(page: bytes) -> None:
    looks_like_exposition(page)
    read_page(page)
    read_page(b"vllm:num_requests_running{" + page)
    read_page(b'vllm:num_requests_running{model_name="' + page + b'"} 1\n')


@pytest.mark.parametrize(
    ("page", "is_one"),
    [
        (VLLM, True),
        (b"# HELP a b\n", True),
        (b"a 1", True),
        (b"", False),
        (b"<html>\n<body>\nhello 1\n</html>", False),
        (b'{"error": 1}', False),
        (b"\xff\xff", False),
    ],
)
def test_a_page_of_another_kind_is_told(page: bytes, is_one: bool) -> None:
    assert looks_like_exposition(page) is is_one


def test_a_page_of_500_lines_takes_well_under_a_millisecond() -> None:
    """0.3 ms on an idle core; the bound here is loose enough for a loaded one and far below a full parser's 5.6 ms."""
    buckets = b"".join(
        b'vllm:request_prompt_tokens_bucket{engine="0",le="%d",model_name="llama"} 12.0\n' % n for n in range(480)
    )
    page = VLLM + buckets
    best_s = math.inf
    for _ in range(50):
        started = time.perf_counter()
        read_page(page)
        best_s = min(best_s, time.perf_counter() - started)
    assert best_s < 0.001


@pytest.mark.parametrize(
    "page",
    [
        b'vllm:num_requests_running{a="' + b"\\" * 1_000_000,
        b'vllm:num_requests_running{model_name="m"} 1\n' * 50_000,
        b"vllm:num_requests_running{" + b"a" * 2_000_000,
        b'vllm:num_requests_running{a="",' * 50_000,
        b"vllm:" * 400_000,
        b"a" * 4_000_000,
        b"a{" * 1_000_000,
    ],
)
def test_huge_and_hostile_pages_end_soon(page: bytes) -> None:
    started = time.process_time()
    read_page(page)
    looks_like_exposition(page)
    assert time.process_time() - started < 2.0


@pytest.mark.parametrize(
    "name",
    [
        "vllm:inter_token_latency_seconds",
        "vllm:time_per_output_token_seconds",
        "sglang:inter_token_latency_seconds",
        "sglang:time_per_output_token_seconds",
    ],
)
def test_time_from_token_to_token_is_read_from_the_histograms_sum_and_count(name: str) -> None:
    label = '{model_name="m"}'
    page = f'{name}_bucket{{le="0.1",model_name="m"}} 7\n{name}_sum{label} 2.5\n{name}_count{label} 100\n'
    figures = read_page(page.encode()).models["m"]
    assert (figures.inter_token_s, figures.inter_tokens) == (2.5, 100.0)
