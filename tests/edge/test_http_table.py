"""Every row of the table in docs/http.md is played, and the page says what is played."""

import pytest

from router.edge.upstream import HEAD_BYTES_MAX
from router.settings import EdgeSettings, TimeoutSettings
from tests.edge.harness import stage
from tests.edge.http_rows import ANSWERS, PAGE, REQUESTS, TIMES, Row, written


@pytest.mark.parametrize("row", [*REQUESTS, *ANSWERS], ids=lambda row: row.what.replace("`", "")[:60])
async def test_the_table_says_what_is_answered(row: Row) -> None:
    async with stage(edge=row.edge, timeouts=TIMES, cors_origins=row.cors_origins) as here:
        assert await row.play(here) == row.answered


def test_the_page_has_the_tables_that_are_played() -> None:
    page = PAGE.read_text()
    assert page == written(page), "run python -m tests.edge.http_rows"


def test_the_bounds_in_the_page_are_the_defaults() -> None:
    """The rows are played with smaller ones."""
    edge = EdgeSettings()
    assert (edge.headers_bytes_max, edge.headers_max, edge.body_bytes_max) == (64 * 1024, 100, 32 * 1024 * 1024)
    assert HEAD_BYTES_MAX == 64 * 1024
    assert TimeoutSettings().body_s == 30


def test_no_row_stands_twice() -> None:
    told = [row.what for row in (*REQUESTS, *ANSWERS)]
    assert len(set(told)) == len(told)
