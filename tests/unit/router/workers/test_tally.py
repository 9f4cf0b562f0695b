"""Several processes' figures as those of one."""

from prometheus_client import CollectorRegistry, Gauge

from federation.clock import ManualClock
from federation.loops import Loops
from router.metrics import RouterMetrics
from router.workers.exposition import families_of, page_of
from router.workers.tally import GAUGES, PARENTS_OWN, Family, Sample, Tally, from_worker, lasting, total_by

CALLS = "tradewind_calls"


def counter(value: float, name: str = CALLS, **labels: str) -> Family:
    return Family(name, "counter", "help", (Sample(f"{name}_total", tuple(labels.items()), value),))


def gauge(value: float, name: str) -> Family:
    return Family(name, "gauge", "help", (Sample(name, (), value),))


def summed(*families: Family) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    tally = Tally()
    for family in families:
        tally.add([family])
    return {(one.name, one.labels): one.value for family in tally.families() for one in family.samples}


def test_counters_add_label_by_label() -> None:
    found = summed(counter(1, region="a"), counter(2, region="b"), counter(4, region="a"))
    assert found == {("tradewind_calls_total", (("region", "a"),)): 5, ("tradewind_calls_total", (("region", "b"),)): 2}


def test_gauges_add_or_the_highest_counts() -> None:
    assert list(summed(gauge(1, "tradewind_calls_in_flight"), gauge(2, "tradewind_calls_in_flight")).values()) == [3]
    assert list(summed(gauge(1, "tradewind_loop_age_seconds"), gauge(2, "tradewind_loop_age_seconds")).values()) == [2]
    assert list(summed(gauge(3, "unlisted"), gauge(2, "unlisted")).values()) == [3]


def test_histograms_of_two_processes_are_one_histogram() -> None:
    one, other, both = CollectorRegistry(), CollectorRegistry(), CollectorRegistry()
    at_once = RouterMetrics(both)
    for registry, ttft_s in ((one, 0.004), (other, 0.7)):
        for metrics in (RouterMetrics(registry), at_once):
            metrics.call_ended(region="r", reason="nearest", outcome="served", ttft_s=ttft_s, event_interval_s=None)
    tally = Tally()
    for registry in (one, other):
        tally.add(families_of(registry.collect()))
    assert lines_of(page_of(tally.families())) == lines_of(page_of(families_of(both.collect())))


def lines_of(page: bytes) -> list[str]:
    """The page without the times at which counters were made, which front doors do not show."""
    return [line for line in page.decode().splitlines() if "_created" not in line]


def test_of_a_worker_that_is_gone_only_what_grows_stays() -> None:
    kept = counter(1), Family("h", "histogram", "", ())
    assert lasting([*kept, gauge(1, "g")]) == kept


def test_what_every_process_reads_for_itself_is_told_by_the_parent() -> None:
    assert from_worker([counter(1, name=name) for name in PARENTS_OWN]) == ()
    assert from_worker([counter(1)]) == (counter(1),)


def test_total_by_a_label_leaves_out_the_empty_one() -> None:
    families = [counter(1, decision="nearest"), counter(2, decision=""), counter(4, decision="nearest")]
    assert total_by(families, CALLS, "decision") == {"nearest": 5}
    assert total_by([counter(3, name="other", decision="x")], CALLS, "decision") == {}


def test_every_gauge_of_a_worker_has_its_rule() -> None:
    registry = CollectorRegistry()
    RouterMetrics(registry)
    Loops(registry, ManualClock())
    told = from_worker(families_of(registry.collect()))
    assert {family.name for family in told if family.type == "gauge"} == set(GAUGES)
    Gauge("tradewind_another", "help", registry=registry)
    assert {family.name for family in families_of(registry.collect()) if family.type == "gauge"} != set(GAUGES)
