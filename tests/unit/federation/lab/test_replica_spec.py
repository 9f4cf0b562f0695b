"""What a replica cannot be."""

from dataclasses import replace

import pytest

from federation.lab.presets import SMALL


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        pytest.param({"max_running": 0}, "at least 1", id="no slots"),
        pytest.param({"block_tokens": 0}, "at least 1", id="empty blocks"),
        pytest.param({"max_batched_tokens": 16}, "starve", id="no budget for prompts"),
        pytest.param({"max_model_tokens": 98_304}, "never finish", id="longer than the cache"),
        pytest.param({"step_s": 0.0}, "infinitely many", id="steps without time"),
    ],
)
def test_a_replica_that_could_not_work_is_refused(change, complaint) -> None:
    with pytest.raises(ValueError, match=complaint):
        replace(SMALL, **change)


def test_a_chunk_attends_to_what_came_before_it() -> None:
    spec = replace(SMALL, prefill_s=1e-3, attention_s=1e-6)
    # 100 tokens after 1,000: 100 x 1 ms + 1 us x 100 x (1,000 + 50)
    assert spec.chunk_s(100, 1_000) == pytest.approx(0.205)
    # Cut in two it is the same work.
    assert spec.chunk_s(60, 1_000) + spec.chunk_s(40, 1_060) == pytest.approx(0.205)
