"""Until when a certificate is valid. Pure: text and time in, sentences out.

The standard library tells it only of a peer's certificate, and only once that was verified; so
we read it ourselves, from the few elements of DER that stand before it in a certificate.
"""

import base64
import binascii
import re
from datetime import UTC, datetime
from typing import Final

SOON_S: Final = 14 * 86_400.0  # Time to get a new one, holidays included.
_PEM: Final = re.compile(r"-----BEGIN CERTIFICATE-----\s(.*?)-----END CERTIFICATE-----", re.DOTALL)
_SEQUENCE, _VERSION, _UTC_TIME, _GENERALIZED_TIME = 0x30, 0xA0, 0x17, 0x18


class BadCertificate(ValueError):
    """Not a certificate; the message says what it is instead."""


def first_of(pem: str) -> bytes:
    """The first certificate of a PEM file, as DER. Raises BadCertificate."""
    found = _PEM.search(pem)
    if found is None:
        raise BadCertificate("expected a certificate in PEM (-----BEGIN CERTIFICATE-----)")
    try:
        return base64.b64decode("".join(found.group(1).split()), validate=True)
    except binascii.Error as error:
        raise BadCertificate(f"the certificate is not base64: {error}") from None


def validity(der: bytes) -> tuple[float, float]:
    """From when until when it is valid, in seconds since 1970. Raises BadCertificate."""
    try:
        certificate = _inside(der, 0, _SEQUENCE)
        at = _inside(der, certificate, _SEQUENCE)
        if der[at] == _VERSION:
            at = _after(der, at)
        for _ in ("serial number", "signature algorithm", "issuer"):
            at = _after(der, at)
        begins = _inside(der, at, _SEQUENCE)
        return _time(der, begins), _time(der, _after(der, begins))
    except (IndexError, ValueError) as error:
        raise BadCertificate(f"the certificate cannot be read: {error}") from None


def lateness(pem: str, now: float) -> str | None:
    """What is wrong, or soon will be, with the time for which a certificate is valid; else None."""
    begins, ends = validity(first_of(pem))
    if now > ends:
        return f"the certificate expired on {_date(ends)}; put a new one in its place"
    if now < begins:
        return f"the certificate is not valid before {_date(begins)}"
    if ends - now < SOON_S:
        return f"the certificate expires on {_date(ends)}, in {(ends - now) / 86_400.0:.1f} days; renew it"
    return None


def _date(unix_s: float) -> str:
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _span(der: bytes, at: int) -> tuple[int, int]:
    """Where the content of the element at `at` begins and ends."""
    length, start = der[at + 1], at + 2
    if length & 0x80:
        size = length & 0x7F
        if not 0 < size <= 4:
            raise ValueError("a length that nobody would write")
        length, start = int.from_bytes(der[start : start + size], "big"), start + size
    if start + length > len(der):
        raise ValueError("it ends too early")
    return start, start + length


def _inside(der: bytes, at: int, tag: int) -> int:
    if der[at] != tag:
        raise ValueError(f"found tag {der[at]:#04x} where {tag:#04x} belongs")
    return _span(der, at)[0]


def _after(der: bytes, at: int) -> int:
    return _span(der, at)[1]


def _time(der: bytes, at: int) -> float:
    start, end = _span(der, at)
    text = der[start:end].decode("ascii")
    if der[at] == _UTC_TIME:
        text = ("19" if text >= "50" else "20") + text  # Two digits mean 1950 to 2049.
    elif der[at] != _GENERALIZED_TIME:
        raise ValueError(f"found tag {der[at]:#04x} where a time belongs")
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp()
