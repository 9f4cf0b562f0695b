"""TLS on both sides, with real certificates: to clients, exchanged while we run; to clusters, mutual and by name."""

import asyncio
import contextlib
import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import structlog.testing

from federation.ejection import State
from router.configuration import Findings
from router.settings import EdgeSettings
from router.tls import ClusterTls, OfferedCertificate, read_cluster_tls, read_offered
from tests.edge.authority import Authority, Pair
from tests.edge.harness import (
    STREAM_HEAD,
    WAIT_S,
    Hangs,
    RawClient,
    Request,
    Stage,
    answers,
    chunk,
    completion,
    get,
    post,
    sse,
    stage,
    streams,
    until,
)
from tests.edge.test_back_pressure import BUFFER_BYTES_MAX, Flood, unsent

AUTHORITY = Authority()
STRANGER = Authority("another authority")
DOOR = AUTHORITY.issue("door.test")


def offer(pair: Pair, folder: Path, handshake_s: float = 10.0) -> OfferedCertificate:
    return OfferedCertificate(context_of(pair, folder), handshake_s)


def context_of(pair: Pair, folder: Path) -> ssl.SSLContext:
    """As a front door reads it from its files."""
    found = Findings()
    context = read_offered(*pair.write(folder, "door"), time.time(), found)
    assert context is not None, found.mistakes
    return context


def spoken(client: RawClient) -> ssl.SSLObject:
    found: ssl.SSLObject = client.writer.get_extra_info("ssl_object")
    return found


# To clients.


async def test_calls_and_streams_are_served_over_tls(tmp_path: Path) -> None:
    async with stage(offered=offer(DOOR, tmp_path)) as here:
        client = await here.client(tls=AUTHORITY.trusted())
        for _ in range(3):
            await client.send(post())
            assert (await client.answer()).body == completion("near")
        here.near.plays(streams(*sse("a", "b")))
        await client.send(post(stream=True))
        assert (await client.answer()).body == b"".join(sse("a", "b"))
        await client.send(get("/healthz"))
        assert (await client.answer()).json == {"status": "ok"}


async def test_http_1_1_is_chosen_where_a_client_could_do_h2_and_old_tls_is_not_spoken(tmp_path: Path) -> None:
    offered = offer(DOOR, tmp_path)
    assert offered.context.minimum_version == ssl.TLSVersion.TLSv1_2
    async with stage(offered=offered) as here:
        trusted = AUTHORITY.trusted()
        trusted.set_alpn_protocols(["h2", "http/1.1"])
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            trusted.maximum_version = version
            client = await here.client(tls=trusted)
            assert spoken(client).selected_alpn_protocol() == "http/1.1"
            await client.send(post())
            assert (await client.answer()).status == 200


async def test_a_large_prompt_and_a_large_answer_pass_whole(tmp_path: Path) -> None:
    text = bytes(range(33, 127)) * 50_000
    async with stage(offered=offer(DOOR, tmp_path)) as here:
        here.near.plays(answers(text))
        client = await here.client(tls=AUTHORITY.trusted())
        await client.send(post(padding="x" * 3_000_000))
        assert (await client.answer()).body == text
        assert len(here.near.requests[0].body) > 3_000_000


async def test_a_client_that_leaves_over_tls_ends_its_call(tmp_path: Path) -> None:
    hangs = Hangs()
    async with stage(offered=offer(DOOR, tmp_path)) as here:
        here.near.plays(hangs)
        client = await here.client(tls=AUTHORITY.trusted())
        await client.send(post())
        await hangs.began.wait()
        client.close()
        await hangs.abandoned()


async def test_a_new_certificate_is_shown_while_connections_stand(tmp_path: Path) -> None:
    offered = offer(DOOR, tmp_path)
    renewed = AUTHORITY.issue("door.test", serial=4711)
    hangs = Hangs(STREAM_HEAD + chunk(sse("a")[0]), chunk(sse("b")[1]) + b"0\r\n\r\n")
    async with stage(offered=offered) as here:
        here.near.plays(hangs, answers(b"later"))
        before = await here.client(tls=AUTHORITY.trusted())
        await before.send(post(stream=True))
        await hangs.began.wait()
        offered.take(context_of(renewed, tmp_path))
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            trusted = AUTHORITY.trusted()
            trusted.maximum_version = version
            after = await here.client(tls=trusted)
            certificate = spoken(after).getpeercert()
            assert certificate is not None
            assert int(str(certificate["serialNumber"]), 16) == 4711
        hangs.go.set()
        assert (await before.answer()).body == sse("a")[0] + sse("b")[1]
        await before.send(post())
        assert (await before.answer()).body == b"later"


async def test_plain_http_at_the_tls_port_just_ends(tmp_path: Path) -> None:
    async with stage(offered=offer(DOOR, tmp_path)) as here:
        client = await here.client()
        await client.send(post())
        assert not (await client.ended()).startswith(b"HTTP/")
        assert here.near.requests == []


async def test_tls_at_the_plain_port_is_answered_as_the_bad_http_it_is() -> None:
    async with stage() as here:
        hello, _ = ssl.MemoryBIO(), ssl.MemoryBIO()
        with contextlib.suppress(ssl.SSLWantReadError):
            AUTHORITY.trusted().wrap_bio(_, hello, server_hostname="door.test").do_handshake()
        client = await here.client()
        await client.send(hello.read())
        assert (await client.answer()).code == "bad_http"
        client.writer.write_eof()
        await client.ended()


async def test_a_handshake_that_never_comes_is_ended(tmp_path: Path) -> None:
    """Neither one that is silent nor one that stops in the middle."""
    async with stage(offered=offer(DOOR, tmp_path, handshake_s=0.1)) as here:
        silent, halting = await here.client(), await here.client()
        await halting.send(b"\x16\x03\x01\x02\x00\x01")
        await silent.ended()
        await halting.ended()
        client = await here.client(tls=AUTHORITY.trusted())
        await asyncio.sleep(0.2)
        await client.send(post())
        assert (await client.answer()).status == 200


async def test_a_body_that_is_too_large_is_refused_while_the_client_still_sends(tmp_path: Path) -> None:
    async with stage(offered=offer(DOOR, tmp_path), edge=EdgeSettings(body_bytes_max=1000)) as here:
        client = await here.client(tls=AUTHORITY.trusted())
        await client.send(post(padding="x" * 500_000)[:400_000])
        assert (await client.answer()).status == 413


# To clusters.


def cluster_context(pair: Pair, folder: Path, asks: Authority | None = None) -> ssl.SSLContext:
    """A cluster's gateway; one that `asks` wants a certificate of that authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*pair.write(folder, "cluster"))
    if asks is not None:
        context.load_verify_locations(cadata=asks.pem)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def terms(folder: Path, authority: Authority = AUTHORITY, ours: Pair | None = None) -> ClusterTls:
    """What a front door believes and shows, from its files."""
    (folder / "ca.pem").write_text(authority.pem)
    found = Findings()
    pair = ours.write(folder, "ours") if ours is not None else None
    tls = read_cluster_tls(folder / "ca.pem", pair, time.time(), found)
    assert tls is not None, found.mistakes
    return tls


OURS = AUTHORITY.issue("front-door.test", serial=1001)
CLUSTER = AUTHORITY.issue("cluster.test", "127.0.0.1")


async def test_a_cluster_sees_our_certificate_and_its_own_name(tmp_path: Path) -> None:
    asked: list[str | None] = []
    context = cluster_context(AUTHORITY.issue("cluster.test"), tmp_path, asks=AUTHORITY)
    context.sni_callback = lambda connection, name, context: asked.append(name)
    names = {"near": "cluster.test"}
    tls = terms(tmp_path, ours=OURS)
    async with stage(cluster_tls={"near": context}, tls=tls, server_names=names) as here:
        client = await here.client()
        for _ in range(2):
            await client.send(post(padding="x" * 100_000))
            answer = await client.answer()
            assert (answer.status, answer["x-tradewind-cluster"]) == (200, "near")
        request = await here.near.received()
        assert request.writer.get_extra_info("peercert")["serialNumber"] == f"{1001:04X}"
        assert request.headers["host"] == f"127.0.0.1:{here.near.port}"
        assert asked == ["cluster.test"]
        assert here.near.connections == 1


async def test_an_address_in_the_endpoint_is_checked_where_no_name_is_given(tmp_path: Path) -> None:
    async with stage(cluster_tls={"near": cluster_context(CLUSTER, tmp_path)}, tls=terms(tmp_path)) as here:
        assert (await here.ask(post()))["x-tradewind-cluster"] == "near"


async def test_a_client_that_reads_slowly_holds_its_cluster_back_over_tls_on_both_sides(tmp_path: Path) -> None:
    offered, context = offer(DOOR, tmp_path), cluster_context(CLUSTER, tmp_path)
    async with stage(offered=offered, cluster_tls={"near": context}, tls=terms(tmp_path)) as here:
        flood = Flood()
        here.near.plays(flood)
        client = await here.client(receive_buffer=8192, tls=AUTHORITY.trusted())
        await client.send(post(stream=True))
        await flood.stalls()
        assert 0 < unsent(here) < BUFFER_BYTES_MAX
        before = flood.sent
        while flood.sent < before + 5_000_000:
            assert await asyncio.wait_for(client.reader.read(1_000_000), 10)
        await flood.stalls()
        assert unsent(here) < BUFFER_BYTES_MAX
        client.close()
        await until(lambda: here.near.open == 0, "the cluster is let go")


Context = Callable[[Path], ssl.SSLContext | None]


def old_tls(folder: Path) -> ssl.SSLContext:
    """Refuses our certificate within the handshake, as TLS 1.2 does."""
    context = cluster_context(CLUSTER, folder, asks=STRANGER)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    return context


REFUSALS: dict[str, tuple[Context, Pair | None, str]] = {
    "signed by a stranger": (
        lambda folder: cluster_context(STRANGER.issue("cluster.test"), folder),
        None,
        "unable to get local issuer certificate",
    ),
    "another name": (
        lambda folder: cluster_context(AUTHORITY.issue("other.test"), folder),
        None,
        "not valid for 'cluster.test'",
    ),
    "expired": (
        lambda folder: cluster_context(AUTHORITY.issue("cluster.test", days=-1), folder),
        None,
        "certificate has expired",
    ),
    "wants our certificate, TLS 1.3": (
        lambda folder: cluster_context(CLUSTER, folder, asks=AUTHORITY),
        None,
        "ended the connection before it ever answered|certificate required",
    ),
    "does not believe ours, TLS 1.3": (
        lambda folder: cluster_context(CLUSTER, folder, asks=STRANGER),
        OURS,
        "ended the connection before it ever answered|unknown ca",
    ),
    "does not believe ours, TLS 1.2": (old_tls, OURS, "it broke off while|unknown ca"),
}


@pytest.mark.parametrize("case", REFUSALS)
async def test_a_cluster_that_tls_does_not_reach_is_refused_and_the_next_one_tried(case: str, tmp_path: Path) -> None:
    context, ours, cause = REFUSALS[case]
    made = context(tmp_path)
    assert made is not None
    tls = terms(tmp_path, ours=ours)
    async with stage(cluster_tls={"near": made}, tls=tls, server_names={"near": "cluster.test"}) as here:
        with structlog.testing.capture_logs() as lines:
            for _ in range(2):
                answer = await here.ask(post())
                assert (answer["x-tradewind-cluster"], answer["x-tradewind-attempts"]) == ("middle", "2")
        assert here.attempts() == {("near", "refused"): 2, ("middle", "served"): 2}
        told = [line["cause"] for line in lines if line["event"] == "no connection to a cluster"]
        assert any(part in cause_ for cause_ in told for part in cause.split("|")), told
        assert len(told) == len(set(told)), "once in a while"
        assert here.standing("near").refused == 2
        await until(lambda: here.door.pools["near"].open == 0, "nothing is left open")


def alerting(context: ssl.SSLContext, listener: socket.socket, connections: int) -> None:
    """Takes so many connections one after the other, and lets OpenSSL say what it thinks of the certificate."""
    for _ in range(connections):
        sock, _ = listener.accept()
        sock.settimeout(WAIT_S)
        with contextlib.suppress(OSError), context.wrap_socket(sock, server_side=True) as spoken_to:
            spoken_to.recv(1)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=lambda version: version.name)
async def test_the_reason_that_a_cluster_gives_for_not_believing_us_is_told(
    version: ssl.TLSVersion, tmp_path: Path
) -> None:
    context = cluster_context(CLUSTER, tmp_path, asks=STRANGER)
    context.minimum_version = context.maximum_version = version
    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = asyncio.ensure_future(asyncio.to_thread(alerting, context, listener, 1))
        async with stage(tls=terms(tmp_path, ours=OURS)) as here:
            near = here.door.pools["near"]
            near.port, near.tls = listener.getsockname()[1], terms(tmp_path, ours=OURS)
            with structlog.testing.capture_logs() as lines:
                near.warm(asyncio.get_running_loop().time(), 1)
                await serving
                await until(lambda: any("cause" in line for line in lines), "it is told")
            assert [line["cause"] for line in lines if "cause" in line] == ["it refused ours: tlsv1 alert unknown ca"]
            await until(lambda: near.open == 0, "the connection ends")


async def says_400(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """What an HTTP server makes of a TLS hello."""
    writer.write(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
    raise ConnectionResetError


async def test_plain_http_behind_https_is_refused(tmp_path: Path) -> None:
    async with stage(tls=terms(tmp_path)) as here:
        near = here.door.pools["near"]
        near.tls = terms(tmp_path)
        here.near.on_connect = says_400
        with structlog.testing.capture_logs() as lines:
            assert (await here.ask(post()))["x-tradewind-cluster"] == "middle"
        assert here.attempts()["near", "refused"] == 1
        assert any("TLS failed" in str(line.get("cause")) for line in lines)


async def test_a_cluster_that_never_finishes_its_handshake_is_given_up_in_time(tmp_path: Path) -> None:
    async with stage(tls=terms(tmp_path)) as here:
        listener = socket.create_server(("127.0.0.1", 0))
        near = here.door.pools["near"]
        near.port, near.tls, near.connect_s = listener.getsockname()[1], terms(tmp_path), 0.15
        began = asyncio.get_running_loop().time()
        assert (await here.ask(post()))["x-tradewind-cluster"] == "middle"
        assert asyncio.get_running_loop().time() - began < WAIT_S / 2
        assert here.attempts()["near", "connect_timeout"] == 1
        listener.close()


@pytest.mark.parametrize("ours", [None, OURS], ids=["none", "not believed"])
async def test_two_clusters_that_refuse_our_certificate_do_not_make_a_call_a_killer(
    ours: Pair | None, tmp_path: Path
) -> None:
    """With TLS 1.3 each looks like a connection that broke after the request was sent."""
    refusing = cluster_context(CLUSTER, tmp_path, asks=STRANGER)
    tls = terms(tmp_path, ours=ours)
    async with stage(cluster_tls={"near": refusing, "middle": refusing}, tls=tls) as here:
        for _ in range(2):
            answer = await here.ask(post())
            assert (answer["x-tradewind-cluster"], answer["x-tradewind-attempts"]) == ("far", "3")


async def test_a_cluster_believed_once_that_breaks_a_call_is_reset_not_refused(tmp_path: Path) -> None:
    async with stage(cluster_tls={"near": cluster_context(CLUSTER, tmp_path)}, tls=terms(tmp_path)) as here:
        assert (await here.ask(post()))["x-tradewind-cluster"] == "near"

        async def breaks(request: Request) -> None:
            request.reset()
            raise ConnectionResetError

        here.near.plays(breaks)
        assert (await here.ask(post()))["x-tradewind-cluster"] == "middle"
        assert here.attempts()["near", "reset"] == 1


async def test_a_cluster_that_closes_after_each_answer_is_believed_all_the_same(tmp_path: Path) -> None:
    async with stage(cluster_tls={"near": cluster_context(CLUSTER, tmp_path)}, tls=terms(tmp_path)) as here:
        near = here.door.pools["near"]
        here.near.plays(answers(b"once", headers={"connection": "close"}))
        assert (await here.ask(post())).body == b"once"
        await until(lambda: near.open == 0, "the connection ends")
        assert near.proved


async def renewed(here: Stage, tls: ClusterTls) -> None:
    for pool in here.door.pools.values():
        pool.trust(tls)
    await until(lambda: not here.door.pools["near"].idle, "idle connections on the old terms are closed")


async def test_a_renewed_certificate_is_shown_on_new_connections_and_calls_under_way_finish(tmp_path: Path) -> None:
    context = cluster_context(CLUSTER, tmp_path, asks=AUTHORITY)
    hangs = Hangs(STREAM_HEAD + chunk(sse("a")[0]), chunk(sse("b")[1]) + b"0\r\n\r\n")
    async with stage(cluster_tls={"near": context}, tls=terms(tmp_path, ours=OURS)) as here:
        here.near.plays(hangs, answers(b"resting"), answers(b"renewed"))
        client = await here.client()
        await client.send(post(stream=True))
        await hangs.began.wait()
        assert (await here.ask(post())).body == b"resting"
        await until(lambda: here.door.pools["near"].idle, "it rests")

        await renewed(here, terms(tmp_path, ours=AUTHORITY.issue("front-door.test", serial=1002)))
        hangs.go.set()
        assert (await client.answer()).body == sse("a")[0] + sse("b")[1]
        assert (await here.ask(post())).body == b"renewed"
        serials = [r.writer.get_extra_info("peercert")["serialNumber"] for r in here.near.requests]
        assert serials == [f"{number:04X}" for number in (1001, 1001, 1002)]
        await until(lambda: here.door.pools["near"].open == 1, "the old connections are not used again")


async def test_the_same_terms_read_again_change_nothing(tmp_path: Path) -> None:
    context = cluster_context(CLUSTER, tmp_path)
    async with stage(cluster_tls={"near": context}, tls=terms(tmp_path)) as here:
        await here.ask(post())
        await until(lambda: here.door.pools["near"].idle, "it rests")
        for pool in here.door.pools.values():
            pool.trust(terms(tmp_path))
        await here.ask(post())
        assert here.near.connections == 1
        assert here.standing("near").state is State.ADMITTED
