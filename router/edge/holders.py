"""Finds the cluster that keeps a response: remembered from answers, else asked for. The outside world: clusters.

Asking goes to all that serve the model at once, over the calls' own connections, for a second
at most. Who finds nothing because somebody could not be asked says so: to answer elsewhere
would be to answer wrongly.
"""

import asyncio
from collections.abc import Callable, Sequence

import structlog

from federation.probe import ProbeNotSent
from federation.view import FleetView
from router.call import Call
from router.edge.dialer import PoolDialer
from router.errors import Failure, Kind
from router.stored import Holder, HolderMemory, is_response_id, nobody_has_it, response_id_in

ASK_S = 1.0
ASKED_AT_ONCE_MAX = 256  # Ids that nobody remembers: each costs a request to every cluster of the model.
PARAM = "previous_response_id"

log = structlog.get_logger()

Found = Callable[[str | Failure], None]


class ResponseHolders:
    """See the module's docstring."""

    def __init__(self, dialer: PoolDialer) -> None:
        self.memory = HolderMemory()
        self._dialer = dialer
        self._asking: set[asyncio.Task[str | Failure]] = set()

    def learn(self, beginning: bytes, cluster: str, tenant: str) -> None:
        """An answer begins to go out: remember who made it, and for whom."""
        response_id = response_id_in(beginning)
        if response_id is not None:
            self.memory.put(response_id, Holder(cluster, tenant))

    def find(self, call: Call, fleet: FleetView, found: Found) -> None:
        """Tell `found` the cluster that keeps what the call goes on from, at once or later; or why there is none."""
        response_id = call.continues
        assert response_id is not None
        holder = self.memory.get(response_id)
        if not is_response_id(response_id) or (holder is not None and holder.tenant not in (None, call.tenant)):
            found(_not_found(call))  # What another tenant stored does not exist.
        elif holder is not None:
            found(holder.cluster)
        elif len(self._asking) >= ASKED_AT_ONCE_MAX:
            found(Failure(Kind.TOO_BUSY, "Too many responses are being looked for at once; try again.", PARAM))
        else:
            task = asyncio.get_running_loop().create_task(self._ask(call, _askable(call, fleet)))
            self._asking.add(task)
            task.add_done_callback(lambda done: self._asked(done, found))

    def _asked(self, task: "asyncio.Task[str | Failure]", found: Found) -> None:
        self._asking.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            log.error("response could not be looked for", cause=repr(error))
            found(Failure(Kind.INTERNAL, "The front door failed; this is our fault."))
        else:
            found(task.result())

    async def _ask(self, call: Call, clusters: Sequence[str]) -> str | Failure:
        response_id = call.continues
        assert response_id is not None
        asked = {cluster: asyncio.ensure_future(self._has(cluster, response_id)) for cluster in clusters}
        waiting = set(asked.values())
        try:
            while waiting:
                _, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for cluster, task in asked.items():
                    if task.done() and task.result() == 200:
                        self.memory.put(response_id, Holder(cluster, None))
                        return cluster
        finally:
            for task in waiting:
                task.cancel()
        statuses = {cluster: task.result() for cluster, task in asked.items()}
        if nobody_has_it(statuses.values()):
            return _not_found(call)
        silent = sum(not nobody_has_it([status]) for status in statuses.values())
        message = f"Whether a cluster keeps the response '{response_id}' could not be asked of {silent}; try again."
        return Failure(Kind.NO_CLUSTER, message, PARAM)

    async def _has(self, cluster: str, response_id: str) -> int | None:
        """The status that a cluster answers with; None if it does not."""
        try:
            answer = await self._dialer.probe(cluster, f"/v1/responses/{response_id}", ASK_S)
        except ProbeNotSent:
            return None
        return None if answer is None else answer.status


def _askable(call: Call, fleet: FleetView) -> list[str]:
    """The clusters that may serve the call at all, whatever they are up to now."""
    view = fleet.models.get(call.model)
    return [
        pool.cluster
        for pool in (view.pools if view is not None else ())
        if (call.regions is None or pool.region in call.regions)
        and (call.clusters is None or pool.cluster in call.clusters)
    ]


def _not_found(call: Call) -> Failure:
    shown = (call.continues or "")[:64]
    message = f"The response '{shown}' is not kept by any cluster that serves the model '{call.model}' for this key."
    return Failure(Kind.NOT_FOUND, message, PARAM)
