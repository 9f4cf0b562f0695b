"""The figures of a parent and its workers as if they were one process, for its admin port."""

from collections.abc import Sequence
from typing import Any

from prometheus_client import CollectorRegistry

from router.workers.crew import Crew
from router.workers.exposition import families_of, page_of
from router.workers.messages import Ask
from router.workers.tally import Family, Tally, total_by

FIGURES_S_MAX = 0.25  # For fresh figures, when the metrics are read; then the last ones must do.


class Books:
    """What the admin API asks for; see router.api.figures."""

    def __init__(self, crew: Crew, registry: CollectorRegistry) -> None:
        self.crew = crew
        self.registry = registry
        self._question = 0

    async def page(self) -> bytes:
        """The metrics of all, with figures as fresh as can be had within FIGURES_S_MAX."""
        self._question += 1
        question, now = self._question, self.crew.clock.monotonic()
        asked = [hand for hand in self.crew.hands if hand.up and not hand.is_silent(now) and hand.send(Ask(question))]

        def answered() -> bool:
            return all(hand.answered >= question or hand not in self.crew.hands for hand in asked)

        await self.crew.until(answered, FIGURES_S_MAX)
        self._set_gauges()
        own = families_of(self.registry.collect())
        return page_of(self._summed(own))

    def _summed(self, own: Sequence[Family] = ()) -> tuple[Family, ...]:
        tally = Tally()
        tally.add(own)
        tally.add(self.crew.gone.families())
        for hand in self.crew.hands:
            tally.add(hand.families)
        return tally.families()

    def _set_gauges(self) -> None:
        now = self.crew.clock.monotonic()
        self.crew.metrics.workers.set(sum(1 for hand in self.crew.hands if hand.takes_connections))
        self.crew.metrics.report_age.clear()
        for hand in self.crew.hands:
            self.crew.metrics.report_age.labels(hand.name).set(hand.age_s(now))
        for name, pool in self.crew.door.pools.items():
            self.crew.door.metrics.upstream_connections.labels(name).set(pool.open)

    def totals(self) -> dict[str, Any]:
        """For the status: as each worker last told it."""
        now = self.crew.clock.monotonic()
        return {
            "calls_in_flight": sum(hand.calls for hand in self.crew.hands),
            "decisions": total_by(self._summed(), "tradewind_calls", "decision"),
            "workers": [
                {
                    "worker": hand.name,
                    "pid": hand.process.pid,
                    "phase": hand.phase,
                    "calls": hand.calls,
                    "connections": hand.connections,
                    "age_s": hand.age_s(now),
                }
                for hand in sorted(self.crew.hands, key=lambda hand: hand.name)
            ],
        }

    def unready(self) -> str | None:
        """Why nothing takes calls; None if somebody does."""
        return None if any(hand.takes_connections for hand in self.crew.hands) else "no worker takes connections"
