"""What is measured, for how long, and what must be seen for a figure to count. Pure.

Every scenario of a round runs against a proxy that was started for that round, in the order in
which they stand here: streams first, since memory is read from a process that holds nothing yet.
"""

from dataclasses import dataclass, replace

ROUNDS = 5
FIXED_PER_S = 1_000  # Open loop, the same for every proxy that bears it.
OPEN_LOOP_PER_S_MAX = 6_000  # What the load generator sends evenly, beside the upstream on one core.
HALF = 0.5

# A figure counts only if neither the proxy nor the load was at its end: past these it is marked, or the pace halved.
PROXY_BUSY_MAX = 0.85
LOAD_BUSY_MAX = 0.92
ARRIVED_MIN = 0.95  # Of the chunks that the upstream owed in the window.
PACE_HALVINGS_MAX = 4
TRIES_MAX = 3  # Where a proxy did not bear a load: that may have been a neighbour's doing. Wrong answers have one.

# The upload beside open-loop calls.
UPLOAD_PATH = "/v1/audio/transcriptions"
UPLOAD_BYTES = 200_000_000  # With its form, within the bound that front doors have by default.
UPLOAD_PROXIES = ("tradewind", "nginx", "envoy")


@dataclass(frozen=True)
class Calls:
    """Closed loop: every connection asks again as soon as it was answered."""

    name: str
    prompt_bytes: int
    connections: int
    warm_s: float = 0.4
    window_s: float = 1.5

    @property
    def takes_s(self) -> float:
        return self.warm_s + self.window_s + 0.2


@dataclass(frozen=True)
class Streams:
    """So many streams open at once, each with an event every 1 / per_s seconds."""

    name: str
    streams: int
    per_s: float
    window_s: float = 2.5
    open_s: float = 12.0  # The longest they may take to be open.
    adapts: bool = True  # At a slower pace for a proxy that does not bear this one.

    @property
    def takes_s(self) -> float:
        return self.window_s + 1.0 + self.streams / 1_000


@dataclass(frozen=True)
class Arrivals:
    """Open loop: calls at random moments, so many a second (None: half of what the proxy's core takes)."""

    name: str
    per_s: float | None
    window_s: float = 2.0
    upload: bool = False

    @property
    def takes_s(self) -> float:
        return (3 if self.upload else 2) * (self.window_s + 0.5)  # Direct, then through the proxy.


Scenario = Calls | Streams | Arrivals

STREAMS = (
    Streams("streams-2000", 2_000, per_s=5),
    Streams("streams-500", 500, per_s=20),
    Streams("streams-100", 100, per_s=20),
)
CALLS = (Calls("calls-2k", 2_000, 32), Calls("calls-32k", 32_000, 32), Calls("calls-256k", 256_000, 16))
ARRIVALS = (
    Arrivals("ttfb-fixed", FIXED_PER_S),
    Arrivals("ttfb-half", None),
    Arrivals("ttfb-upload", FIXED_PER_S, upload=True),
)
SCENARIOS: tuple[Scenario, ...] = (*STREAMS, *CALLS, *ARRIVALS)

QUICK = ("streams-2000", "streams-100", "calls-2k", "calls-256k", "ttfb-fixed", "ttfb-upload")

# Once, ours alone: what a stream holds when 1,000 events went through it.
LONG = Streams("streams-long", 2_000, per_s=8, window_s=1_000 / 8 + 2, adapts=False)


def scenarios(quick: bool) -> list[Scenario]:
    """All; or some of them, shorter: to see that it works, not to quote."""
    if not quick:
        return list(SCENARIOS)
    return [
        replace(one, window_s=1.0, open_s=6.0) if isinstance(one, Streams) else replace(one, window_s=0.6)
        for one in SCENARIOS
        if one.name in QUICK
    ]


def applies(scenario: Scenario, proxy: str) -> bool:
    """Whether a proxy takes part in a scenario."""
    if proxy == "interpreted":
        return isinstance(scenario, Calls) or scenario.name == "streams-500"  # What compiling brings, and no more.
    return not (isinstance(scenario, Arrivals) and scenario.upload) or proxy in UPLOAD_PROXIES


def start_s(proxy: str) -> float:
    """About how long it takes to start."""
    return 12.0 if proxy == "litellm" else 1.5


def half_load_per_s(cpu_us: float) -> float:
    """Calls a second that take half a core, as far as the load generator goes."""
    return min(OPEN_LOOP_PER_S_MAX, HALF * 1e6 / cpu_us)
