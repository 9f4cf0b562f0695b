from router.simulation.call import NOT_YET, End
from tests.simulated import call


def test_call_that_has_not_begun_knows_nothing() -> None:
    one = call()
    assert (one.end, one.reason, one.first_token_at) == (End.OPEN, None, NOT_YET)


def test_times_are_from_arrival_and_per_further_token() -> None:
    one = call(at=1.0, output_tokens=11)
    one.first_token_at, one.ended_at = 1.5, 2.5
    assert (one.ttft_s, one.tpot_s) == (0.5, 0.1)
    one.output_tokens = 1
    assert one.tpot_s == 0.0
