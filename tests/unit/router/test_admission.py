"""Who may call, what for, and where it may be served."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.geography import COORDINATES, nearest_region
from router.admission import DEADLINE_MS_MAX, SESSION_LENGTH_MAX, admit, is_trusted, origin_of
from router.call import ANONYMOUS, RANK, Call, Priority, Tenant
from router.edge.request_head import RequestHead
from router.errors import Failure, Kind
from router.paths import CHAT, RESPONSES_PATH, TABLE, Route

RESIDENCY = {"eu": frozenset({"europe-west1", "europe-west4"}), "us": frozenset({"us-central1"})}
BODY = b'{"model":"llama","stream":true,"max_tokens":9}'
CRITICAL, STANDARD, SHEDDABLE = Priority.CRITICAL, Priority.STANDARD, Priority.SHEDDABLE


def admitted(
    *,
    body: bytes = BODY,
    tenant: Tenant = ANONYMOUS,
    target: bytes = b"/v1/chat/completions",
    route: Route = CHAT,
    **head: bytes | None,
) -> Call | Failure:
    return admit(
        route=route,
        target=target,
        head=RequestHead(forwarded=b"", **head),  # type: ignore[arg-type]
        body=body,
        tenant=tenant,
        request_id="req_9",
        origin="us-central1",
        residency=RESIDENCY,
    )


def the_call(*, body: bytes = BODY, tenant: Tenant = ANONYMOUS, **head: bytes | None) -> Call:
    result = admitted(body=body, tenant=tenant, **head)
    assert isinstance(result, Call), result
    return result


def refused(*, body: bytes = BODY, tenant: Tenant = ANONYMOUS, **head: bytes | None) -> Failure:
    result = admitted(body=body, tenant=tenant, **head)
    assert isinstance(result, Failure), result
    return result


def tenant(**fields: object) -> Tenant:
    return Tenant(name="t", **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("target", "path"),
    [
        (b"/v1/chat/completions?api-version=2", "/v1/chat/completions?api-version=2"),
        (b"/v1/chat/completions?a=1#there", "/v1/chat/completions?a=1"),
        (b"/v1/chat/completions?q=\xe9", "/v1/chat/completions?q=\xe9"),
    ],
)
def test_query_goes_on_and_fragment_does_not(target: bytes, path: str) -> None:
    result = admitted(target=target)
    assert isinstance(result, Call)
    assert result.path == path


def test_request_becomes_a_call() -> None:
    assert the_call() == Call(
        id="req_9",
        path="/v1/chat/completions",
        model="llama",
        origin="us-central1",
        stream=True,
        priority=STANDARD,
        tenant="anonymous",
        prompt_bytes=len(BODY),
        tokens_max=9,
    )


def test_bad_body_is_refused_with_its_field() -> None:
    failure = refused(body=b'{"model":7}')
    assert (failure.kind, failure.param) == (Kind.BAD_BODY, "model")


def test_key_may_use_its_models_only() -> None:
    assert the_call(tenant=tenant(models=frozenset({"llama"}))).tenant == "t"
    failure = refused(tenant=tenant(models=frozenset({"other"})))
    assert (failure.kind, failure.row.status) == (Kind.MODEL_NOT_ALLOWED, 403)


# Regions.


@pytest.mark.parametrize(
    ("value", "allowed", "expected"),
    [
        pytest.param(None, None, None, id="anywhere"),
        pytest.param(None, {"r1"}, {"r1"}, id="the key's regions"),
        pytest.param(b"r1", None, {"r1"}, id="one"),
        pytest.param(b" r1 ,r2,, ", None, {"r1", "r2"}, id="a list with space"),
        pytest.param(b"eu", None, RESIDENCY["eu"], id="a residency class"),
        pytest.param(b"eu,r1", None, RESIDENCY["eu"] | {"r1"}, id="a class and a region"),
        pytest.param(b"r1,r2", {"r2", "r3"}, {"r2"}, id="narrowed to the key's"),
        pytest.param(b"eu", {"europe-west4"}, {"europe-west4"}, id="a class narrowed to the key's"),
        pytest.param(b"r1", {"r2"}, set(), id="nothing left: nowhere, not anywhere"),
        pytest.param(b"EU", {"europe-west4"}, set(), id="names are exact"),
    ],
)
def test_regions_only_ever_narrow(value: bytes | None, allowed: set[str] | None, expected: set[str] | None) -> None:
    regions = None if allowed is None else frozenset(allowed)
    assert the_call(regions=value, tenant=tenant(regions=regions)).regions == expected


@pytest.mark.parametrize("value", [b"", b" ", b",", b" , ,"])
def test_header_that_names_no_region_is_refused_and_not_read_as_anywhere(value: bytes) -> None:
    failure = refused(regions=value)
    assert (failure.kind, failure.param) == (Kind.BAD_HEADER, "x-tradewind-regions")


@given(st.binary(max_size=30), st.frozensets(st.sampled_from(["europe-west1", "r1", "us-central1"])))
def test_no_header_widens_what_the_key_allows(value: bytes, allowed: frozenset[str]) -> None:
    result = admitted(regions=value, tenant=tenant(regions=allowed))
    if isinstance(result, Call):
        assert result.regions is not None
        assert result.regions <= allowed


# Priority.


@pytest.mark.parametrize(
    ("asked", "highest", "expected"),
    [
        pytest.param(None, CRITICAL, STANDARD, id="unasked: standard"),
        pytest.param(None, STANDARD, STANDARD, id="unasked, at the top"),
        pytest.param(None, SHEDDABLE, SHEDDABLE, id="unasked, but the key claims less"),
        pytest.param(b"critical", CRITICAL, CRITICAL, id="as asked"),
        pytest.param(b"critical", STANDARD, STANDARD, id="clipped"),
        pytest.param(b"critical", SHEDDABLE, SHEDDABLE, id="clipped twice"),
        pytest.param(b"sheddable", CRITICAL, SHEDDABLE, id="one may ask for less"),
        pytest.param(b" Critical ", CRITICAL, CRITICAL, id="space and case do not matter"),
    ],
)
def test_priority_is_clipped_to_what_the_key_may_claim(
    asked: bytes | None, highest: Priority, expected: Priority
) -> None:
    assert the_call(priority=asked, tenant=tenant(priority_max=highest)).priority is expected


@pytest.mark.parametrize("asked", [b"", b"urgent", b"1", b"\xff", b"critical,critical"])
def test_priority_nobody_knows_is_refused(asked: bytes) -> None:
    failure = refused(priority=asked)
    assert (failure.kind, failure.param) == (Kind.BAD_HEADER, "x-tradewind-priority")
    assert "critical, standard, sheddable" in failure.message


def test_every_priority_has_a_rank_of_its_own() -> None:
    assert RANK.keys() == set(Priority)
    assert len(set(RANK.values())) == len(Priority)


# Deadlines and sessions.


@pytest.mark.parametrize(
    ("value", "deadline_s"),
    [(None, None), (b"1", 0.001), (b" 1500 ", 1.5), (b"0900", 0.9), (b"86400000", DEADLINE_MS_MAX / 1000)],
)
def test_deadline_is_read_in_ms(value: bytes | None, deadline_s: float | None) -> None:
    assert the_call(deadline_ms=value).deadline_s == deadline_s


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"0",
        b"-1",
        b"+5",
        b"1.5",
        b"1e3",
        b"soon",
        b"86400001",
        b"1_000",
        b"\xb2",
        b"0x10",
        b"9" * 5000,
        b"0" * 5000,
    ],
)
def test_deadline_that_is_none_is_refused(value: bytes) -> None:
    failure = refused(deadline_ms=value)
    assert (failure.kind, failure.param) == (Kind.BAD_HEADER, "x-tradewind-deadline-ms")


def test_session_is_taken_up_to_a_bound() -> None:
    assert the_call().session is None
    assert the_call(session=b"abc\xff").session == "abcÿ"
    assert the_call(session=b"x" * 9999).session == "x" * SESSION_LENGTH_MAX


@given(st.binary(max_size=12), st.binary(max_size=12), st.binary(max_size=12), st.binary(max_size=12))
def test_no_header_makes_anything_but_a_call_or_a_failure(
    regions: bytes, priority: bytes, deadline_ms: bytes, session: bytes
) -> None:
    result = admitted(regions=regions, priority=priority, deadline_ms=deadline_ms, session=session)
    assert isinstance(result, Call) or result.kind is Kind.BAD_HEADER


# Where a call comes from.


def test_origin_is_believed_from_trusted_peers_only() -> None:
    assert origin_of(b"asia-east1", True, "own") == "asia-east1"
    assert origin_of(b"asia-east1", False, "own") == "own"
    assert origin_of(b"35.7,139.7", False, "own") == "own"
    assert origin_of(None, True, "own") == "own"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param(b"35.68,139.69", "asia-northeast1", id="Tokyo"),
        pytest.param(b" 53.2 , 6.5 ", "europe-west4", id="Groningen, with space"),
        pytest.param(b"-33.9,151.2", "australia-southeast1", id="Sydney"),
        pytest.param(b"", "own", id="the load balancer does not know"),
        pytest.param(b",", "own", id="nor here"),
        pytest.param(b"35.7,", "own", id="half"),
        pytest.param(b"north,east", "own", id="words"),
        pytest.param(b"91,0", "own", id="beyond the pole"),
        pytest.param(b"0,181", "own", id="beyond the date line"),
        pytest.param(b"nan,nan", "own", id="no numbers"),
        pytest.param(b"inf,0", "own", id="infinite"),
        pytest.param(b"1,2,3", "own", id="three numbers"),
    ],
)
def test_origin_is_a_region_or_a_place_on_the_globe(value: bytes, expected: str) -> None:
    assert origin_of(value, True, "own") == expected


@given(st.floats(-90, 90), st.floats(-180, 180))
def test_any_place_on_the_globe_has_a_nearest_region(lat: float, lon: float) -> None:
    assert origin_of(f"{lat},{lon}".encode(), True, "own") == nearest_region(lat, lon)
    assert nearest_region(lat, lon) in COORDINATES


@given(st.binary(max_size=40), st.booleans())
def test_no_header_breaks_the_reading_of_an_origin(value: bytes, trusted: bool) -> None:
    assert origin_of(value, trusted, "own")


NETWORKS = [ipaddress.ip_network(text) for text in ("10.0.0.0/8", "127.0.0.1/32", "fd00::/8")]


@pytest.mark.parametrize(
    ("address", "trusted"),
    [
        ("10.1.2.3", True),
        ("127.0.0.1", True),
        ("::ffff:10.1.2.3", True),
        ("fd00::1", True),
        ("11.1.2.3", False),
        ("127.0.0.2", False),
        ("::ffff:11.1.2.3", False),
        ("fe80::1%eth0", False),
        ("::1", False),
        ("", False),
        ("localhost", False),
        ("10.1.2.3:80", False),
        ("/run/socket", False),
    ],
)
def test_peer_is_trusted_by_its_network(address: str, trusted: bool) -> None:
    assert is_trusted(address, NETWORKS) is trusted


def test_nobody_is_trusted_without_networks() -> None:
    assert not is_trusted("127.0.0.1", [])


@pytest.mark.parametrize(("route", "continues"), [(TABLE[RESPONSES_PATH], "resp_1"), (CHAT, None)])
def test_reference_counts_on_its_own_path_only(route: Route, continues: str | None) -> None:
    result = admitted(body=b'{"model":"m","previous_response_id":"resp_1"}', route=route)
    assert isinstance(result, Call)
    assert result.continues == continues


def test_conversations_are_refused_with_a_reason() -> None:
    body = b'{"model":"m","conversation":{"id":"conv_1"}}'
    result = admitted(body=body, route=TABLE[RESPONSES_PATH])
    assert isinstance(result, Failure)
    assert (result.kind, result.param) == (Kind.BAD_BODY, "conversation")
    assert "previous_response_id" in result.message
    assert isinstance(admitted(body=body), Call)
    assert isinstance(admitted(body=b'{"model":"m","conversation":null}', route=TABLE[RESPONSES_PATH]), Call)
