"""Records, faults and runs for tests."""

from typing import Any

from tests.app.fleet import REGIONS
from tests.soak.ask import Ask, Kind
from tests.soak.faults import Condition, Fault, FaultKind
from tests.soak.run import Failure, Run
from tests.soak.series import Sample
from tests.soak.verdict import Outcome, Record, Verdict

WHOLE = Condition("admitted", "fresh", 0.2, drained=False)
CONDITIONS = dict.fromkeys(REGIONS, WHOLE)


def fault(kind: FaultKind, region: str = REGIONS[0], began_at: float = 10.0, ended_at: float = 15.0) -> Fault:
    return Fault(kind, region, ended_at - began_at, {}, began_at, ended_at)


def failed(kind: Kind, error: str, **more: Any) -> Record:
    """A call that failed while the faults above were there."""
    fields: dict[str, Any] = {"began_at": 9.0, "ended_at": 12.0, "error": error} | more
    return Record(1, Ask(kind, "/v1/chat/completions", b"", request_id="soak-1"), **fields)


def sample(
    at_s: float, rss_mb: float = 80.0, descriptors: int = 100, upstream: int = 50, in_flight: int = 40
) -> Sample:
    return Sample(at_s, rss_mb, descriptors, 3, in_flight, upstream)


def made_up_run() -> Run:
    run = Run(seconds=600.0, rate=40.0, seed=5, settle_s=65.0, machine="a machine")
    run.samples += [
        sample(0.0, 60.0, 20, 6, 0),
        *(sample(10.0 * i) for i in range(1, 60)),
        sample(665.0, 80.0, 20, 6, 0),
    ]
    run.faults += [fault(FaultKind.KILL), fault(FaultKind.STORE_FREEZE, "", 100.0, 110.0)]
    run.counts[Kind.CHAT, Outcome.SERVED] = 12_345
    run.counts[Kind.TOOLS_STREAM, Outcome.FAILED] = 1
    run.resumes["resumed"] = 7
    record = failed(Kind.TOOLS_STREAM, "stream_broken: it broke off", status=200, received=10)
    run.failures.append(Failure(record, Verdict.BEGUN, CONDITIONS))
    return run
