"""Reads a scenario with all that it names, and runs it under several policies and seeds, side by side on all cores.

The shell of the simulator: files and processes. What happens in each of them is pure (`runs`).
"""

import gzip
import zlib
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from multiprocessing import get_context
from pathlib import Path

import msgspec

from federation.geography import Distances
from router.document import Unreadable, read_text
from router.replay.traces import Arrival, BadTrace, parse_trace
from router.simulation.fleet_capacity import capacity
from router.simulation.runs import Advance, Inputs, Result, calls_of, simulate
from router.simulation.scenario import BadScenario, parse


def read(path: Path, *, load: float | None = None, rtt: Path | None = None, trace: Path | None = None) -> Inputs:
    """A scenario with all that it needs; the others take the place of what it says itself.

    Raises BadScenario, BadTrace or BadMatrix with file and line.
    """
    try:
        scenario = parse(read_text(path), str(path))
    except Unreadable as error:
        place = f"{path}:{error.line}" if error.line else str(path)
        raise BadScenario([f"{place}: {error}"]) from None
    if load is not None:
        scenario = msgspec.structs.replace(
            scenario, workload=msgspec.structs.replace(scenario.workload, load=load, rate=None)
        )
    measured: dict[tuple[str, str], float] = {}
    if rtt is not None or scenario.rtt is not None:
        file = rtt or path.parent / str(scenario.rtt)
        measured = dict(Distances.parse(_text(file, path, "rtt"), str(file)).measured)
    arrivals: tuple[Arrival, ...] = ()
    if trace is not None or scenario.workload.trace is not None:
        file = trace or path.parent / str(scenario.workload.trace)
        arrivals = tuple(parse_trace(_text(file, path, "workload.trace").splitlines(), str(file)))
        if arrivals[-1].at_s <= 0.0:
            raise BadTrace(f"{file}: all arrivals are at one moment; expected at least two, some time apart")
    inputs = Inputs(scenario, measured, arrivals, scenario.workload.rate or 0.0)
    if scenario.workload.load is None:
        return inputs
    able = capacity(scenario, lambda alone, rate, rng: calls_of(inputs, alone, rate, rng))
    if able <= 0.0:
        raise BadScenario([f"{path}: workload.load: this fleet cannot keep the objectives for even one call a second"])
    return msgspec.structs.replace(inputs, rate=scenario.workload.load * able)


def run_all(inputs: Inputs, policies: Sequence[str], seeds: Sequence[int], jobs: int, advance: Advance) -> list[Result]:
    """Every policy under every seed, in that order. `advance` is told of simulated seconds that are over."""
    pairs = [(policy, seed) for policy in policies for seed in seeds]
    duration_s = inputs.scenario.duration_s
    if jobs == 1 or len(pairs) == 1:
        results = []
        for policy, seed in pairs:
            results.append(
                simulate(inputs, policy, seed, lambda second: advance(1.0) if second <= duration_s else None)
            )
        return results
    found: dict[tuple[str, int], Result] = {}
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        under_way: dict[Future[Result], tuple[str, int]] = {
            pool.submit(simulate, inputs, *pair): pair for pair in pairs
        }
        try:
            while under_way:
                done, _ = wait(under_way, return_when=FIRST_COMPLETED)
                for future in done:
                    found[under_way.pop(future)] = future.result()
                    advance(duration_s)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)  # Ctrl-C, or one that failed: no use in the others.
            raise
    return [found[pair] for pair in pairs]


def _text(file: Path, scenario: Path, field: str) -> str:
    """A text file, perhaps packed. Raises BadScenario that names the field."""
    try:
        content = file.read_bytes()
        if file.suffix == ".gz":
            content = gzip.decompress(content)
        return content.decode("utf-8")
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise BadScenario([f"{scenario}: {field}: cannot read {file}: {reason}"]) from None
