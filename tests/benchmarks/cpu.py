"""CPU time and memory of a process tree, from the kernel.

A process's CPU clock counts all its threads, the dead ones too, in nanoseconds and up to this
very moment; /proc/PID/stat counts in ticks of 10 ms, /proc/PID/schedstat the first thread alone.
"""

import os
import time
from collections.abc import Iterable
from pathlib import Path

PAGE_KB = os.sysconf("SC_PAGE_SIZE") / 1024
_WHOLE_PROCESS = 2  # CPUCLOCK_SCHED of the kernel's clock ids: <linux/posix-timers.h>.


def tree_of(pid: int) -> list[int]:
    """A process and all that descend from it."""
    found = [pid]
    for parent in found:  # Grows while it is walked.
        try:
            for task in Path(f"/proc/{parent}/task").iterdir():
                found += [int(child) for child in (task / "children").read_text().split()]
        except OSError:
            continue  # It ended meanwhile.
    return found


def cpu_s(pids: Iterable[int]) -> float:
    """User and system seconds of these processes so far."""
    return sum(time.clock_gettime((~pid << 3) | _WHOLE_PROCESS) for pid in pids)


def rss_kb(pids: Iterable[int]) -> float:
    """Resident memory of these processes; pages that they share count for each."""
    return sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_KB for pid in pids)


def waited_s(pids: Iterable[int]) -> float:
    """Seconds in which threads of these processes could have run, and something else had their core."""
    waited_ns = 0
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").iterdir():
            try:
                waited_ns += int((task / "schedstat").read_text().split()[1])
            except OSError:
                continue  # That thread ended.
    return waited_ns / 1e9


class Meter:
    """What the proxy, the upstream and this process used since `start`."""

    def __init__(self, proxy: Iterable[int], upstream: int) -> None:
        self.proxy = tuple(proxy)
        self.upstream = (upstream,)

    def start(self) -> None:
        self.at = time.perf_counter()
        self.waited_s = waited_s(self.proxy)
        self.before = self._read()

    def stop(self) -> dict[str, float]:
        """CPU seconds by whom, and the seconds that went by."""
        used = [after - before for after, before in zip(self._read(), self.before, strict=True)]
        seconds = time.perf_counter() - self.at
        return {
            "proxy_s": used[0],
            "upstream_s": used[1],
            "load_s": used[2],
            "seconds": seconds,
            "waited_s": max(0.0, waited_s(self.proxy) - self.waited_s),
        }

    def _read(self) -> tuple[float, float, float]:
        return cpu_s(self.proxy), cpu_s(self.upstream), time.process_time()
