"""The page and the picture say what was seen."""

from xml.etree import ElementTree

from tests.app.fleet import REGIONS
from tests.soak.ask import Kind
from tests.soak.picture import step_of, svg
from tests.soak.report import page
from tests.soak.run import Failure
from tests.soak.verdict import Verdict
from tests.unit.soak.runs import CONDITIONS, failed, made_up_run

SVG = "{http://www.w3.org/2000/svg}"


def test_page_of_a_good_run() -> None:
    text = page(made_up_run())
    assert "**Passed.**" in text
    assert "| chat | 12,345 | 0 | 0 | 0 |" in text
    assert "| resident memory, MB | 60.0 | 80.0 | 80.0 | 80.0 | +0.0 |" in text
    assert "| begun, and of a kind that is not gone on with | 1 |" in text
    assert "7 `resumed`" in text
    assert "Failures to look into" not in text


def test_page_lists_what_could_have_been_saved() -> None:
    run = made_up_run()
    record = failed(Kind.CHAT, "upstream_failed: a | b", status=502)
    run.failures.append(Failure(record, Verdict.SAVEABLE, CONDITIONS))
    text = page(run)
    assert "**Not passed: 1 failed calls could have been saved.**" in text
    assert "502 upstream_failed: a \\| b" in text
    assert f"kill -9 {REGIONS[0]} 10.0-15.0" in text


def test_picture_is_well_formed_and_shows_every_fault_and_region() -> None:
    run = made_up_run()
    root = ElementTree.fromstring(svg(run))
    assert [one.text for one in root.iter(f"{SVG}title")] == ["kill -9", "Redis frozen"]
    assert {*REGIONS, "Redis"} <= {one.text for one in root.iter(f"{SVG}text")}
    assert len(list(root.iter(f"{SVG}polyline"))) == 2


def test_steps_are_round_and_few() -> None:
    assert [step_of(span) for span in (30.0, 34.0, 0.5, 600.0, 61.0)] == [5.0, 10.0, 0.1, 100.0, 20.0]
