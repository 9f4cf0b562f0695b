"""Families of metrics out of the client library's registries, and back into the page that a scrape reads."""

from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from router.workers.tally import Family, Sample


def families_of(metrics: Iterable[Metric]) -> tuple[Family, ...]:
    """What a registry, or a metric of its own, has collected."""
    return tuple(
        Family(
            metric.name,
            metric.type,
            metric.documentation,
            tuple(Sample(one.name, tuple(one.labels.items()), float(one.value)) for one in metric.samples),
        )
        for metric in metrics
    )


class _Told(Collector):
    def __init__(self, families: Iterable[Family]) -> None:
        self.families = families

    def collect(self) -> Iterator[Metric]:
        for family in self.families:
            metric = Metric(family.name, family.help, family.type)
            for sample in family.samples:
                metric.add_sample(sample.name, dict(sample.labels), sample.value)
            yield metric


def page_of(families: Iterable[Family]) -> bytes:
    """The page, in the text format."""
    registry = CollectorRegistry()
    registry.register(_Told(families))
    return generate_latest(registry)
