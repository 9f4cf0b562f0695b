"""A run as Markdown. Pure: what `edge.Run` holds, as a dict, goes in; text comes out."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tests.benchmarks import measure, plan
from tests.benchmarks.sample import Sample, Samples

BASES = (("envoy", "Envoy"), ("nginx", "nginx"))
CPU_COLUMNS = (
    ("calls-2k", "call, 2 KB"),
    ("calls-32k", "call, 32 KB"),
    ("calls-256k", "call, 256 KB"),
    ("streams-100", "chunk, 100 streams"),
    ("streams-500", "chunk, 500 streams"),
    ("streams-2000", "chunk, 2,000 streams"),
)
NOTES = {
    measure.SLOWER: "events came at a fraction of the common pace, since this proxy does not bear all of it",
    measure.LOAD_BOUND: "the load generator or the upstream was at its end before the proxy: it can do more",
    measure.SATURATED: "the proxy was at its end even at the slowest pace that is tried",
    measure.CAPPED: f"half of its load is more than the {plan.OPEN_LOOP_PER_S_MAX:,}/s that the load generator sends",
    measure.LATE: f"the load generator itself was more than {measure.LATE_MAX_MS:g} ms late in one of a hundred calls: "
    "what else ran on the machine is in this figure",
    measure.SHARED: f"something else had the proxy's core for more than {measure.WAITED_MAX:.0%} of the time; what "
    "waits is then done in larger lots, so that CPU for each is too low rather than too high",
    measure.AGAIN: "in one round a first try failed, since the proxy did not bear the load",
}
LETTERS = dict(zip(NOTES, "abcdefg", strict=True))
ALL = tuple(NOTES)
HOW = """\
Each round starts every proxy anew, one at a time, pinned to one core; the upstream and the load generator, processes
of their own, are pinned to others (on two cores they share the second). CPU time is the proxy's whole process tree
from the kernel's CPU clocks, user and system, over a window in which the load is steady: start-up, opening and closing
are not in it. It is the figure of record, since it survives a noisy machine. Tables show medians over the rounds and,
in brackets, the lowest and highest; ratios are taken within each round, then the median.

Calls carry the 15 headers of the official OpenAI client and those of a cloud load balancer; trace headers, request id
and length differ from call to call. Answers have 0.65 KB. Every answer is checked; a proxy that gives a wrong one
fails. Events have 0.25 KB and an HTTP chunk each, paced at 20/s and stream (5/s at 2,000 streams). Time to first byte
is taken in an open loop with calls at random moments; "added" is the percentile through the proxy minus that of the
same calls sent to the upstream directly, a few seconds before. Memory is the growth of the resident set while 2,000
streams open on a process that holds nothing yet, a few seconds in.

Tradewind is the wheel of `make compiled`: the same source, its hot path as machine code (docs/decisions/0014). The row
"interpreted" is that source as `make up` runs it. Both run with everything on: API keys (hashed in a file), a decision
over ten clusters, probes, metrics, failover and resume armed, log at its default. The others run with one worker or
thread, one static upstream, kept connections, no access log and no keys (LiteLLM: its master key); their files are in
tests/benchmarks/peers/."""

# What matters to CPU for each call or event: that a load could have been larger does not.
OF_CPU = (measure.SLOWER, measure.SATURATED, measure.SHARED, measure.AGAIN)

Peers = list[dict[str, str | None]]


def number(value: float) -> str:
    """Three digits of it."""
    if value and abs(value) < 10:
        return f"{value:.2f}" if abs(value) < 1 else f"{value:.1f}"
    return f"{value:,.0f}"


def table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """The first column to the left, the others to the right."""
    heads = list(heads)
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


class Report:
    """One run's tables."""

    def __init__(self, run: Mapping[str, Any]) -> None:
        self.run = run
        self.samples = Samples(Sample.of_row(row) for row in run["samples"])
        self.peers: Peers = run["peers"]
        self.marked: set[str] = set()

    def cell(
        self,
        peer: Mapping[str, str | None],
        scenario: str,
        show: Callable[[str], str],
        shown: Iterable[str] = ALL,
    ) -> str:
        """A figure, or why there is none: in a word, since the causes are listed further down."""
        name = str(peer["name"])
        if peer["cause"]:
            return "not there"
        if not self.samples.of(name, scenario):
            return "–"
        if self.samples.failure(name, scenario):
            return "failed"
        marks = [mark for mark in self.samples.marks(name, scenario) if mark in shown]
        self.marked |= set(marks)
        letters = ",".join(LETTERS[mark] for mark in marks)
        return show(name) + (f" <sup>{letters}</sup>" if letters else "")

    def value(self, peer: Mapping[str, str | None], scenario: str, value: str, shown: Iterable[str] = ALL) -> str:
        def show(name: str) -> str:
            return number(self.samples.median(name, scenario, value) or 0.0)

        return self.cell(peer, scenario, show, shown)

    def cpu(self) -> str:
        def show(scenario: str) -> Callable[[str], str]:
            def of(name: str) -> str:
                found = self.samples.values(name, scenario, "cpu_us")
                middle = number(self.samples.median(name, scenario, "cpu_us") or 0.0)
                return f"{middle} ({number(min(found))}–{number(max(found))})" if len(found) > 1 else middle

            return of

        rows = [
            [_title(peer), *(self.cell(peer, one, show(one), OF_CPU) for one, _ in CPU_COLUMNS)] for peer in self.peers
        ]
        return table(["CPU µs per", *(title for _, title in CPU_COLUMNS)], rows)

    def ratios(self, base: str, title: str) -> str:
        def show(scenario: str) -> Callable[[str], str]:
            def of(name: str) -> str:
                ratio = self.samples.ratio(name, base, scenario, "cpu_us")
                return "–" if ratio is None else f"{ratio:.2f}"

            return of

        rows = [
            [_title(peer), *(self.cell(peer, scenario, show(scenario), ()) for scenario, _ in CPU_COLUMNS)]
            for peer in self.peers
        ]
        return table([f"CPU ÷ {title}'s", *(column for _, column in CPU_COLUMNS)], rows)

    def service(self) -> str:
        """Calls a second, time to first byte, memory, errors."""

        def per_core(name: str) -> str:
            return number(1e6 / (self.samples.median(name, "calls-2k", "cpu_us") or 1.0))

        def added(scenario: str) -> Callable[[str], str]:
            def of(name: str) -> str:
                found = [self.samples.median(name, scenario, f"added_{which}_ms") or 0.0 for which in ("p50", "p99")]
                return f"{found[0]:.2f} / {found[1]:.2f}"

            return of

        rows = [
            [
                _title(peer),
                self.cell(peer, "calls-2k", per_core, ()),
                self.value(peer, "calls-2k", "per_s"),
                self.cell(peer, "ttfb-fixed", added("ttfb-fixed")),
                self.value(peer, "ttfb-half", "per_s", shown=()),
                self.cell(peer, "ttfb-half", added("ttfb-half")),
                self.value(peer, "streams-2000", "kb", shown=()),
                "–" if peer["cause"] else str(self.samples.errors(str(peer["name"]))),
            ]
            for peer in self.peers
        ]
        heads = [
            "",
            "calls/s per core (1 s ÷ CPU)",
            "measured, closed loop",
            f"added TTFB ms, p50 / p99, at {plan.FIXED_PER_S:,}/s",
            "half load, calls/s",
            "added TTFB ms, p50 / p99, at half load",
            "KB per open stream",
            "wrong answers",
        ]
        return table(heads, rows)

    def uploads(self) -> str:
        rows = []
        for peer in self.peers:
            name = str(peer["name"])
            if name not in plan.UPLOAD_PROXIES:
                continue
            without = self.samples.median(name, "ttfb-fixed", "added_p99_ms")
            beside = self.samples.median(name, "ttfb-upload", "added_p99_ms")
            more = f"{beside - without:.2f}" if beside is not None and without is not None else "–"
            columns = [self.value(peer, "ttfb-fixed", "added_p99_ms"), self.value(peer, "ttfb-upload", "added_p99_ms")]
            done = self.value(peer, "ttfb-upload", "uploads", shown=())
            rows.append([_title(peer), *columns, more, done])
        direct = [one.values["direct_upload_p99_ms"] for one in self.samples.all if one.scenario == "ttfb-upload"
                  and "direct_upload_p99_ms" in one.values]  # fmt: skip
        text = table(["added TTFB p99, ms", "without", "beside uploads", "more", "uploads in the window"], rows)
        if direct:
            middle = sorted(direct)[len(direct) // 2]
            text += (
                f"\n\nWith the same uploads sent to the upstream directly, p99 of the direct calls is {middle:.2f} ms."
            )
        return text

    def long(self) -> str | None:
        """What a stream of ours holds in the end."""
        found = self.samples.of("tradewind", plan.LONG.name)
        if not found:
            return None
        if found[0].failure:
            return f"Memory per stream after 1,000 events each was not measured: {found[0].failure}."
        values = found[0].values
        return (
            f"After {values['held']:,.0f} events each, Tradewind holds {number(values['kb'])} KB for each of 2,000 "
            f"open streams (CPU {number(values['cpu_us'])} µs per chunk over {plan.LONG.window_s:.0f} s, no error)."
        )

    def causes(self) -> str:
        """Each cause once for each proxy, with all that it kept from being measured."""
        lines = [f"- {_title(peer)}: {peer['cause']}." for peer in self.peers if peer["cause"]]
        for peer in self.peers:
            by_cause: dict[str, list[str]] = {}
            for sample in self.samples.all:
                if sample.proxy == peer["name"] and sample.failure:
                    by_cause.setdefault(sample.failure, []).append(sample.scenario)
            lines += [f"- {_title(peer)}, {', '.join(dict.fromkeys(of))}: {cause}" for cause, of in by_cause.items()]
        return "\n".join(lines)

    def notes(self) -> str:
        return "\n".join(f"<sup>{LETTERS[mark]}</sup> {note}.  " for mark, note in NOTES.items() if mark in self.marked)

    def versions(self) -> str:
        rows = [[_title(peer), peer["version"] or "not there", str(peer["from"])] for peer in self.peers]
        return "\n".join(f"| {' | '.join(row)} |" for row in [["", "version", "from"], ["---"] * 3, *rows])


def _title(peer: Mapping[str, str | None]) -> str:
    return f"**{peer['title']}**" if peer["name"] == "tradewind" else str(peer["title"])


def markdown(run: Mapping[str, Any]) -> str:
    """The whole page."""
    made = Report(run)
    here = run["machine"]
    noise = " **A smoke run: short windows, figures not to be quoted.**" if run["quick"] else ""
    sections = [
        "# The front door beside other proxies",
        f"Made by `{run['command']}` on {run['date']}, {run['rounds']} {'round' if run['rounds'] == 1 else 'rounds'}, "
        f"on {here['cores']} cores of {here['processor']}, {here['memory']}, {here['kernel']}, Python {here['python']} "
        f"(load average before: {here['load before']}).{noise}",
        "![CPU, latency and memory of each proxy](edge.svg)",
        "## CPU",
        made.cpu(),
        *(made.ratios(*base) for base in BASES if any(peer["name"] == base[0] for peer in made.peers)),
        "## Calls, time to first byte, memory",
        made.service(),
        made.long(),
        "## Beside uploads of 200 MB",
        f"Sent to `{run['upload_path']}` one after another, as fast as they are taken, "
        f"beside {plan.FIXED_PER_S:,} calls/s.",
        made.uploads(),
    ]
    causes, notes = made.causes(), made.notes()
    sections += [notes] if notes else []
    sections += ["## Not measured", causes] if causes else []
    sections += ["## Versions", made.versions(), "## How", HOW]
    return "\n\n".join(section for section in sections if section) + "\n"
