"""Does to a fleet what was drawn, and undoes it. Speaks to processes, emulators' control ports, and the admin API."""

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import Callable, Mapping
from random import Random
from typing import Any

import httpx

from tests.app.fleet import Fleet
from tests.soak.faults import ENDED_BY_RESTART, PAUSE_S, STORE_KINDS, Condition, Fault, FaultKind, draw

BACK_S_MAX = 60.0
TRIES, TRY_S = 20, 0.5
POLL_S = 0.2
DRAIN_MARGIN_S = 30.0


class Disturber:
    """`conditions`: how the regions stand now."""

    def __init__(
        self, fleet: Fleet, rng: Random, now: Callable[[], float], conditions: Callable[[], Mapping[str, Condition]]
    ) -> None:
        self._fleet = fleet
        self._rng = rng
        self._now = now
        self._conditions = conditions
        self._http = httpx.AsyncClient(timeout=5.0, headers={"authorization": f"Bearer {fleet.token}"})
        self.faults: list[Fault] = []

    @property
    def active(self) -> list[Fault]:
        now = self._now()
        return [fault for fault in self.faults if fault.ended_at > now]

    async def run(self, until_s: float) -> None:
        """One fault after another, until none would be over in time; all are over when it returns."""
        async with asyncio.TaskGroup() as group:
            while True:
                await asyncio.sleep(self._rng.uniform(*PAUSE_S))
                while (fault := draw(self._rng, self._conditions(), self.active)) is None and self._now() < until_s:
                    await asyncio.sleep(POLL_S)
                if fault is None or self._now() + fault.lasts_s > until_s:
                    return
                self.faults.append(fault)
                group.create_task(self._befall(fault))

    async def close(self) -> None:
        await self._http.aclose()

    async def _befall(self, fault: Fault) -> None:
        fault.began_at = self._now()
        if fault.kind in ENDED_BY_RESTART:
            was = self._part(fault)["pid"]
            os.kill(was, signal.SIGKILL)
            await self._restarted(fault, was)
        elif fault.kind in (FaultKind.FREEZE, FaultKind.STORE_FREEZE):
            pid = self._part(fault)["pid"]
            os.kill(pid, signal.SIGSTOP)
            try:
                await asyncio.sleep(fault.lasts_s)
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
        elif fault.kind is FaultKind.DRAIN:
            path = f"{self._fleet.admin_url}/admin/drains/{self._part(fault)['name']}"
            wish = {"for_s": fault.lasts_s + DRAIN_MARGIN_S, "reason": "soak"}
            await self._insist("PUT", path, wish)
            await asyncio.sleep(fault.lasts_s)
            await self._insist("DELETE", path, {"reason": "soak"})
        else:
            path = f"{self._part(fault)['control']}/faults"
            await self._insist("POST", path, fault.asked)
            await asyncio.sleep(fault.lasts_s)
            await self._insist("POST", path, {})
        fault.ended_at = self._now()

    def _part(self, fault: Fault) -> dict[str, Any]:
        """Its process as it is now: one that was killed has another pid."""
        role = "redis" if fault.kind in STORE_KINDS else "model"
        rows = json.loads((self._fleet.state / "processes.json").read_text())
        return next(row for row in rows if row["role"] == role and row["region"] == fault.region)

    async def _restarted(self, fault: Fault, was: int) -> None:
        async with asyncio.timeout(BACK_S_MAX):
            while self._part(fault)["pid"] in (was, None):
                await asyncio.sleep(POLL_S)

    async def _insist(self, method: str, url: str, body: dict[str, Any]) -> None:
        """The machine may be busy, and the store just back: try for a while."""
        for _ in range(TRIES):
            with contextlib.suppress(httpx.HTTPError):
                answer = await self._http.request(method, url, json=body)
                if answer.status_code == 200 and answer.json().get("stores_written", 1):
                    return
            await asyncio.sleep(TRY_S)
        raise AssertionError(f"{method} {url} was not done in {TRIES} tries")
