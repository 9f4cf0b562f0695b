"""Active probes: does each cluster answer, and how fast? They go the way that calls go.

Each cluster is probed on an absolute schedule, whether or not the last probe has returned:
a frozen cluster would otherwise slow down its own detection. When this process itself was
held up (a busy machine, a debugger), what looks like silence is ours, and is not counted.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from federation.clock import Clock
from federation.ejection import ProbeResult
from federation.fold import Event, ProbeSeen
from federation.loops import Loops
from federation.metrics import FeedMetrics
from federation.model import ClusterSpec

LAG_S_MAX = 0.25  # Our own lateness beyond which a silent probe says nothing about the cluster.
PROBES_AT_ONCE_MAX = 8  # Of one cluster.


@dataclass(frozen=True, slots=True)
class ProbeAnswer:
    """A status line came back after `rtt_s` seconds."""

    status: int
    rtt_s: float


class ProbeNotSent(Exception):
    """This process could not send the probe: it says nothing of the cluster."""


class Dialer(Protocol):
    """Sends one probe over the connections that calls use."""

    async def probe(self, cluster: str, path: str, timeout_s: float) -> ProbeAnswer | None:
        """The answer, or None if there was none in time. Raises ProbeNotSent."""
        ...


def judge(answer: ProbeAnswer | None) -> ProbeResult:
    """What an answer says: 5xx is unwell, anything else is an answer (a real server may lack the path)."""
    if answer is None:
        return ProbeResult.SILENT
    return ProbeResult.UNWELL if answer.status >= 500 else ProbeResult.ANSWERED


class Prober:
    """Probes every declared cluster, for as long as it runs."""

    def __init__(
        self,
        dialer: Dialer,
        specs: Callable[[], Mapping[str, ClusterSpec]],
        put: Callable[[Event], None],
        clock: Clock,
        metrics: FeedMetrics,
        loops: Loops,
        interval_s: float,
        timeout_s: float,
    ) -> None:
        self.dialer = dialer
        self.specs = specs
        self.put = put
        self.clock = clock
        self.metrics = metrics
        self.interval_s = interval_s
        self.timeout_s = timeout_s
        self.loops = loops
        self._went_round_at = clock.monotonic()
        self._held_up_at = float("-inf")
        self._under_way: dict[str, int] = {}

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            await self.loops.every("probes", self.interval_s, lambda: self._round(group))

    def _round(self, group: asyncio.TaskGroup) -> None:
        now = self.clock.monotonic()
        if now - self._went_round_at > self.interval_s + LAG_S_MAX:
            self._held_up_at = now
        self._went_round_at = now
        for spec in self.specs().values():
            if self._under_way.get(spec.name, 0) < PROBES_AT_ONCE_MAX:
                group.create_task(self._probe(spec))

    async def _probe(self, spec: ClusterSpec) -> None:
        started = self.clock.monotonic()
        self._under_way[spec.name] = self._under_way.get(spec.name, 0) + 1
        try:
            answer = await self.dialer.probe(spec.name, spec.probe_path, self.timeout_s)
        except ProbeNotSent:
            self.metrics.probes.labels(spec.name, "not_counted").inc()
            return
        finally:
            self._under_way[spec.name] -= 1
        result = judge(answer)
        held_up = self.clock.monotonic() - started > self.timeout_s + LAG_S_MAX or self._held_up_at >= started
        if result is ProbeResult.SILENT and held_up:
            self.metrics.probes.labels(spec.name, "not_counted").inc()
            return
        self.metrics.probes.labels(spec.name, result).inc()
        if answer is not None:
            self.metrics.probe_rtt.labels(spec.name).observe(answer.rtt_s)
        self.put(ProbeSeen(spec.name, result, answer.rtt_s if answer is not None else None))
