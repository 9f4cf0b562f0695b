"""Metric families of several processes as those of one. Pure.

Counters and histograms add, those of a dead worker included, so that none goes back. Gauges are
those of who lives. How the fleet is seen (heartbeats, probes, standings, stores) is told by the
parent alone: every worker sees the same fleet, and their sum would mean nothing.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Final

import msgspec

Labels = tuple[tuple[str, str], ...]


class Sample(msgspec.Struct, frozen=True, array_like=True, gc=False):
    name: str
    labels: Labels
    value: float


class Family(msgspec.Struct, frozen=True, array_like=True):
    """One metric with its samples. `name` is without `_total`, as the client library has it."""

    name: str
    type: str
    help: str
    samples: tuple[Sample, ...]


class Rule(StrEnum):
    """How the values of a gauge become one."""

    SUM = "sum"
    MAX = "max"


# Every gauge that a worker tells; a test compares it with what workers have.
GAUGES: Final[Mapping[str, Rule]] = {
    "tradewind_calls_in_flight": Rule.SUM,
    "tradewind_upstream_connections": Rule.SUM,
    "tradewind_loop_age_seconds": Rule.MAX,  # The loop that is most overdue is the one to look at.
}

# What every process reads for itself and means the same by; summed, one new file would count as several.
PARENTS_OWN: Final = frozenset({"tradewind_configuration_reloads"})

_ADDING: Final = frozenset({"counter", "histogram"})


class Tally:
    """Sums families up, in the order in which they first came."""

    def __init__(self) -> None:
        self._heads: dict[str, tuple[str, str]] = {}
        self._values: dict[str, dict[tuple[str, Labels], float]] = {}

    def add(self, families: Iterable[Family]) -> None:
        """Count these in."""
        for family in families:
            self._heads.setdefault(family.name, (family.type, family.help))
            values = self._values.setdefault(family.name, {})
            highest = family.type not in _ADDING and GAUGES.get(family.name, Rule.MAX) is Rule.MAX
            for sample in family.samples:
                key = (sample.name, sample.labels)
                before = values.get(key)
                if before is None:
                    values[key] = sample.value
                else:
                    values[key] = max(before, sample.value) if highest else before + sample.value

    def families(self) -> tuple[Family, ...]:
        """Everything so far."""
        return tuple(
            Family(name, *self._heads[name], tuple(Sample(*key, value) for key, value in values.items()))
            for name, values in self._values.items()
        )


def from_worker(families: Iterable[Family]) -> tuple[Family, ...]:
    """What of a worker's families goes to the parent."""
    return tuple(family for family in families if family.name not in PARENTS_OWN)


def lasting(families: Iterable[Family]) -> tuple[Family, ...]:
    """What stays of a worker that is gone: all that only ever grows."""
    return tuple(family for family in families if family.type in _ADDING)


def total_by(families: Iterable[Family], name: str, label: str) -> dict[str, int]:
    """A counter's totals by one label; samples where it is empty are left out."""
    totals: dict[str, int] = {}
    for family in families:
        if family.name == name:
            for sample in family.samples:
                value = dict(sample.labels).get(label)
                if value:
                    totals[value] = totals.get(value, 0) + int(sample.value)
    return totals
