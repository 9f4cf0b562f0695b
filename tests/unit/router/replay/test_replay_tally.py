"""Counts and percentiles of a replay."""

import pytest

from router.replay.tally import KINDS_MAX, OTHER, Answer, Tally, percentile


@pytest.mark.parametrize(
    ("values", "percent", "expected"),
    [([], 50, None), ([1.0], 99, 1.0), ([1.0, 2.0], 50, 1.0), ([1.0, 2.0], 51, 2.0), (list(range(1, 101)), 95, 95)],
)
def test_percentiles_are_values_that_occurred(values: list[float], percent: int, expected: float | None) -> None:
    assert percentile(values, percent) == expected


def test_time_to_first_token_and_between_tokens() -> None:
    answer = Answer(sent_at=10.0, first_at=10.5, last_at=11.5, events=11)
    assert answer.ttft_s == 0.5
    assert answer.tpot_s == pytest.approx(0.1)
    assert Answer(sent_at=1.0).ttft_s is None
    assert Answer(sent_at=1.0, first_at=1.0, last_at=1.0, events=1).tpot_s is None


def test_what_failed_is_counted_by_kind_with_its_first_message() -> None:
    tally = Tally(sent=3)
    tally.add(Answer(sent_at=0.0, first_at=0.25, region="eu", decision="nearest"))
    tally.add(Answer(sent_at=0.0, first_at=0.1, failure="status 503", message="first", region="eu"))
    tally.add(Answer(sent_at=0.0, failure="status 503", message="second"))
    document = tally.to_document()
    assert document["failed"] == 2
    assert document["failures"] == {"status 503": {"count": 2, "first": "first"}}
    assert document["ttft_ms"]["p50"] == 250.0
    assert document["tpot_ms"]["p99"] is None
    assert document["regions"] == {"eu": 2}


def test_what_a_server_says_does_not_grow_without_bound() -> None:
    tally = Tally()
    for number in range(KINDS_MAX + 10):
        tally.add(Answer(sent_at=0.0, region=f"region-{number}", failure=f"status {number}", message="x" * 10_000))
    assert len(tally.regions) <= KINDS_MAX + 1
    assert tally.regions[OTHER] == 10
    assert max(map(len, tally.first_messages.values())) <= 300
