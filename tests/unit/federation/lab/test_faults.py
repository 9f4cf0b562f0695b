"""Faults: what can be asked for, and chance that a seed repeats."""

from random import Random

import pytest

from federation.lab.faults import Faults, read_faults


def test_an_empty_request_clears_everything() -> None:
    assert read_faults(b"") == read_faults(b"{}") == Faults()
    assert read_faults(b'{"slow": 5.0, "hang": true}') == Faults(slow=5.0, hang=True)


@pytest.mark.parametrize(
    "body",
    [b'{"slo": 1}', b'{"slow": 0}', b'{"error_rate": 1.5}', b'{"status": 200}', b'{"cut_streams": -1}', b"[]", b"{"],
)
def test_what_is_no_fault_is_refused(body) -> None:
    with pytest.raises(ValueError, match="asks for no faults"):
        read_faults(body)


def test_errors_come_at_their_rate_and_a_seed_repeats_them() -> None:
    rows = [[Faults(error_rate=0.3).refuses_call(rng) for _ in range(2_000)] for rng in (Random(1), Random(1))]
    assert rows[0] == rows[1]
    assert 500 < sum(rows[0]) < 700
    assert not Faults().refuses_call(Random(1))
    assert Faults(error_rate=1.0).refuses_call(Random(1))


def test_a_stream_is_cut_after_some_token_before_the_last() -> None:
    rng = Random(1)
    cuts = {Faults(cut_streams=1.0).cut_after(4, rng) for _ in range(100)}
    assert cuts == {1, 2, 3}
    assert Faults(cut_streams=1.0).cut_after(1, rng) is None
    assert Faults().cut_after(100, rng) is None
    halves = [Faults(cut_streams=0.5).cut_after(9, rng) is None for _ in range(1_000)]
    assert 400 < sum(halves) < 600
