"""Looks at the front door: its process, its metrics, its view of the regions. Speaks to /proc and the admin API."""

import asyncio
import contextlib
import re
from collections.abc import Callable
from pathlib import Path

import httpx

from tests.app.fleet import MODEL, Fleet
from tests.soak.faults import Condition
from tests.soak.series import Sample

SAMPLE_S = 2.0
STATUS_S = 0.5
_LINE = re.compile(r"^(tradewind_\w+)(?:\{(.*)\})? (\S+)$", re.MULTILINE)


class Meter:
    """Samples since it was made, and the regions' conditions of this moment."""

    def __init__(self, fleet: Fleet, now: Callable[[], float]) -> None:
        self.samples: list[Sample] = []
        self.conditions: dict[str, Condition] = {}
        self._now = now
        self._pid = fleet.part("serve")["pid"]
        self._admin = fleet.admin_url
        self._http = httpx.AsyncClient(timeout=10.0, headers={"authorization": f"Bearer {fleet.token}"})

    async def close(self) -> None:
        await self._http.aclose()

    async def run(self) -> None:
        """For ever."""
        sampled_at = float("-inf")
        while True:
            with contextlib.suppress(httpx.HTTPError):
                await self.look_at_regions()
                if self._now() - sampled_at >= SAMPLE_S:
                    sampled_at = self._now()
                    await self.sample()
            await asyncio.sleep(STATUS_S)

    async def sample(self) -> Sample:
        figures = await self.metrics()
        status = Path(f"/proc/{self._pid}/status").read_text()
        kept = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        sample = Sample(
            at_s=self._now(),
            rss_mb=int(kept["VmRSS"].split()[0]) / 1024,
            descriptors=len(list(Path(f"/proc/{self._pid}/fd").iterdir())),
            threads=int(kept["Threads"]),
            in_flight=int(sum(figures.get("tradewind_calls_in_flight", {}).values())),
            upstream=int(sum(figures.get("tradewind_upstream_connections", {}).values())),
        )
        self.samples.append(sample)
        return sample

    async def metrics(self) -> dict[str, dict[str, float]]:
        """Name, then labels as they are written, then the value."""
        page = (await self._http.get(f"{self._admin}/metrics")).text
        found: dict[str, dict[str, float]] = {}
        for name, labels, value in _LINE.findall(page):
            found.setdefault(name, {})[labels] = float(value)
        return found

    async def look_at_regions(self) -> None:
        status = (await self._http.get(f"{self._admin}/admin/status")).json()
        for entry in status["clusters"]:
            pool = next((one for one in entry["models"] if one["model"] == MODEL), {})
            self.conditions[entry["region"]] = Condition(
                standing=entry["standing"]["state"],
                liveness=entry["liveness"],
                saturation=pool.get("saturation"),
                drained=entry["drain"] is not None,
            )
