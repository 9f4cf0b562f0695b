"""One soak: a fleet, load, faults, samples, and what is to be said of them."""

import asyncio
import os
import platform
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import msgspec
import yaml

from router.auth import ENTROPY_BYTES, new_key
from tests.app.fleet import Fleet
from tests.soak.ask import Kind
from tests.soak.disturber import Disturber
from tests.soak.faults import Condition, Fault
from tests.soak.load import Load
from tests.soak.meter import Meter
from tests.soak.series import REST_S, Sample, grown, left_over
from tests.soak.verdict import Outcome, Record, Verdict, verdict

REPLICAS = 3  # Of each region, so that one bears the load of three.
RESTART_S = 4.0
CALM_S = 3.0  # Before the first fault and after the last.
SETTLE_S = REST_S + 5.0


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed call, and how things stood."""

    record: Record
    verdict: Verdict
    conditions: dict[str, Condition]


@dataclass(slots=True)
class Run:
    """What was seen. Times are seconds since the load began."""

    seconds: float
    rate: float
    seed: int
    settle_s: float
    machine: str
    counts: Counter[tuple[Kind, Outcome]] = field(default_factory=Counter)
    failures: list[Failure] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    resumes: dict[str, int] = field(default_factory=dict)
    checked: int = 0  # Answers whose text was compared, byte for byte.
    left_out: int = 0
    late_s_max: float = 0.0

    @property
    def saveable(self) -> list[Failure]:
        return [failure for failure in self.failures if failure.verdict is Verdict.SAVEABLE]

    @property
    def faulted(self) -> list[str]:
        """Why the run is not a good one; [] if it is."""
        found = [*grown(self.samples, self.seconds), *left_over(self.samples, self.settle_s)]
        if self.saveable:
            found.append(f"{len(self.saveable)} failed calls could have been saved")
        return found


class Soak:
    """`watch` is called about once a second, with the run and what is happening."""

    def __init__(self, run: Run, watch: Callable[["Soak"], None]) -> None:
        self.run = run
        self.load: Load | None = None
        self.disturber: Disturber | None = None
        self.meter: Meter | None = None
        self.phase = "starts"
        self._watch = watch
        self._began_at = 0.0

    def now(self) -> float:
        return time.monotonic() - self._began_at

    async def go(self, logs: Path | None) -> None:
        """All of it. `logs`: a folder that gets what the processes wrote."""
        with tempfile.TemporaryDirectory(prefix="tradewind-soak-") as folder:
            made = new_key(os.urandom(ENTROPY_BYTES), tenant="soak")
            keys = Path(folder) / "keys.yaml"
            row = {"id": made.row.id, "tenant": made.row.tenant, "sha256": made.row.sha256}
            keys.write_text(yaml.safe_dump([row]))
            options = ["--seed", str(self.run.seed), "--restart-after", f"{RESTART_S:g}", "--replicas", str(REPLICAS)]
            with Fleet(*options, settings={"TRADEWIND_KEYS_FILE": str(keys)}) as fleet:
                await asyncio.to_thread(fleet.wait_fresh, 30.0)
                try:
                    await self._measure(fleet, made.text)
                finally:
                    if logs is not None:
                        logs.mkdir(parents=True, exist_ok=True)
                        for log in fleet.state.glob("*.log"):
                            (logs / log.name).write_bytes(log.read_bytes())
                        (logs / "up.log").write_text(fleet.errors())
                        (logs / "samples.json").write_bytes(msgspec.json.encode(self.run.samples))

    async def _measure(self, fleet: Fleet, key: str) -> None:
        run = self.run
        self._began_at = time.monotonic()
        meter = self.meter = Meter(fleet, self.now)
        await meter.look_at_regions()
        await meter.sample()
        self._began_at = time.monotonic()
        load = self.load = Load(fleet.url, key, run.rate, run.seed, self.now, self._ended)
        disturber = self.disturber = Disturber(fleet, Random(run.seed), self.now, lambda: meter.conditions)
        run.samples, run.counts, run.faults = meter.samples, load.counts, disturber.faults
        self.phase = "load and faults"
        async with asyncio.TaskGroup() as group:
            beside = [group.create_task(meter.run()), group.create_task(self._tell())]
            async with asyncio.TaskGroup() as work:
                work.create_task(load.run(run.seconds))
                work.create_task(disturber.run(run.seconds - CALM_S))
            run.left_out, run.late_s_max = load.left_out, load.late_s_max
            load.close()
            self.phase = "settles"
            await asyncio.sleep(run.settle_s)
            for task in beside:
                task.cancel()
        await meter.sample()
        labelled = (await meter.metrics()).get("tradewind_resumes_total", {})
        run.resumes = {labels.split('"')[1]: int(count) for labels, count in labelled.items()}
        await meter.close()
        await disturber.close()

    def _ended(self, record: Record) -> None:
        """A call is over."""
        run, meter, disturber = self.run, self.meter, self.disturber
        assert meter is not None, "calls end after they began"
        assert disturber is not None, "calls end after they began"
        if record.outcome is Outcome.FAILED:
            conditions = dict(meter.conditions)
            run.failures.append(Failure(record, verdict(record, disturber.faults, conditions), conditions))
        elif record.outcome is Outcome.SERVED and record.ask.text is not None:
            run.checked += 1

    async def _tell(self) -> None:
        while True:
            self._watch(self)
            await asyncio.sleep(1.0)


def machine() -> str:
    return f"Python {platform.python_version()}, {os.cpu_count()} cores, {platform.machine()}"
