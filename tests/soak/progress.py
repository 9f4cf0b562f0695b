"""What a soak looks like while it runs. Speaks to the terminal."""

from collections import Counter
from collections.abc import Callable

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from tests.soak.ask import Kind
from tests.soak.run import Soak
from tests.soak.verdict import Outcome

LINE_EACH_S = 10.0  # Where nobody looks at a terminal.


class Progress:
    """A picture that is drawn anew on a terminal, a line now and then elsewhere."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, refresh_per_second=2) if console.is_terminal else None
        self._said_at = float("-inf")

    def __enter__(self) -> Callable[[Soak], None]:
        if self._live is not None:
            self._live.start()
        return self._show

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def _show(self, soak: Soak) -> None:
        if self._live is not None:
            self._live.update(Group(headline(soak), table(soak)))
        elif soak.now() - self._said_at >= LINE_EACH_S:
            self._said_at = soak.now()
            self._console.print(headline(soak), soft_wrap=True)


def headline(soak: Soak) -> Text:
    """One line of it."""
    run, load, disturber = soak.run, soak.load, soak.disturber
    ends: Counter[Outcome] = Counter()
    for (_, outcome), count in run.counts.items():
        ends[outcome] += count
    faults = ", ".join(f"{fault.kind} {fault.region}".strip() for fault in disturber.active) if disturber else ""
    last = run.samples[-1] if run.samples else None
    process = f"{last.rss_mb:.0f} MB, {last.descriptors} descriptors, {last.threads} threads" if last else ""
    counts = ", ".join(f"{count:,} {outcome}" for outcome, count in sorted(ends.items()))
    text = Text(f"{soak.now():5.0f} of {run.seconds:.0f} s, {soak.phase}: {counts}; ")
    text.append(f"{load.under_way if load else 0} under way; {process}; ")
    saveable = len(run.saveable)
    text.append(f"{saveable} could have been saved", style="bold red" if saveable else "green")
    return text.append(f"; now: {faults or 'no fault'}")


def table(soak: Soak) -> Table:
    """Calls by kind and outcome."""
    outcomes = (Outcome.SERVED, Outcome.REFUSED, Outcome.LEFT, Outcome.FAILED)
    shown = Table(box=None, pad_edge=False)
    shown.add_column("call")
    for outcome in outcomes:
        shown.add_column(outcome, justify="right")
    for kind in Kind:
        shown.add_row(kind, *(f"{soak.run.counts[kind, outcome]:,}" for outcome in outcomes))
    return shown
