"""The page that a soak leaves. Pure."""

from collections import Counter

from tests.soak.ask import Kind
from tests.soak.faults import Fault
from tests.soak.run import Failure, Run
from tests.soak.series import Trend, trend, warm_after_s
from tests.soak.verdict import Outcome, Verdict

SHOWN_MAX = 40  # Failures told one by one.
OUTCOMES = (Outcome.SERVED, Outcome.REFUSED, Outcome.LEFT, Outcome.FAILED)


def page(run: Run) -> str:
    """All of it, in Markdown."""
    memory, descriptors = (trend(run.samples, figure, run.seconds) for figure in ("rss_mb", "descriptors"))
    threads = trend(run.samples, "threads", run.seconds)
    calls, failed = sum(run.counts.values()), len(run.failures)
    faulted = "; ".join(run.faulted)
    parts = [
        "# Soak: mixed load over regions that fail at random",
        "",
        f"{run.seconds / 60:g} minutes, {calls:,} calls at {run.rate:g} a second and {len(run.faults)} faults over "
        "three emulated regions, one front door with keys, failover and resume armed, and the load, all on one "
        "machine. At every moment at least one region is whole and has room, so that whatever can be taken elsewhere "
        f"has an elsewhere. Of the calls, {failed:,} failed; **{len(run.saveable)} of them could have been saved**. "
        f"The texts of {run.checked:,} answers, streams gone on with among them, were compared with what an "
        "undisturbed model server says, byte for byte.",
        "",
        f'Made by `make soak ARGS="--minutes {run.seconds / 60:g} --rate {run.rate:g} --seed {run.seed}"` '
        f"({run.machine}). **{'Passed' if not faulted else 'Not passed: ' + faulted}.**",
        "",
        "![Memory and descriptors of the front door over time](soak.svg)",
        "",
        "## Memory and descriptors of the front door",
        "",
        f"Before the load; after the warm-up ({warm_after_s(run.seconds):.0f} s); at the end of the load; "
        f"{run.settle_s:.0f} s after it. The slope is that of least squares from the warm-up on.",
        "",
        "| | before | warm | end | settled | slope an hour |",
        "|---|---:|---:|---:|---:|---:|",
        _trend_row("resident memory, MB", memory, 1),
        _trend_row("descriptors", descriptors, 0),
        _trend_row("threads", threads, 0),
        f"| calls in flight | 0 | | | {run.samples[-1].in_flight} | |",
        f"| connections to clusters | {run.samples[0].upstream} | | | {run.samples[-1].upstream} | |",
        "",
        "## Calls",
        "",
        "| | " + " | ".join(OUTCOMES) + " |",
        "|---|" + "---:|" * len(OUTCOMES),
        *(_calls_row(run, kind) for kind in Kind),
        "",
        "| failed because | calls |",
        "|---|---:|",
        *(f"| {why} | {_count(run.failures, why)} |" for why in Verdict),
        "",
        "## Faults",
        "",
        "| fault | times | seconds altogether |",
        "|---|---:|---:|",
        *_fault_rows(run.faults),
        "",
        "Streams that broke, by what became of them: "
        + (", ".join(f"{count} `{name}`" for name, count in sorted(run.resumes.items())) or "none")
        + ".",
        "",
        *_shown(run),
    ]
    return "\n".join(parts)


def _trend_row(name: str, one: Trend, places: int) -> str:
    figures = [f"{value:.{places}f}" for value in (one.before, one.warm, one.last, one.after)]
    return f"| {name} | {' | '.join(figures)} | {one.per_hour:+.1f} |"


def _calls_row(run: Run, kind: Kind) -> str:
    return f"| {kind} | " + " | ".join(f"{run.counts[kind, outcome]:,}" for outcome in OUTCOMES) + " |"


def _count(failures: list[Failure], why: Verdict) -> int:
    return sum(failure.verdict is why for failure in failures)


def _fault_rows(faults: list[Fault]) -> list[str]:
    times = Counter(fault.kind for fault in faults)
    seconds: Counter[str] = Counter()
    for fault in faults:
        seconds[fault.kind] += round(fault.ended_at - fault.began_at)
    return [f"| {kind} | {count} | {seconds[kind]} |" for kind, count in times.most_common()]


def _shown(run: Run) -> list[str]:
    """Each failure but those that nothing could be done for, with how things stood."""
    told = [one for one in run.failures if one.verdict is not Verdict.BEGUN]
    if not told:
        return []
    lines = ["## Failures to look into", "", "| at s | because | call | lasted s | error | faults near | regions |"]
    lines.append("|---:|---|---|---:|---|---|---|")
    for one in told[:SHOWN_MAX]:
        record = one.record
        near = [fault for fault in run.faults if fault.touches(record.began_at, record.ended_at, 1.0)]
        cells = [
            f"{record.ended_at:.1f}",
            one.verdict.value,
            f"{record.ask.request_id} {record.kind} from {record.ask.origin}",
            f"{record.ended_at - record.began_at:.1f}",
            f"{record.status} {record.error} ({record.marks.get('x-tradewind-region', 'no region')}, "
            f"{record.marks.get('x-tradewind-attempts', '?')} attempts, {len(record.said)} characters)",
            "; ".join(f"{fault.kind} {fault.region} {fault.began_at:.1f}-{fault.ended_at:.1f}" for fault in near),
            "; ".join(f"{region}: {seen}" for region, seen in one.conditions.items()),
        ]
        lines.append("| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |")
    if len(told) > SHOWN_MAX:
        lines += ["", f"And {len(told) - SHOWN_MAX} more."]
    return [*lines, ""]
