import json

from tests.benchmarks.sample import Sample, Samples
from tests.unit.benchmarks.runs import SAMPLES, sample

FOUND = Samples(SAMPLES)


def test_median_is_over_rounds() -> None:
    assert FOUND.median("tradewind", "calls-2k", "cpu_us") == 135.0  # Of 90 and 180.
    assert FOUND.median("tradewind", "calls-2k", "no such value") is None


def test_ratio_is_taken_within_each_round() -> None:
    """90/120 and 180/240: the machine's slow round cancels out."""
    assert FOUND.ratio("tradewind", "envoy", "calls-2k", "cpu_us") == 0.75
    assert FOUND.ratio("tradewind", "nginx", "calls-2k", "cpu_us") == 3.0


def test_ratio_leaves_out_rounds_that_the_other_lacks() -> None:
    found = Samples([sample(0, "a", "s", v=1.0), sample(1, "a", "s", v=9.0), sample(1, "b", "s", v=3.0)])
    assert found.ratio("a", "b", "s", "v") == 3.0
    assert found.ratio("a", "c", "s", "v") is None


def test_one_failed_round_fails_the_figure() -> None:
    found = Samples([sample(0, "a", "s", v=1.0), Sample(1, "a", "s", failure="it ended"), sample(0, "b", "s", v=1.0)])
    assert found.failure("a", "s") == "it ended"
    assert found.median("a", "s", "v") is None
    assert found.ratio("a", "b", "s", "v") is None
    assert found.ratio("b", "a", "s", "v") is None


def test_errors_and_marks_are_gathered() -> None:
    found = Samples(
        [Sample(0, "a", "s", {"errors": 2}, marks=("x",)), Sample(1, "a", "t", {"errors": 1}, marks=("x",))]
    )
    assert found.errors("a") == 3
    assert found.marks("a", "s") == ("x",)


def test_sample_survives_its_file() -> None:
    one = Sample(1, "a", "s", {"v": 0.5}, marks=("x",))
    assert Sample.of_row(json.loads(json.dumps(one.as_row()))) == one
