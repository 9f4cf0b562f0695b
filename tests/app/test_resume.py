"""Streams outlive their region: killed or frozen in the middle of hundreds of them.

The figures of record are in docs/benchmarks/resume.md; here the bounds leave room for a busy machine.
"""

from tests.benchmarks.resume import HEADER, Figures, quantile, run

BUSY_S = 1.5  # What a loaded machine may add.
EJECTED_S = 2.5  # Until probes have called a frozen region unreachable, and the sweep has seen it.


def told(figures: Figures) -> str:
    return f"\n{HEADER}\n{figures.row()}  {figures.outcomes}"


def test_streams_survive_the_kill_of_their_region_with_their_text_unchanged() -> None:
    figures = run("kill", streams=500, tokens=300)
    print(told(figures))
    assert figures.on_lost > 100, "the kill hit something"
    assert figures.share >= 0.99, told(figures)
    assert figures.others_survived == figures.streams - figures.on_lost, "streams elsewhere noticed nothing"
    assert figures.outcomes["resumed"] >= 0.99 * figures.on_lost, told(figures)
    assert quantile(figures.gaps_s, 0.99) <= 1.0 + quantile(figures.fresh_ttft_s, 0.99) + BUSY_S, told(figures)


def test_streams_survive_the_freeze_of_their_region_which_breaks_nothing_by_itself() -> None:
    figures = run("freeze", streams=150, tokens=150)
    print(told(figures))
    assert figures.on_lost > 30, "the freeze hit something"
    assert figures.share >= 0.99, told(figures)
    assert figures.others_survived == figures.streams - figures.on_lost
    assert quantile(figures.gaps_s, 0.99) <= EJECTED_S + 1.0 + quantile(figures.fresh_ttft_s, 0.99) + BUSY_S, told(
        figures
    )
