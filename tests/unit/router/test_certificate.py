"""Until when certificates are valid, against those of a library that makes them."""

import base64
import datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from router.certificate import SOON_S, BadCertificate, first_of, lateness, validity

KEY = ec.generate_private_key(ec.SECP256R1())
DAY_S = 86_400.0


def pem(begins: datetime.datetime, ends: datetime.datetime, name: str = "a.test") -> str:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    made = (
        x509.CertificateBuilder(subject, subject, KEY.public_key(), x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(ends)
        .sign(KEY, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM).decode()


def at(year: int, month: int = 1, day: int = 1) -> datetime.datetime:
    return datetime.datetime(year, month, day, tzinfo=datetime.UTC)


@pytest.mark.parametrize(
    ("begins", "ends"),
    [
        (at(2020), at(2030)),
        (at(1999, 12, 31), at(2049, 12, 31)),  # Two digits for the year.
        (at(2050), at(2120)),  # Four.
        (at(1950, 1, 2), at(1951)),
    ],
)
def test_both_ends_are_read(begins: datetime.datetime, ends: datetime.datetime) -> None:
    assert validity(first_of(pem(begins, ends))) == (begins.timestamp(), ends.timestamp())


def test_the_first_certificate_of_a_chain_counts() -> None:
    chain = "a comment\n" + pem(at(2020), at(2030)) + pem(at(2020), at(2021))
    assert validity(first_of(chain))[1] == at(2030).timestamp()


@pytest.mark.parametrize(
    ("now_s", "said"),
    [
        (at(2030).timestamp() + 1, "expired on 2030-01-01 00:00 UTC"),
        (at(2020).timestamp() - 1, "not valid before 2020-01-01 00:00 UTC"),
        (at(2030).timestamp() - SOON_S + 1, "expires on 2030-01-01 00:00 UTC, in 14.0 days"),
        (at(2030).timestamp() - DAY_S / 2, "in 0.5 days"),
        (at(2030).timestamp() - SOON_S, None),
        (at(2025).timestamp(), None),
    ],
)
def test_what_is_late_is_said(now_s: float, said: str | None) -> None:
    told = lateness(pem(at(2020), at(2030)), now_s)
    assert told is None if said is None else told is not None and said in told


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "expected a certificate in PEM"),
        ("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----", "expected a certificate in PEM"),
        ("-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----", "not base64"),
        ("-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----", "cannot be read"),
        ("-----BEGIN CERTIFICATE-----\n\n-----END CERTIFICATE-----", "cannot be read"),
    ],
)
def test_what_is_no_certificate_is_said(text: str, said: str) -> None:
    with pytest.raises(BadCertificate, match=said):
        lateness(text, 0.0)


DER = first_of(pem(at(2020), at(2030)))


@given(st.integers(0, len(DER) - 1), st.integers(0, 255))
def test_a_broken_certificate_is_read_or_refused_never_worse(index: int, byte: int) -> None:
    broken = DER[:index] + bytes([byte]) + DER[index + 1 :]
    for der in (broken, DER[:index]):
        try:
            validity(der)
        except BadCertificate:
            continue


@given(st.binary(max_size=64))
def test_any_bytes_are_refused(der: bytes) -> None:
    text = f"-----BEGIN CERTIFICATE-----\n{base64.b64encode(der).decode()}\n-----END CERTIFICATE-----"
    with pytest.raises(BadCertificate):
        lateness(text, 0.0)
