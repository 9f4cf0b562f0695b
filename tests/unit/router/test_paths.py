"""The table of paths, and what clusters add to it."""

import pytest

from router.dialect import Dialect
from router.paths import CHAT, RESPONSES_PATH, TABLE, Form, dialect_of, routes


def test_every_path_stands_under_its_own_bytes() -> None:
    assert all(route.path.encode() == path for path, route in routes([]).items())
    assert set(routes([])) == {path.encode() for path in TABLE}
    assert TABLE[CHAT.path] == CHAT


def test_paths_of_the_table_are_asked_of_every_cluster() -> None:
    assert all(
        route.clusters is None for route in routes([("a", ()), ("b", ["/v1/foo"])]).values() if route.path in TABLE
    )


def test_declared_path_belongs_to_those_who_declare_it() -> None:
    found = routes([("a", ["/v1/foo"]), ("b", ["/v1/foo", "/v1/bar"]), ("c", [])])
    assert found[b"/v1/foo"].clusters == {"a", "b"}
    assert found[b"/v1/bar"].clusters == {"b"}
    assert (found[b"/v1/foo"].form, found[b"/v1/foo"].dialect) == (Form.JSON, Dialect.OPENAI)


def test_path_of_the_table_may_be_narrowed_and_keeps_its_form() -> None:
    route = routes([("a", ["/v1/audio/transcriptions"])])[b"/v1/audio/transcriptions"]
    assert (route.clusters, route.form) == ({"a"}, Form.MULTIPART)


@pytest.mark.parametrize(
    ("path", "dialect"),
    [
        ("/v1/chat/completions", Dialect.OPENAI),
        ("/v1/messages", Dialect.ANTHROPIC),
        ("/v1/messages/count_tokens", Dialect.ANTHROPIC),
        ("/v1/messages/batches", Dialect.ANTHROPIC),
        ("/v1/messagesx", Dialect.OPENAI),
        (RESPONSES_PATH, Dialect.RESPONSES),
        ("/nowhere", Dialect.OPENAI),
    ],
)
def test_each_path_has_its_dialect(path: str, dialect: Dialect) -> None:
    assert dialect_of(path) is dialect
