"""The presets against the figures that they are said to have."""

import pytest

from federation.lab.presets import H100, L4, LLAMA_8B, LLAMA_70B, PRESETS, SMALL, preset, replica_spec


def test_8b_on_one_h100_decodes_in_7_7_ms() -> None:
    """16.06 GB x 1.36 / 3.35 TB/s = 6.52 ms, 32 layers x 32 us = 1.02 ms, 126 us a step, 46 us a token: 7.72 ms."""
    assert PRESETS["h100"].decode_step_s(1, 0) == pytest.approx(7.72e-3, abs=0.02e-3)


def test_each_100_000_cached_tokens_add_7_6_ms_on_an_h100() -> None:
    """100,000 x 131,072 bytes x 1.95 / 3.35 TB/s = 7.63 ms"""
    spec = PRESETS["h100"]
    added_s = spec.decode_step_s(1, 100_000) - spec.decode_step_s(1, 0)
    assert added_s == pytest.approx(7.63e-3, abs=0.01e-3)


def test_8b_on_one_h100_computes_a_prompt_token_in_36_us_and_more_after_many() -> None:
    """2 x 8.03e9 / (989.5e12 x 0.45) = 36.07 us; attention to 100,000 tokens doubles that and more:
    4 x 32 x 4,096 x 100,000 / 445e12 = 118 us."""
    spec = PRESETS["h100"]
    assert spec.prefill_s == pytest.approx(36.07e-6, abs=0.01e-6)
    assert spec.chunk_s(1, 100_000) == pytest.approx((36.07 + 117.7) * 1e-6, abs=0.1e-6)


def test_8b_on_one_h100_has_room_for_467_000_tokens() -> None:
    assert PRESETS["h100"].kv_capacity_tokens == pytest.approx(467_000, abs=500)


def test_8b_on_one_l4_is_bound_by_its_memory() -> None:
    """16.06 GB x 1.36 / 0.3 TB/s = 72.8 ms + 1.2 ms: 13 tokens a second; KV room (23.2 - 16.06 GB) / 131,072."""
    spec = PRESETS["l4"]
    assert spec.decode_step_s(1, 0) == pytest.approx(74.0e-3, abs=0.1e-3)
    assert spec.kv_capacity_tokens == pytest.approx(54_400, abs=100)
    assert spec.max_model_tokens < spec.kv_capacity_tokens


def test_many_sequences_make_a_step_bound_by_its_arithmetic() -> None:
    """256 x 2 x 8.03e9 / (121e12 x 0.08) = 425 ms, beyond the 73 ms of the weights."""
    assert PRESETS["l4"].decode_step_s(256, 256) == pytest.approx(0.427, abs=0.002)


def test_a_model_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="no room"):
        replica_spec(L4, LLAMA_70B)
    assert replica_spec(H100, LLAMA_8B) == PRESETS["h100"]


def test_the_small_preset_is_within_a_laptops_patience() -> None:
    assert preset("small") is SMALL
    assert SMALL.decode_step_s(1, 500) == pytest.approx(0.0201, abs=0.0001)
    assert SMALL.decode_step_s(48, 48_000) == pytest.approx(0.0277, abs=0.0001)
    assert 1 / SMALL.prefill_s == pytest.approx(20_000)


def test_an_unknown_preset_names_those_that_exist() -> None:
    with pytest.raises(ValueError, match="small, l4, a100, h100"):
        preset("b200")
