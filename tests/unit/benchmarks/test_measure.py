"""What a round makes of what the load tells, on a scripted stage."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.benchmarks import measure
from tests.benchmarks.bench import Target
from tests.benchmarks.measure import Round
from tests.benchmarks.plan import TRIES_MAX, Arrivals, Calls, Streams
from tests.benchmarks.proxies import PROXIES
from tests.benchmarks.sample import Sample

NGINX = next(proxy for proxy in PROXIES if proxy.name == "nginx")
METERED = {"proxy_s": 0.9, "upstream_s": 0.2, "load_s": 0.3, "waited_s": 0.0, "seconds": 1.0, "errors": 0}
CALLS = Calls("calls-2k", 2_000, 4)
STREAMS = Streams("streams", 100, per_s=20.0)


class Alive:
    pid = 1

    def running(self) -> bool:
        return True


class ScriptedBench:
    """Tells what it is told to, and how often a proxy was started."""

    load_cores = upstream_cores = (1,)
    upstream = Alive()
    direct = Target(2, "none", [1])

    def __init__(self, *told: dict[str, Any]) -> None:
        self.told = list(told)
        self.starts = 0
        self.paces: list[float] = []

    @contextmanager
    def running(self, proxy: object) -> Iterator[tuple[Alive, Target]]:
        self.starts += 1
        yield Alive(), Target(1, "key", [1])

    def order(self, **command: object) -> dict[str, Any]:
        return self.told.pop(0)

    def pace(self, interval_s: float) -> None:
        self.paces.append(1 / interval_s)


def run(bench: ScriptedBench, *scenarios: Calls | Streams | Arrivals, **kept: Any) -> list[Sample]:
    made = Round(bench, 0, "/", lambda text, took_s: None)  # type: ignore[arg-type]
    return list(made.run(NGINX, scenarios, kept.get("halvings", {}), kept.get("given_up", {})))


def streams_told(**values: float) -> dict[str, Any]:
    return {**METERED, "proxy_s": 0.3, "events": 2_000, "kb": 9.0, "held": 20.0, "fewest": 15, **values}


def test_cpu_is_told_for_each_call() -> None:
    [sample] = run(ScriptedBench({**METERED, "answers": 10_000}), CALLS)
    assert round(sample.values["cpu_us"]) == 90
    assert sample.marks == ()


def test_wrong_answers_fail_the_figure_and_are_counted() -> None:
    [sample] = run(ScriptedBench({**METERED, "answers": 9, "errors": 2, "first_error": "status 502"}), CALLS)
    assert sample.failure == "2 wrong answers, the first: status 502"
    assert sample.values == {"errors": 2}


def test_load_that_is_at_its_end_is_marked() -> None:
    told = {**METERED, "proxy_s": 0.5, "upstream_s": 0.5, "load_s": 0.48, "answers": 10_000}
    assert run(ScriptedBench(told), CALLS)[0].marks == (measure.LOAD_BOUND,)


def test_core_that_was_not_its_own_is_marked() -> None:
    for used_s in (0.5, 0.9):
        told = {**METERED, "proxy_s": used_s, "waited_s": 0.4, "answers": 10_000}
        assert run(ScriptedBench(told), CALLS)[0].marks == (measure.SHARED,)


def test_pace_is_not_halved_for_what_others_did() -> None:
    bench = ScriptedBench(streams_told(events=1_000, waited_s=0.4))
    assert run(bench, STREAMS)[0].marks == (measure.SHARED,)
    assert bench.paces == [20.0]


def test_pace_is_halved_until_the_proxy_bears_it_and_kept_for_the_next_round() -> None:
    halvings: dict[tuple[str, str], int] = {}
    bench = ScriptedBench(streams_told(proxy_s=0.99), streams_told(proxy_s=0.5, events=1_000))
    [sample] = run(bench, STREAMS, halvings=halvings)
    assert bench.paces == [20.0, 10.0]
    assert sample.marks == (measure.SLOWER,)
    assert halvings == {("nginx", "streams"): 1}


def test_failure_of_a_scenario_brings_a_fresh_process_for_the_rest() -> None:
    given_up: dict[tuple[str, str], str] = {}
    bench = ScriptedBench({"failure": "it is broken"}, {**METERED, "answers": 10_000})
    first, second = run(bench, STREAMS, CALLS, given_up=given_up)
    assert (first.failure, second.failure, bench.starts) == ("it is broken", None, 2)
    assert run(ScriptedBench(), STREAMS, given_up=given_up)[0].failure == "it is broken"


def test_load_that_was_not_borne_is_tried_again_and_said() -> None:
    refused = {"failure": "does not bear it", "again": True}
    borne = {"p50_ms": 1.0, "p99_ms": 2.0, "late_p99_ms": 0.1, "errors": 0}
    [sample] = run(ScriptedBench(borne, refused, borne, borne), Arrivals("a", 10.0))
    assert (sample.failure, sample.marks) == (None, (measure.AGAIN,))
    bench = ScriptedBench(*[borne, refused] * TRIES_MAX)
    assert run(bench, Arrivals("a", 10.0))[0].failure == "does not bear it"
    assert bench.starts == TRIES_MAX


def test_added_time_is_what_direct_calls_do_not_take() -> None:
    direct = {"p50_ms": 0.5, "p99_ms": 1.0, "late_p99_ms": 0.1, "errors": 0}
    [sample] = run(ScriptedBench(direct, {**direct, "p50_ms": 0.75, "late_p99_ms": 1.5}), Arrivals("a", 10.0))
    assert sample.values["added_p50_ms"] == 0.25
    assert sample.marks == (measure.LATE,)
