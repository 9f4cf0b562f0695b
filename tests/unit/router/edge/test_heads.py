"""What of a head goes on, and what stays behind."""

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.edge.heads import (
    HOP_BY_HOP,
    NAME_LENGTH_REMEMBERED_MAX,
    NAMES_REMEMBERED_MAX,
    REQUEST_ID_LENGTH_MAX,
    BadHead,
    HeadReader,
    downstream_headers,
    is_request_id,
    upstream_head,
)
from router.edge.request_head import RequestHead

Pairs = list[tuple[bytes, bytes]]
HOST = (b"host", b"front.example")


def read(*headers: tuple[bytes, bytes], region_header: str | None = "x-client-region") -> RequestHead:
    return HeadReader(region_header).read([HOST, *headers])


def forwarded(*headers: tuple[bytes, bytes]) -> set[bytes]:
    """Names that would go on to a cluster."""
    return {line.partition(b":")[0] for line in read(*headers).forwarded.splitlines()}


class Parsed:
    """A request as httptools reads it."""

    def __init__(self, raw: bytes) -> None:
        self.headers: Pairs = []
        self.url = b""
        parser = httptools.HttpRequestParser(self)
        parser.feed_data(raw)
        self.method = parser.get_method()

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))


# On the way up.


def test_ordinary_headers_go_on_as_they_came() -> None:
    head = read((b"accept", b"*/*"), (b"traceparent", b"00-ab-cd-01"), (b"accept", b"text/html"), (b"x-own", b""))
    assert head.forwarded == b"accept: */*\r\ntraceparent: 00-ab-cd-01\r\naccept: text/html\r\nx-own: \r\n"


@pytest.mark.parametrize("name", sorted(HOP_BY_HOP - {b"transfer-encoding"}))
def test_hop_by_hop_headers_stay_behind(name: bytes) -> None:
    assert forwarded((name, b"x"), (b"accept", b"*/*")) == {b"accept"}


@pytest.mark.parametrize("name", [b"authorization", b"x-api-key", b"api-key", b"cookie", b"proxy-authorization"])
def test_credentials_are_never_forwarded(name: bytes) -> None:
    assert b"secret" not in read((name, b"secret"), (b"accept", b"*/*")).forwarded


@pytest.mark.parametrize(
    "name",
    [
        b"x-forwarded-for",
        b"x-forwarded-client-cert",
        b"forwarded",
        b"via",
        b"x-real-ip",
        b"x-client-region",
        b"x-request-id",
        b"x-tradewind-origin",
        b"x-tradewind-anything",
        b"x-tradewind-priority",
        b"x-gateway-destination-endpoint",
        b"x-gateway-model-name",
        b"x-llm-d-anything",
        b"x-envoy-original-path",
        b"proxy-foo",
        b"accept-encoding",
        b"expect",
        b"content-length",
    ],
)
def test_nobody_poses_as_us_or_as_a_proxy(name: bytes) -> None:
    assert forwarded((name, b"x"), (b"accept", b"*/*")) == {b"accept"}


def test_configured_region_header_is_read_and_stays_behind() -> None:
    head = read((b"x-geo", b"asia-east1"), region_header="X-Geo")
    assert head.client_region == b"asia-east1"
    assert head.forwarded == b""
    assert read((b"x-geo", b"asia-east1"), region_header=None).client_region is None


@pytest.mark.parametrize(
    "connection",
    [
        (b"x-hop",),
        (b"close, X-Hop",),
        (b"keep-alive,x-hop , other",),
        (b"close", b"x-hop"),
        (b"x-hop", b"close"),
        (b"X-HOP\t",),
    ],
)
def test_headers_that_connection_names_stay_behind(connection: tuple[bytes, ...]) -> None:
    named = [(b"connection", value) for value in connection]
    assert forwarded((b"x-hop", b"1"), (b"x-hopper", b"2"), *named) == {b"x-hopper"}
    assert forwarded(*named, (b"x-hop", b"1"), (b"accept", b"x-hop: 1")) == {b"accept"}


@pytest.mark.parametrize("value", [b"close", b"keep-alive", b"Close", b"Keep-Alive", b"KEEP-ALIVE, close", b"", b","])
def test_plain_connection_names_no_header(value: bytes) -> None:
    assert forwarded((b"connection", value), (b"accept", b"*/*")) == {b"accept"}


def test_our_own_headers_are_read() -> None:
    head = read(
        (b"authorization", b"Bearer k"),
        (b"x-api-key", b"k2"),
        (b"x-request-id", b"r1"),
        (b"x-tradewind-priority", b"critical"),
        (b"x-tradewind-deadline-ms", b"100"),
        (b"x-tradewind-session", b"s"),
        (b"x-tradewind-regions", b"eu"),
        (b"content-length", b"5"),
    )
    assert (head.authorization, head.api_key, head.request_id) == (b"Bearer k", b"k2", b"r1")
    assert (head.priority, head.deadline_ms, head.session, head.regions) == (b"critical", b"100", b"s", b"eu")
    assert (head.content_length, head.chunked, head.forwarded) == (b"5", False, b"")


@pytest.mark.parametrize(
    "name",
    [
        b"content-length",
        b"authorization",
        b"x-api-key",
        b"x-request-id",
        b"x-tradewind-regions",
        b"x-tradewind-priority",
        b"x-client-region",
    ],
)
@pytest.mark.parametrize("second", [b"5", b"6"], ids=["same value", "other value"])
def test_header_that_we_act_on_may_stand_once_only(name: bytes, second: bytes) -> None:
    with pytest.raises(BadHead, match="stands twice"):
        read((name, b"5"), (b"accept", b"*/*"), (name, second))


@pytest.mark.parametrize("hosts", [0, 2, 3])
def test_request_needs_exactly_one_host(hosts: int) -> None:
    with pytest.raises(BadHead, match="exactly one Host"):
        HeadReader(None).read([HOST] * hosts)


def test_length_and_transfer_encoding_together_are_refused() -> None:
    for headers in (
        [(b"content-length", b"5"), (b"transfer-encoding", b"chunked")],
        [
            (b"transfer-encoding", b"chunked"),
            (b"content-length", b"0"),
        ],
    ):
        with pytest.raises(BadHead, match="both Content-Length and Transfer-Encoding"):
            read(*headers)


@pytest.mark.parametrize(
    "values",
    [
        [b"gzip"],
        [b"gzip, chunked"],
        [b"chunked, gzip"],
        [b"chunked, chunked"],
        [b"identity"],
        [b"xchunked"],
        [b"chunked;q=1"],
        [b""],
        [b"chunked", b"chunked"],
        [b"chunked", b"identity"],
    ],
)
def test_transfer_encoding_is_one_chunked_or_refused(values: list[bytes]) -> None:
    with pytest.raises(BadHead, match="transfer encoding"):
        read(*((b"transfer-encoding", value) for value in values))


@pytest.mark.parametrize("value", [b"chunked", b"Chunked", b" chunked "])
def test_chunked_body_is_known_as_one(value: bytes) -> None:
    assert read((b"transfer-encoding", value)).chunked


def test_reader_reads_each_request_anew() -> None:
    reader = HeadReader("x-client-region")
    first = reader.read([HOST, (b"authorization", b"a"), (b"x-client-region", b"r"), (b"accept", b"1")])
    second = reader.read([HOST, (b"accept", b"2")])
    assert (first.authorization, second.authorization, second.client_region) == (b"a", None, None)
    assert second.forwarded == b"accept: 2\r\n"


def test_remembered_names_are_bounded_in_number_and_length() -> None:
    reader = HeadReader(None)
    reader.read([HOST, *((b"x-%d" % number, b"") for number in range(3 * NAMES_REMEMBERED_MAX))])
    assert len(reader._fates) == NAMES_REMEMBERED_MAX
    reader = HeadReader(None)
    reader.read([HOST, *((b"%d" % number + b"x" * 60_000, b"") for number in range(100))])
    assert all(len(name) <= NAME_LENGTH_REMEMBERED_MAX for name in reader._fates)


def test_full_memory_changes_no_fate() -> None:
    reader = HeadReader(None)
    reader.read([HOST, *((b"x-%d" % number, b"") for number in range(2 * NAMES_REMEMBERED_MAX))])
    head = reader.read([HOST, (b"cookie", b"secret"), (b"authorization", b"k"), (b"x-new", b"1")])
    assert head.forwarded == b"x-new: 1\r\n"
    assert head.authorization == b"k"


# Heads that are sent.

PATH, AUTHORITY, REQUEST_ID, ORIGIN = b"/v1/completions", b"10.0.0.1:80", b"req_1", b"us-central1"


def test_upstream_head_is_ours() -> None:
    head = upstream_head(PATH, AUTHORITY, read((b"accept", b"*/*")), REQUEST_ID, ORIGIN, 42)
    assert head == (
        b"POST /v1/completions HTTP/1.1\r\nhost: 10.0.0.1:80\r\naccept: */*\r\nx-request-id: req_1\r\n"
        b"x-tradewind-origin: us-central1\r\ncontent-length: 42\r\n\r\n"
    )


OURS = {b"host", b"x-request-id", b"x-tradewind-origin", b"content-length"}
names = st.one_of(
    st.sampled_from(
        [
            *(b"accept", b"connection", b"content-length", b"cookie", b"Host", b"te", b"transfer-encoding", b"x-a"),
            *(b"X-Forwarded-For", b"x-request-id", b"X-Tradewind-Origin", b"authorization", b"keep-alive", b"upgrade"),
        ]
    ),
    st.from_regex(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,12}", fullmatch=True),
)
lines = st.builds(
    lambda name, colon, value, end: name + colon + value + end,
    names,
    st.sampled_from([b":", b": ", b" :", b":\t"]),
    st.one_of(st.binary(max_size=20), st.sampled_from([b"x-a", b"close", b"chunked", b"a\r\nx-evil: 1", b"a\nb: c"])),
    st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r"]),
)


@given(st.lists(lines, max_size=5))
def test_nothing_a_client_sends_smuggles_a_header_to_a_cluster(written: list[bytes]) -> None:
    """Whatever the parser lets through: read again, our head holds ours once each, and what we meant to forward."""
    raw = b"POST /v1/completions HTTP/1.1\r\nhost: front\r\n" + b"".join(written) + b"\r\n"
    try:
        sent = Parsed(raw).headers
        head = HeadReader("x-client-region").read(sent)
    except (httptools.HttpParserError, httptools.HttpParserUpgrade, BadHead):
        return
    again = Parsed(upstream_head(PATH, AUTHORITY, head, REQUEST_ID, ORIGIN, 0))
    assert again.url == PATH
    assert [value for name, value in again.headers if name in OURS] == [AUTHORITY, REQUEST_ID, ORIGIN, b"0"]
    others = [(name, value.strip(b" \t")) for name, value in again.headers if name not in OURS]
    sent = [(name, value.strip(b" \t")) for name, value in sent]
    assert all(pair in sent for pair in others)
    named = {token.strip().lower() for name, value in sent if name == b"connection" for token in value.split(b",")} - {
        b"close",
        b"keep-alive",
    }
    assert not {name for name, _ in others} & (HOP_BY_HOP | {b"cookie", b"authorization"} | named)


@pytest.mark.parametrize(
    "line", [b"a: b\r\n c", b"a: b\rc", b"a: b\nc: d", b"a: b\x00", b"a : b", b"a\xff: b", b"a(: b"]
)
def test_parser_refuses_what_could_split_a_header(line: bytes) -> None:
    """`forwarded` joins what the parser gives, so this must hold for the parser in use."""
    with pytest.raises(httptools.HttpParserError):
        Parsed(b"POST / HTTP/1.1\r\nhost: x\r\n" + line + b"\r\n\r\n")


# On the way down.


@pytest.mark.parametrize("name", sorted(HOP_BY_HOP))
def test_hop_by_hop_headers_do_not_come_back(name: bytes) -> None:
    assert downstream_headers([(name, b"x"), (b"date", b"now")]) == [(b"date", b"now")]


@pytest.mark.parametrize(
    "name",
    [
        b"set-cookie",
        b"server",
        b"content-length",
        b"alt-svc",
        b"x-request-id",
        b"x-tradewind-cluster",
        b"x-tradewind-anything",
        b"x-envoy-upstream-service-time",
        b"proxy-status",
    ],
)
def test_cluster_does_not_speak_for_us(name: bytes) -> None:
    assert downstream_headers([(name, b"x"), (b"content-type", b"application/json")]) == [
        (b"content-type", b"application/json")
    ]


@pytest.mark.parametrize("connection", [[b"x-hop"], [b"close, X-Hop"], [b"close", b"x-hop, keep-alive"]])
def test_headers_that_a_clusters_connection_names_do_not_come_back(connection: list[bytes]) -> None:
    headers = [(b"x-hop", b"1"), (b"x-hopper", b"2"), *((b"connection", value) for value in connection)]
    assert downstream_headers(headers) == [(b"x-hopper", b"2")]


def test_other_headers_come_back_in_order() -> None:
    headers = [(b"content-type", b"text/event-stream"), (b"openai-model", b"m"), (b"openai-model", b"n")]
    assert downstream_headers([*headers, (b"connection", b"keep-alive")]) == headers


@pytest.mark.parametrize(
    ("value", "taken"),
    [
        (b"req_1", True),
        (b"0af7651916cd43dd-8448eb211c80319c", True),
        (b"a/b:c.d", True),
        (b"x" * REQUEST_ID_LENGTH_MAX, True),
        (b"x" * (REQUEST_ID_LENGTH_MAX + 1), False),
        (b"", False),
        (b"a b", False),
        (b"a\r\nx: y", False),
        (b'a"b', False),
        (b"\xff", False),
        (b"a\x00", False),
    ],
)
def test_request_id_is_taken_over_if_it_is_harmless(value: bytes, taken: bool) -> None:
    assert is_request_id(value) is taken
