"""`tradewind up`: the processes of a whole fleet on one machine, started together, watched, ended together.

Stores and model servers come first, side by side, since the others are told their addresses;
then agents and front doors. The end is the other way round, front doors first, so that calls
under way can finish. A child that died is started again on the same ports.
"""

import asyncio
import json
import secrets
import socket
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from federation.embedded import EmbeddedRedis
from federation.lab.folders import write_private
from federation.lab.layout import (
    GRACE_S,
    Layout,
    agent_document,
    door_document,
    door_ports,
    inventory_document,
    model_arguments,
    model_ports,
)
from federation.lab.processes import Child, Process, StartFailed, StoreProcess, describe_status

START_S_MAX = 30.0
STOP_S_MAX = 5.0  # For anything but a front door, which has calls to finish.
HOST = "127.0.0.1"
COMMAND = (sys.executable, "-m", "router.cli.main")  # By name: this package does not import the one above it.


class PortTaken(Exception):
    """Somebody listens already; says which port and which option chooses another."""


def check_port(port: int, option: str) -> None:
    """Raises PortTaken if nobody could listen on `port` of loopback now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
            probe.listen(1)
        except OSError as error:
            raise PortTaken(f"port {port} cannot be had ({error.strerror}); choose another with {option}") from None


class Supervisor:
    """The processes of one layout. `say` takes one line for a person each time something happens to a child."""

    def __init__(self, layout: Layout, state_dir: Path, say: Callable[[str], None]) -> None:
        self._layout = layout
        self._dir = state_dir
        self._say = say
        self._stores: list[StoreProcess] = []
        self._models: dict[str, Child] = {}
        self._agents: list[Child] = []
        self._doors: list[Child] = []
        self._watches: list[asyncio.Task[None]] = []
        self._ending = False
        self.token = secrets.token_urlsafe(32)

    @property
    def url(self) -> str:
        """The first front door's, as it said itself."""
        return str(self._doors[0].told["url"])

    @property
    def admin_url(self) -> str:
        return str(self._doors[0].told["admin"])

    async def start(self) -> None:
        """Start everything. Raises StartFailed or PortTaken; `stop` must follow in any case."""
        layout = self._layout
        check_port(layout.port, "--port")
        check_port(layout.admin_port, "--admin-port")
        self._write_secrets()
        data_dir = Path(layout.data_dir) if layout.data_dir is not None else None
        for number in range(layout.redis):
            kept = data_dir / f"redis-{number}" if data_dir is not None else None
            self._stores.append(StoreProcess(name=f"redis-{number}", server=EmbeddedRedis(data_dir=kept)))
        for index, plan in enumerate(layout.clusters):
            if plan.url is None:
                arguments = model_arguments(layout, index)
                self._models[plan.name] = self._child("model", plan.name, plan.region, arguments)
        await _start_all([*self._stores, *self._models.values()])
        self._write_configuration()
        for plan in layout.clusters:
            arguments = ["agent", f"agent-{plan.name}.yaml"]
            self._agents.append(self._child("agent", f"agent-{plan.name}", plan.region, arguments))
        for index in range(layout.front_doors):
            name = f"serve-{index}"
            ports = (layout.port, layout.admin_port) if index == 0 else (0, 0)
            # On the command line, where no TRADEWIND_PORT in the environment can put two on one port.
            arguments = ["serve", f"{name}.yaml", "--port", str(ports[0]), "--admin-port", str(ports[1])]
            self._doors.append(self._child("serve", name, layout.home_region, arguments))
        await _start_all([*self._agents, *self._doors])
        for child in self._models.values():
            child.arguments = [*child.arguments, *model_ports(child.told)]
        for child in self._doors:
            child.arguments = [*child.arguments, *door_ports(child.told)]
        self._write_processes()
        loop = asyncio.get_running_loop()
        self._watches = [loop.create_task(self._watch(process)) for process in self.processes()]

    async def stop(self) -> None:
        """End everything, front doors first. Safe after a start that failed half-way, and twice."""
        self._ending = True
        for task in self._watches:
            task.cancel()
        await asyncio.gather(*self._watches, return_exceptions=True)
        await _stop_all(self._doors, GRACE_S + STOP_S_MAX)
        await _stop_all(self._agents, STOP_S_MAX)
        await _stop_all(self._models.values(), STOP_S_MAX)
        await _stop_all(self._stores, STOP_S_MAX)

    async def kill(self) -> None:
        """End everything now."""
        self._ending = True
        await asyncio.gather(*(process.kill() for process in self.processes()))

    def processes(self) -> list[Process]:
        """All of them, in the order in which a person reads them."""
        return [*self._doors, *self._models.values(), *self._agents, *self._stores]

    def rows(self) -> list[dict[str, Any]]:
        """One row a process, for tables and programs: role, name, region, pid, and what it said of itself."""
        rows: list[dict[str, Any]] = []
        for process in self.processes():
            told: dict[str, Any] = {}
            if isinstance(process, Child):
                told = dict(process.told)
            elif isinstance(process, StoreProcess):
                told = {"url": process.server.url}
            rows.append(
                {"role": process.role, "name": process.name, "region": process.region, "pid": process.pid, **told}
            )
        return rows

    async def _watch(self, process: Process) -> None:
        """Tell of a child's death, and start it again after a while; for ever."""
        pause_s = self._layout.restart_after_s
        while True:
            status = await process.exited()
            if self._ending:
                return
            then = f"it starts again in {pause_s:g} s" if pause_s > 0 else "it stays down"
            self._say(f"{process.role} {process.name} ended with {describe_status(status)}; {then}")
            self._write_processes()
            if pause_s <= 0:
                return
            while not process.alive:
                await asyncio.sleep(pause_s)
                try:
                    await process.start(START_S_MAX)
                except StartFailed as error:
                    self._say(f"{error}\n{process.role} {process.name}: the next try is in {pause_s:g} s")
            self._say(f"{process.role} {process.name} is back, pid {process.pid}")
            self._write_processes()

    def _child(self, role: str, name: str, region: str, arguments: Sequence[str]) -> Child:
        return Child(
            role=role,
            name=name,
            region=region,
            arguments=[*COMMAND, *arguments],
            log_file=self._dir / f"{name}.log",
            cwd=self._dir,
        )

    def _write_secrets(self) -> None:
        write_private(self._dir / "admin-token", self.token + "\n")
        for plan in self._layout.clusters:
            write_private(self._dir / f"heartbeat-{plan.name}.key", secrets.token_hex(32) + "\n")

    def _write_configuration(self) -> None:
        layout = self._layout
        stores = [process.server.url for process in self._stores]
        key_files = {plan.name: f"heartbeat-{plan.name}.key" for plan in layout.clusters}
        endpoints = {plan.name: plan.url or str(self._models[plan.name].told["endpoint"]) for plan in layout.clusters}
        self._write_yaml("inventory.yaml", inventory_document(layout, endpoints, key_files))
        for plan in layout.clusters:
            servers = [plan.url] if plan.url is not None else list(self._models[plan.name].told["replicas"])
            document = agent_document(self._layout, plan, servers, stores, key_files[plan.name])
            self._write_yaml(f"agent-{plan.name}.yaml", document)
        for index in range(layout.front_doors):
            document = door_document(layout, index, stores, "inventory.yaml", "admin-token")
            self._write_yaml(f"serve-{index}.yaml", document)

    def _write_yaml(self, name: str, document: Mapping[str, Any]) -> None:
        write_private(self._dir / name, yaml.safe_dump(dict(document), sort_keys=False))

    def _write_processes(self) -> None:
        write_private(self._dir / "processes.json", json.dumps(self.rows()) + "\n")


async def _start_all(processes: Sequence[Process]) -> None:
    """Start them side by side. Raises what the first failure raised, once every other start has been undone."""
    try:
        async with asyncio.TaskGroup() as group:
            for process in processes:
                group.create_task(process.start(START_S_MAX))
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None


async def _stop_all(processes: Iterable[Process], grace_s: float) -> None:
    await asyncio.gather(*(process.stop(grace_s) for process in processes), return_exceptions=True)
