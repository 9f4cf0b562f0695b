"""What one round found of one proxy in one scenario. Pure."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from statistics import median


@dataclass(frozen=True)
class Sample:
    """Values by name (units in the names), or why there are none. `marks` say what limits a value's worth."""

    round: int
    proxy: str
    scenario: str
    values: dict[str, float] = field(default_factory=dict)
    failure: str | None = None
    marks: tuple[str, ...] = ()

    def as_row(self) -> dict[str, object]:
        return asdict(self)

    @classmethod
    def of_row(cls, row: dict[str, object]) -> "Sample":
        return cls(**{**row, "marks": tuple(row["marks"])})  # type: ignore[arg-type]


class Samples:
    """All of a run."""

    def __init__(self, samples: Iterable[Sample]) -> None:
        self.all = tuple(samples)

    def of(self, proxy: str, scenario: str) -> list[Sample]:
        return [one for one in self.all if (one.proxy, one.scenario) == (proxy, scenario)]

    def values(self, proxy: str, scenario: str, value: str) -> list[float]:
        return [one.values[value] for one in self.of(proxy, scenario) if value in one.values]

    def median(self, proxy: str, scenario: str, value: str) -> float | None:
        """Over the rounds that have it; None where none has, or where a round failed."""
        found = self.values(proxy, scenario, value)
        return median(found) if found and self.failure(proxy, scenario) is None else None

    def ratio(self, proxy: str, to: str, scenario: str, value: str) -> float | None:
        """The median of the ratios within each round: what slows a whole round down cancels out."""
        if self.failure(proxy, scenario) or self.failure(to, scenario):
            return None
        base = {one.round: one.values[value] for one in self.of(to, scenario) if value in one.values}
        ratios = [
            one.values[value] / base[one.round]
            for one in self.of(proxy, scenario)
            if value in one.values and base.get(one.round)
        ]
        return median(ratios) if ratios else None

    def failure(self, proxy: str, scenario: str) -> str | None:
        """The first that this proxy's rounds had there; one failed round fails the figure."""
        return next((one.failure for one in self.of(proxy, scenario) if one.failure), None)

    def marks(self, proxy: str, scenario: str) -> tuple[str, ...]:
        """What limits the figure, each once."""
        return tuple(dict.fromkeys(mark for one in self.of(proxy, scenario) for mark in one.marks))

    def errors(self, proxy: str) -> int:
        """Wrong or missing answers in all rounds."""
        return int(sum(one.values.get("errors", 0) for one in self.all if one.proxy == proxy))
