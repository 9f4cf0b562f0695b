"""Which pages may call, and what they may read."""

import pytest

from router.cors import ASKED_BYTES_MAX, Cors

PAGE = b"https://app.example.com"
LISTED = Cors(["https://app.example.com", "http://localhost:3000"])
EVERYONE = Cors(["*"])


def test_a_listed_page_may_read_the_answer() -> None:
    headers = dict(LISTED.answer(PAGE))
    assert headers[b"access-control-allow-origin"] == PAGE
    assert b"x-request-id" in headers[b"access-control-expose-headers"]
    assert headers[b"vary"] == b"origin"


@pytest.mark.parametrize(
    "origin",
    [None, b"https://other.example.com", b"https://app.example.com.evil.example", b"https://APP.example.com", b"null"],
)
def test_another_page_may_not_and_caches_are_told_that_it_matters(origin: bytes | None) -> None:
    assert LISTED.answer(origin) == [(b"vary", b"origin")]
    assert LISTED.preflight(origin, b"POST", None) is None


def test_everyone_may_read_without_a_look_at_the_origin() -> None:
    for origin in (None, PAGE, b"null"):
        headers = dict(EVERYONE.answer(origin))
        assert headers[b"access-control-allow-origin"] == b"*"
        assert b"vary" not in headers


def test_credentials_are_never_allowed() -> None:
    for cors in (LISTED, EVERYONE):
        told = cors.answer(PAGE) + (cors.preflight(PAGE, b"POST", b"authorization") or [])
        assert not [name for name, _ in told if name == b"access-control-allow-credentials"]


def test_a_preflight_is_told_the_methods_and_the_headers_that_it_asks_for() -> None:
    headers = dict(LISTED.preflight(PAGE, b"POST", b"Authorization, content-type") or [])
    assert headers[b"access-control-allow-origin"] == PAGE
    assert b"POST" in headers[b"access-control-allow-methods"].split(b", ")
    assert headers[b"access-control-allow-headers"] == b"authorization, content-type"
    assert headers[b"access-control-max-age"].isdigit()
    assert b"origin" in headers[b"vary"]


@pytest.mark.parametrize(
    "names", [None, b"", b"a" * (ASKED_BYTES_MAX + 1), b"a, b\x00", b"a b", b"a\r\nset-cookie: x", b"a,,b", b"*,"]
)
def test_header_names_that_are_none_or_too_many_are_not_repeated(names: bytes | None) -> None:
    headers = LISTED.preflight(PAGE, b"POST", names)
    assert headers is not None
    assert b"access-control-allow-headers" not in dict(headers)


def test_options_that_is_no_preflight_is_left_to_the_app() -> None:
    assert LISTED.preflight(PAGE, None, None) is None
    assert LISTED.preflight(None, b"POST", None) is None
    assert EVERYONE.preflight(None, b"POST", None) is None
