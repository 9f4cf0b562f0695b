import pytest

from tests.benchmarks.report import Report, markdown, number, table
from tests.unit.benchmarks.runs import made_up_run


def line(text: str, begins: str) -> str:
    return next(one for one in text.splitlines() if one.startswith(begins))


@pytest.mark.parametrize(
    ("value", "shown"), [(0.0, "0"), (0.754, "0.75"), (7.54, "7.5"), (75.4, "75"), (1234.5, "1,234"), (-0.05, "-0.05")]
)
def test_number_has_as_many_digits_as_it_is_worth(value: float, shown: str) -> None:
    assert number(value) == shown


def test_table_is_markdown() -> None:
    assert table(["a", "b"], [["x", "1"]]) == "| a | b |\n| --- | ---: |\n| x | 1 |"


def test_cpu_tells_median_and_range() -> None:
    assert "| 135 (90–180) |" in line(Report(made_up_run()).cpu(), "| **Tradewind**")


def test_ratios_of_each_base() -> None:
    made = Report(made_up_run())
    assert line(made.ratios("envoy", "Envoy"), "| **Tradewind**").startswith("| **Tradewind** | 0.75 |")
    assert line(made.ratios("nginx", "nginx"), "| Envoy").startswith("| Envoy | 4.00 |")


def test_ratio_to_what_failed_is_not_told() -> None:
    assert line(Report(made_up_run()).ratios("envoy", "Envoy"), "| nginx").endswith("| – |")


def test_calls_a_second_follow_from_cpu() -> None:
    # 1 s / 135 µs.
    assert line(Report(made_up_run()).service(), "| **Tradewind**").startswith("| **Tradewind** | 7,407 | 8,250 |")


def test_missing_and_failing_proxies_keep_their_rows_and_causes() -> None:
    text = markdown(made_up_run())
    assert line(text, "| HAProxy").count("not there") == 6
    assert "- HAProxy: no haproxy on PATH." in text
    assert line(text, "| Envoy").endswith("| failed |")
    assert "- Envoy, streams-2000: answers wrongly: <b> it sent nothing" in text


def test_marks_are_explained_where_they_stand() -> None:
    text = markdown(made_up_run())
    assert "12 <sup>a</sup>" in text
    assert "<sup>a</sup> events came at a fraction" in text
    assert "<sup>b</sup>" not in text


def test_page_says_how_it_was_made() -> None:
    text = markdown(made_up_run())
    assert "`make bench` on 2026-11-25, 2 rounds, on 2 cores of a processor" in text
    assert "smoke run" not in text
    assert "smoke run" in markdown({**made_up_run(), "quick": True})
