import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.benchmarks.edge import command_line, main
from tests.benchmarks.install import NotInstalled, provide
from tests.benchmarks.proxies import Proxy, chosen
from tests.unit.benchmarks.runs import made_up_run


def test_command_is_told_as_it_was_typed() -> None:
    assert command_line({"quick": False, "only": None}) == "make bench"
    assert (
        command_line({"rounds": 2, "only": "nginx", "quick": True})
        == 'make bench ARGS="--rounds 2 --only nginx --quick"'
    )


def test_report_is_made_of_a_kept_run_without_measuring(tmp_path: Path) -> None:
    kept = tmp_path / "run.json"
    kept.write_text(json.dumps(made_up_run()))
    done = CliRunner().invoke(main, ["--from", str(kept), "--no-write"])
    assert done.exit_code == 0, done.output
    assert "| 135 (90–180) |" in done.output


@pytest.mark.parametrize(
    ("options", "advice"),
    [
        (["--only", "nginy"], "no proxy is called nginy; there are tradewind"),
        (["--scenario", "no such"], "contains 'no such'"),
    ],
)
def test_mistakes_are_told_before_anything_starts(options: list[str], advice: str) -> None:
    done = CliRunner().invoke(main, options)
    assert done.exit_code == 2
    assert advice in done.output


def test_proxies_are_chosen_in_the_order_of_the_table() -> None:
    assert [proxy.name for proxy in chosen(["envoy", "tradewind"])] == ["tradewind", "envoy"]


def test_what_is_not_there_is_told() -> None:
    with pytest.raises(NotInstalled, match="--no-install"):
        provide(Proxy("other", "Other", lambda place: [], pypi="other==1.0"), install=False)
