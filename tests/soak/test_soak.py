"""The soak itself, for seconds: the real fleet, a few faults, and no call lost that could have been saved."""

import sys

from tests.soak.ask import Kind
from tests.soak.run import Run, Soak
from tests.soak.verdict import Outcome


async def test_some_seconds_of_it_lose_no_call_that_could_have_been_saved() -> None:
    run = Run(seconds=15.0, rate=10.0, seed=4, settle_s=2.0, machine=sys.platform)
    await Soak(run, lambda soak: None).go(None)
    assert not run.saveable, [(one.record.kind, one.record.error) for one in run.saveable]
    assert run.samples[-1].in_flight == 0
    assert run.faults, "at least one fault befell it"
    assert run.checked > 50, "texts were compared"
    assert not run.left_out
    assert run.counts[Kind.CHAT_STREAM, Outcome.SERVED]
