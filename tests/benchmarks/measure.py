"""One proxy in one round: every scenario against a fresh process of it."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from tests.benchmarks.bench import Bench, Failure, Target
from tests.benchmarks.plan import (
    ARRIVED_MIN,
    LOAD_BUSY_MAX,
    PACE_HALVINGS_MAX,
    PROXY_BUSY_MAX,
    TRIES_MAX,
    UPLOAD_BYTES,
    Arrivals,
    Calls,
    Scenario,
    Streams,
    applies,
    half_load_per_s,
)
from tests.benchmarks.proxies import Proxy
from tests.benchmarks.sample import Sample

# Marks of figures; what they mean is said below the tables.
SLOWER = "slower"  # Events came at a fraction of the common pace.
LOAD_BOUND = "load-bound"  # The load generator or the upstream was at its end, not the proxy.
SATURATED = "saturated"  # The proxy was at its end at the slowest pace that is tried.
CAPPED = "capped"  # Half load would have been more than the load generator sends.
LATE = "late"  # The load generator was late itself.
SHARED = "shared"  # Something else had the proxy's core for a part of the window.
AGAIN = "again"  # A first try failed.
LATE_MAX_MS = 1.0
WAITED_MAX = 0.1
BEYOND = 2.0  # So much more than its core takes is not tried.


class Round:
    """Measures one proxy. `halvings` and `given_up` are kept from round to round: each round does the same."""

    def __init__(
        self,
        bench: Bench,
        number: int,
        upload_path: str,
        note: Callable[[str, float], None],
        tries_max: int = TRIES_MAX,
    ) -> None:
        self.bench = bench
        self.number = number
        self.upload_path = upload_path
        self.note = note
        self.tries_max = tries_max
        self.tries: dict[str, int] = {}

    def run(
        self,
        proxy: Proxy,
        scenarios: Iterable[Scenario],
        halvings: dict[tuple[str, str], int],
        given_up: dict[tuple[str, str], str],
    ) -> Iterator[Sample]:
        """A sample for each scenario; where the proxy does not start or answers wrongly, each says so."""
        self.capacity_us: float | None = None
        self.tries = {}
        left: list[Scenario] = []
        for scenario in scenarios:
            if not applies(scenario, proxy.name):
                continue
            if why := given_up.get((proxy.name, scenario.name)):
                self.note("", scenario.takes_s)
                yield Sample(self.number, proxy.name, scenario.name, failure=why)
            else:
                left.append(scenario)
        while left:
            try:
                self.started = False
                with self.bench.running(proxy) as (child, target):
                    self.started = True
                    while left:
                        scenario = left[0]
                        self.note(f"{proxy.title}: {scenario.name}", 0)
                        sample = self._measure(proxy, target, scenario, halvings)
                        if not child.running():
                            raise Failure(f"it ended: {child.last_words()}")
                        if sample is None:
                            break  # A fresh process for the second try.
                        left.pop(0)
                        self.note("", scenario.takes_s)
                        yield sample
                        if sample.failure:
                            given_up[proxy.name, scenario.name] = sample.failure
                            break  # Who knows what is left of it: a fresh process for the rest.
            except (Failure, OSError) as error:
                failed, left = ([left[0]], left[1:]) if self.started else (left, [])
                for scenario in failed:
                    given_up[proxy.name, scenario.name] = str(error)
                    self.note("", scenario.takes_s)
                    yield Sample(self.number, proxy.name, scenario.name, failure=str(error))

    def _measure(
        self, proxy: Proxy, target: Target, scenario: Scenario, halvings: dict[tuple[str, str], int]
    ) -> Sample | None:
        """None: a second try is due."""
        tries = self.tries[scenario.name] = self.tries.get(scenario.name, 0) + 1
        try:
            if isinstance(scenario, Calls):
                values, marks = self._calls(target, scenario)
                if scenario.prompt_bytes == 2_000:
                    self.capacity_us = values["cpu_us"]
            elif isinstance(scenario, Streams):
                values, marks = self._streams(proxy, target, scenario, halvings)
            else:
                values, marks = self._arrivals(target, scenario)
        except Failure as failure:
            if failure.again and tries < self.tries_max:
                return None
            errors = {"errors": float(failure.errors)}
            return Sample(self.number, proxy.name, scenario.name, errors, failure=str(failure))
        if tries > 1 and AGAIN not in marks:
            marks = (*marks, AGAIN)
        return Sample(self.number, proxy.name, scenario.name, values, marks=marks)

    def _order(self, target: Target, **command: object) -> dict[str, Any]:
        """A command's result, less what was wrong: one wrong answer fails a figure."""
        told = self.bench.order(port=target.port, key=target.key, **command)
        if "failure" in told:
            raise Failure(told["failure"], again=told.get("again", False))
        if told["errors"]:
            raise Failure(f"{told['errors']} wrong answers, the first: {told['first_error']}", errors=told["errors"])
        return told

    def _metered(self, target: Target, **command: object) -> dict[str, Any]:
        told = self._order(target, proxy=target.pids, upstream=self.bench.upstream.pid, **command)
        return {**told, "shared": told["waited_s"] / told["seconds"] > WAITED_MAX}

    def _load_bound(self, told: dict[str, Any]) -> bool:
        """Whether the upstream, the load, or the core that both share was at its end."""
        if self.bench.load_cores == self.bench.upstream_cores:
            return bool((told["upstream_s"] + told["load_s"]) / told["seconds"] > LOAD_BUSY_MAX)
        return bool(max(told["upstream_s"], told["load_s"]) / told["seconds"] > LOAD_BUSY_MAX)

    def _calls(self, target: Target, scenario: Calls) -> tuple[dict[str, float], tuple[str, ...]]:
        told = self._metered(
            target,
            do="calls",
            prompt_bytes=scenario.prompt_bytes,
            connections=scenario.connections,
            warm_s=scenario.warm_s,
            window_s=scenario.window_s,
        )
        if not told["answers"]:
            raise Failure(f"no call was answered within {scenario.window_s:g} s")
        values = _common(told, told["answers"])
        marks = [LOAD_BOUND] if values["busy"] < PROXY_BUSY_MAX and self._load_bound(told) else []
        return values, (*marks, SHARED) if told["shared"] else tuple(marks)

    def _streams(
        self, proxy: Proxy, target: Target, scenario: Streams, halvings: dict[tuple[str, str], int]
    ) -> tuple[dict[str, float], tuple[str, ...]]:
        """At the common pace, or the first half, quarter ... of it that the proxy bears."""
        key = (proxy.name, scenario.name)
        while True:
            halved = halvings.get(key, 0)
            per_s = scenario.per_s / 2**halved
            self.bench.pace(1 / per_s)
            try:
                told = self._metered(
                    target,
                    do="streams",
                    count=scenario.streams,
                    open_s=scenario.open_s + 1 / per_s,
                    window_s=max(scenario.window_s, 4 / per_s),
                )
            except Failure as failure:
                if failure.again:  # At a slower pace, if there is one.
                    halvings[key] = min(PACE_HALVINGS_MAX, halved + 2)
                raise
            values = _common(told, max(1, told["events"]))
            owed = told["seconds"] * per_s * scenario.streams
            values |= {"kb": told["kb"], "held": told["held"], "pace_per_s": per_s, "arrived": told["events"] / owed}
            # What comes late because others had its core is not held against the proxy.
            in_time = told["shared"] or values["arrived"] >= ARRIVED_MIN
            bears = values["busy"] <= PROXY_BUSY_MAX and in_time
            if bears or not scenario.adapts or halved == PACE_HALVINGS_MAX or self._load_bound(told):
                break
            halvings[key] = halved + 1
        if told["fewest"] == 0:
            raise Failure(f"a stream got nothing for {told['seconds']:.1f} s")
        marks = [SLOWER] if halved else []
        if self._load_bound(told):
            marks.append(LOAD_BOUND)
        elif not bears:
            marks.append(SATURATED)
        if told["shared"]:
            marks.append(SHARED)
        return values, tuple(marks)

    def _arrivals(self, target: Target, scenario: Arrivals) -> tuple[dict[str, float], tuple[str, ...]]:
        per_s, marks = scenario.per_s, []
        if per_s is None:
            if self.capacity_us is None:
                raise Failure("what its core takes is not known: the calls of 2 KB failed")
            per_s = half_load_per_s(self.capacity_us)
            if per_s < 0.5e6 / self.capacity_us - 1:
                marks.append(CAPPED)
        how: dict[str, Any] = {
            "do": "arrivals",
            "per_s": per_s,
            "window_s": max(scenario.window_s, 40 / per_s),
            "seed": self.number,
        }
        if self.capacity_us is not None and per_s > BEYOND * 1e6 / self.capacity_us:
            raise Failure(f"does not bear {per_s:,.0f} calls/s: its core takes {1e6 / self.capacity_us:,.0f}")
        direct = self._order(self.bench.direct, **how)
        values: dict[str, float] = {"per_s": per_s}
        if scenario.upload:
            with self.bench.uploading(self.bench.direct, self.upload_path, UPLOAD_BYTES):
                # What the uploads cost the load and the upstream, with no proxy there.
                values["direct_upload_p99_ms"] = self._order(self.bench.direct, **how)["p99_ms"]
            with self.bench.uploading(target, self.upload_path, UPLOAD_BYTES) as child:
                told = self._order(target, **how)
                uploads = child.lines()
            if refused := [one["status"] for one in uploads if one["status"] != 200]:
                raise Failure(f"an upload to {self.upload_path} was answered {refused[0]}")
            if not uploads:
                raise Failure(f"no upload ended within {how['window_s']:g} s")
            values["uploads"] = len(uploads)
        else:
            told = self._order(target, **how)
        for name in ("p50_ms", "p99_ms"):
            values |= {name: told[name], f"direct_{name}": direct[name], f"added_{name}": told[name] - direct[name]}
        values |= {"late_p99_ms": told["late_p99_ms"], "errors": 0}
        if told["late_p99_ms"] > LATE_MAX_MS:
            marks.append(LATE)
        return values, tuple(marks)


def _common(told: dict[str, Any], units: int) -> dict[str, float]:
    """What a metered load tells, for each call or event."""
    return {
        "cpu_us": 1e6 * told["proxy_s"] / units,
        "per_s": units / told["seconds"],
        "busy": told["proxy_s"] / told["seconds"],
        "waited": told["waited_s"] / told["seconds"],
        "upstream_us": 1e6 * told["upstream_s"] / units,
        "load_us": 1e6 * told["load_s"] / units,
        "errors": told["errors"],
    }
