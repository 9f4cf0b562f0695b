"""Certificates and keys as an operator puts them: what is wrong is said of the file that is at fault."""

import os
import ssl
from pathlib import Path

import pytest

from router.checking import check_file
from router.configuration import BadConfiguration, load_router
from router.tls import cause_of, is_alert
from tests.edge.authority import Authority, Pair

SERVE = "region: us-central1\ninventory: inventory.yaml\n"
INVENTORY = """\
clusters:
  - {name: a, region: us-central1, endpoint: "https://127.0.0.1:9001", models: {llama: {slots: 64}}}
"""
AUTHORITY = Authority()
GOOD = AUTHORITY.issue("door.test")
OTHER = AUTHORITY.issue("door.test")
TLS = "tls: {cert_file: door.pem, key_file: door.key}\n"


def write(folder: Path, serve: str) -> Path:
    (folder / "inventory.yaml").write_text(INVENTORY)
    (folder / "serve.yaml").write_text(serve)
    return folder / "serve.yaml"


def check(folder: Path, serve: str, **files: str) -> tuple[list[str], list[str]]:
    """(mistakes, warnings) with the folder's name left out."""
    path = write(folder, SERVE + serve)
    for name, text in files.items():
        target = folder / name.replace("_", ".")
        target.write_text(text)
        target.chmod(0o600)
    report = check_file(path, {})
    return tuple([line.replace(f"{folder}/", "") for line in lines] for lines in (report.mistakes, report.warnings))


def about(lines: list[str], name: str) -> list[str]:
    return [line for line in lines if line.startswith(name)]


def test_a_pair_that_fits_is_taken_and_its_files_are_watched(tmp_path: Path) -> None:
    cert, key = GOOD.write(tmp_path, "door")
    loaded = load_router(write(tmp_path, SERVE + TLS + TLS.replace("tls", "admin_tls")), {})
    assert set(loaded.offered) == {"tls", "admin_tls"}
    assert loaded.offered["tls"].minimum_version == ssl.TLSVersion.TLSv1_2
    assert {cert, key} <= set(loaded.files)
    assert about(check(tmp_path, TLS)[1], "door") == []


@pytest.mark.parametrize(
    ("certificate", "key", "said"),
    [
        (GOOD.certificate, OTHER.key, "door.key:1: this key does not belong to the certificate in door.pem"),
        (GOOD.key, GOOD.key, "door.pem:1: expected a certificate in PEM (-----BEGIN CERTIFICATE-----)"),
        (GOOD.certificate, GOOD.certificate, "door.key:1: expected a private key in PEM (-----BEGIN PRIVATE KEY-----)"),
        ("", GOOD.key, "door.pem:1: expected a certificate in PEM (-----BEGIN CERTIFICATE-----)"),
        (
            GOOD.certificate,
            AUTHORITY.issue("door.test", password=b"secret").key,
            "door.key:1: the key is encrypted, and nobody is here to type its password; decrypt it (openssl pkey)",
        ),
    ],
    ids=["another key", "key as certificate", "certificate as key", "empty", "encrypted"],
)
def test_a_pair_that_cannot_be_used_is_a_mistake(tmp_path: Path, certificate: str, key: str, said: str) -> None:
    mistakes, _ = check(tmp_path, TLS, door_pem=certificate, door_key=key)
    assert [line.replace(f"{tmp_path}/", "") for line in mistakes] == [said]


def test_a_key_that_is_cut_off_is_a_mistake(tmp_path: Path) -> None:
    mistakes, _ = check(tmp_path, TLS, door_pem=GOOD.certificate, door_key=GOOD.key[:120])
    (mistake,) = mistakes
    assert mistake.startswith("door.key:1: OpenSSL takes neither this key nor the certificate in ")


def test_files_that_are_not_there_are_mistakes(tmp_path: Path) -> None:
    mistakes, _ = check(tmp_path, TLS)
    assert len(about(mistakes, "door.pem:1")) == len(about(mistakes, "door.key:1")) == 1


def test_a_key_that_others_may_read_is_odd(tmp_path: Path) -> None:
    GOOD.write(tmp_path, "door")
    (tmp_path / "door.key").chmod(0o644)
    _, warnings = check(tmp_path, TLS)
    assert len(about(warnings, "door.key:1: warning: others may read this file")) == 1


@pytest.mark.parametrize(
    ("days", "since_days", "said"),
    [(-1, 20, "expired on"), (13, 20, "expires on"), (40, -1, "not valid before"), (15, 20, None)],
)
def test_a_certificate_that_is_or_will_soon_be_invalid_is_named(
    tmp_path: Path, days: float, since_days: float, said: str | None
) -> None:
    pair = AUTHORITY.issue("door.test", days=days, since_days=since_days)
    mistakes, warnings = check(tmp_path, TLS, door_pem=pair.certificate, door_key=pair.key)
    assert mistakes == []
    told = about(warnings, "door.pem:1: warning: ")
    assert told == [] if said is None else len(told) == 1 and said in told[0]


def test_what_we_show_clusters_is_a_pair_or_nothing(tmp_path: Path) -> None:
    mistakes, _ = check(tmp_path, "client_cert_file: door.pem\n", door_pem=GOOD.certificate)
    assert ["client_cert_file: a certificate and its key go together; give client_key_file, too" in m for m in mistakes]
    mistakes, _ = check(tmp_path, "client_key_file: door.key\n")
    assert len(mistakes) == 1
    assert "give client_cert_file, too" in mistakes[0]


def test_a_pair_for_clusters_is_checked_like_any_other(tmp_path: Path) -> None:
    serve = "client_cert_file: ours.pem\nclient_key_file: ours.key\nca_file: ca.pem\n"
    mistakes, _ = check(tmp_path, serve, ours_pem=GOOD.certificate, ours_key=OTHER.key, ca_pem=AUTHORITY.pem)
    assert [line.replace(f"{tmp_path}/", "") for line in mistakes] == [
        "ours.key:1: this key does not belong to the certificate in ours.pem"
    ]


def test_the_terms_for_clusters_are_the_same_until_a_file_is_another(tmp_path: Path) -> None:
    def source(pair: Pair, authority: Authority) -> str:
        pair.write(tmp_path, "ours")
        (tmp_path / "ca.pem").write_text(authority.pem)
        path = write(tmp_path, SERVE + "client_cert_file: ours.pem\nclient_key_file: ours.key\nca_file: ca.pem\n")
        tls = load_router(path, {}).tls
        assert tls is not None
        return tls.source

    first = source(GOOD, AUTHORITY)
    assert source(GOOD, AUTHORITY) == first
    assert len({first, source(OTHER, AUTHORITY), source(GOOD, Authority())}) == 3


def test_half_a_pair_in_the_environment_is_a_mistake(tmp_path: Path) -> None:
    GOOD.write(tmp_path, "door")
    half = {"TRADEWIND_TLS__CERT_FILE": "door.pem"}
    with pytest.raises(BadConfiguration, match="key_file"):
        load_router(write(tmp_path, SERVE), half)
    whole = {**half, "TRADEWIND_TLS__KEY_FILE": "door.key"}
    assert set(load_router(write(tmp_path, SERVE), whole).offered) == {"tls"}


def test_more_connections_cannot_be_warm_than_may_rest(tmp_path: Path) -> None:
    for edge in ("warm_connections: -1", "warm_connections: 3, idle_connections_max: 2", "connections_max: 1"):
        mistakes, _ = check(tmp_path, f"edge: {{{edge}}}\n")
        assert ["edge.warm_connections" in line for line in mistakes] == [True], edge
    assert check(tmp_path, "edge: {warm_connections: 0, connections_max: 1}\n")[0] == []


def test_causes_are_told_in_words() -> None:
    assert cause_of(TimeoutError()) == "no connection in time"
    assert cause_of(ConnectionResetError()) == "it broke off while the connection was being made"
    assert cause_of(ConnectionRefusedError(111, os.strerror(111))) == "[Errno 111] Connection refused"
    assert not is_alert(None)
    assert not is_alert(ConnectionResetError())
