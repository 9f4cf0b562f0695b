"""How failures are told."""

import json
import re

import pytest

from router import errors
from router.errors import TABLE, Failure, Kind, Row, error_body, error_event, error_headers

DRAWN = dict(re.findall(r"[├└]─ (\w+) +(\d{3}|\(error event\))", errors.__doc__ or ""))


def test_every_kind_has_a_row() -> None:
    assert TABLE.keys() == set(Kind)


def test_every_kind_is_drawn_in_the_tree_and_nothing_else() -> None:
    assert DRAWN.keys() == {kind.value for kind in Kind}


@pytest.mark.parametrize("kind", Kind)
def test_tree_shows_the_status_of_the_table(kind: Kind) -> None:
    if kind is Kind.STREAM_BROKEN:
        assert DRAWN[kind] == "(error event)"
    else:
        assert DRAWN[kind] == str(TABLE[kind].status)


@pytest.mark.parametrize(
    ("row", "statuses"),
    [
        pytest.param("downstream", range(400, 500), id="the client's own doing"),
        pytest.param("upstream", range(502, 505), id="a cluster's doing"),
        pytest.param("router", range(400, 505), id="ours"),
    ],
)
def test_status_says_whose_fault_it_is(row: str, statuses: range) -> None:
    assert all(TABLE[kind].status in statuses for kind in Kind if TABLE[kind].origin == row)


def test_only_500_is_a_mistake_of_ours() -> None:
    assert [kind for kind in Kind if TABLE[kind].status == 500] == [Kind.INTERNAL]


@pytest.mark.parametrize("kind", Kind)
def test_body_is_openais_error_object(kind: Kind) -> None:
    told = json.loads(error_body(Failure(kind, 'It said "no".\n', "model")))
    assert told == {
        "error": {"message": 'It said "no".\n', "type": TABLE[kind].type, "param": "model", "code": kind.value}
    }


def test_event_is_the_same_object_and_never_done() -> None:
    failure = Failure(Kind.STREAM_BROKEN, "gone\nfor good")
    event = error_event(failure)
    assert event == b"data: " + error_body(failure) + b"\n\n"
    assert event.count(b"\n") == 2, "a line feed in the message must not end the event"
    assert b"[DONE]" not in event


@pytest.mark.parametrize("kind", Kind)
def test_client_is_told_whether_trying_again_can_help(kind: Kind) -> None:
    headers = dict(error_headers(Failure(kind, "x")))
    row = TABLE[kind]
    assert headers[b"content-type"] == b"application/json"
    assert (headers.get(b"x-should-retry") == b"false") is (not row.retry)
    assert (b"retry-after" in headers) is (row.retry and row.status in (429, 503))
    assert (b"www-authenticate" in headers) is (kind is Kind.INVALID_API_KEY)


@pytest.mark.parametrize(("given", "told"), [(None, b"1"), (0, b"1"), (-3, b"1"), (7, b"7")])
def test_retry_after_is_at_least_a_second(given: int | None, told: bytes) -> None:
    assert dict(error_headers(Failure(Kind.NO_ROOM, "x", retry_after_s=given)))[b"retry-after"] == told


def test_what_a_client_sent_is_never_worth_a_second_try_as_it_is() -> None:
    """The one exception: a request that came too slowly may come faster."""
    downstream = {kind for kind, row in TABLE.items() if row.origin == "downstream" and row.retry}
    assert downstream == {Kind.REQUEST_TIMEOUT}


def test_row_of_a_failure_is_its_kinds() -> None:
    assert Failure(Kind.NO_CLUSTER, "x").row == Row(503, "server_error", "router", retry=True)
