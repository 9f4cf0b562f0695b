"""API keys: from a header to a tenant."""

import hashlib

import pytest

from router.auth import ENTROPY_BYTES, ApiKeys, KeyRow, mistakes, new_key, parse_expiry
from router.call import Priority, Tenant

NOW = 1_800_000_000.0
ENTROPY = bytes(range(ENTROPY_BYTES))
DIGEST = "ab" * 32


def row(**changes: object) -> KeyRow:
    return KeyRow(**{"id": "k1", "tenant": "search", "sha256": DIGEST, **changes})  # type: ignore[arg-type]


def test_a_new_key_opens_for_its_tenant() -> None:
    made = new_key(ENTROPY, tenant="search", priority_max=Priority.CRITICAL, models=("m",), regions=("r",))
    keys = ApiKeys([made.row])
    expected = Tenant(name="search", priority_max=Priority.CRITICAL, models=frozenset({"m"}), regions=frozenset({"r"}))
    assert keys.tenant_of(b"Bearer " + made.text.encode(), NOW) == expected
    assert keys.tenant_of_key(made.text.encode(), NOW) == expected


def test_the_row_holds_the_hash_and_never_the_secret() -> None:
    made = new_key(ENTROPY, tenant="search")
    prefix, key_id, secret = made.text.split("_", 2)
    assert (prefix, key_id) == ("tw", made.row.id)
    assert len(secret) == 43
    assert made.row.sha256 == hashlib.sha256(made.text.encode()).hexdigest()
    assert secret not in repr(made.row)
    assert not list(mistakes([made.row]))


@pytest.mark.parametrize(
    "header",
    [
        pytest.param(None, id="absent"),
        pytest.param(b"", id="empty"),
        pytest.param(b"Bearer", id="no key"),
        pytest.param(b"Bearer  ", id="blank key"),
        pytest.param(b"Basic dHc6", id="another scheme"),
        pytest.param(b"Bearer tw_0001020304_wrong", id="right id, wrong secret"),
        pytest.param(b"Bearer " + b"a" * 100_000, id="absurdly long"),
        pytest.param(b"Bearer \xff\xfe\x00", id="bytes that are no text"),
    ],
)
def test_whoever_has_no_key_is_nobody(header: bytes | None) -> None:
    keys = ApiKeys([new_key(ENTROPY, tenant="search").row])
    assert keys.tenant_of(header, NOW) is None


def test_the_scheme_is_taken_in_any_case_and_space_around_the_key_does_not_count() -> None:
    made = new_key(ENTROPY, tenant="search")
    for scheme in (b"bearer ", b"BEARER ", b"Bearer   "):
        assert ApiKeys([made.row]).tenant_of(scheme + made.text.encode() + b" ", NOW) is not None


def test_a_key_ends_at_its_instant() -> None:
    made = new_key(ENTROPY, tenant="search", expires="2027-01-15T08:00:00Z")
    keys, header = ApiKeys([made.row]), b"Bearer " + made.text.encode()
    assert keys.tenant_of(header, NOW - 0.001) is not None
    assert keys.tenant_of(header, NOW) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2027-01-15", 1_799_971_200.0),
        ("2027-01-15T08:00:00Z", NOW),
        ("2027-01-15T10:00:00+02:00", NOW),
        ("2027-01-15T08:00:00", None),
        ("soon", None),
        ("", None),
    ],
)
def test_expiry_is_a_date_or_a_time_with_its_offset(text: str, expected: float | None) -> None:
    assert parse_expiry(text) == expected


@pytest.mark.parametrize(
    ("changes", "path", "words"),
    [
        ({"id": "a_b"}, "0.id", "letters, digits and dashes"),
        ({"tenant": " "}, "0.tenant", "name whom"),
        ({"sha256": "AB" * 32}, "0.sha256", "64 lower-case hex digits"),
        ({"models": ()}, "0.models", "leave it out to allow all"),
        ({"regions": ()}, "0.regions", "leave it out to allow all"),
        ({"expires": "tomorrow"}, "0.expires", "expected 2027-06-30"),
    ],
)
def test_mistakes_say_where_and_what_was_expected(changes: dict[str, object], path: str, words: str) -> None:
    (found,) = mistakes([row(**changes)])
    assert found.path == path
    assert words in found.message


def test_an_id_or_a_hash_may_stand_once() -> None:
    found = list(mistakes([row(), row()]))
    assert [mistake.path for mistake in found] == ["1.id", "1.sha256"]
