"""TLS on both sides: what we show to clients, what we show to clusters and whom we believe. Speaks to the file system.

A certificate and its key are a *pair*. Contexts are made whole and put in the old one's place, never changed: a pair
that does not fit is found out before any handshake sees it.
"""

import hashlib
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from router.certificate import BadCertificate, lateness

if TYPE_CHECKING:
    from router.configuration import Findings

HANDSHAKE_S: Final = 10.0  # For a client to finish its handshake: four round trips of the slowest phone.
SHUTDOWN_S: Final = 5.0  # For a peer to say goodbye in TLS before the connection is closed all the same.
PROTOCOLS: Final = ("http/1.1",)


@dataclass(frozen=True, slots=True)
class ClusterTls:
    """How clusters are spoken to. `source` is a digest of what it was made from: the same digest, the same terms."""

    context: ssl.SSLContext
    source: str = ""


def system_tls() -> ClusterTls:
    """The system's authorities, and no certificate of our own."""
    return ClusterTls(_cluster_context(None))


def _cluster_context(authorities: str | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=authorities)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(PROTOCOLS)
    return context


class OfferedCertificate:
    """The certificate that a listener shows, exchanged while it listens.

    A listener keeps the context it began with; so that context asks, at the beginning of each handshake, which one is
    the present one. Handshakes under way and connections that stand are not touched.
    """

    def __init__(self, context: ssl.SSLContext, handshake_s: float = HANDSHAKE_S) -> None:
        self.context = context
        self.present = context
        self.handshake_s = handshake_s
        context.sni_callback = self._choose

    def take(self, context: ssl.SSLContext) -> None:
        """Show another from now on."""
        self.present = context

    def _choose(self, connection: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
        connection.context = self.present


# Reading.


def read_offered(cert: Path, key: Path, now: float, found: "Findings") -> ssl.SSLContext | None:
    """What a listener shows its clients; None, with the mistake noted, if the pair cannot be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(PROTOCOLS)
    return context if _load_pair(context, cert, key, now, found) is not None else None


def read_cluster_tls(
    authorities: Path | None, pair: tuple[Path, Path] | None, now: float, found: "Findings"
) -> ClusterTls | None:
    """How to speak to clusters; None if nothing is said of it or, with the mistake noted, if a file is wrong."""
    if authorities is None and pair is None:
        return None
    text = None
    if authorities is not None and (text := found.text(authorities)) is None:
        return None
    try:
        context = _cluster_context(text)
    except (ssl.SSLError, ValueError) as error:
        found.mistakes.append(f"{authorities}:1: expected certificates in PEM: {error}")
        return None
    sources = [text or ""]
    if pair is not None:
        digest = _load_pair(context, *pair, now, found)
        if digest is None:
            return None
        sources.append(digest)
    return ClusterTls(context, hashlib.sha256("\0".join(sources).encode()).hexdigest())


def _load_pair(context: ssl.SSLContext, cert: Path, key: Path, now: float, found: "Findings") -> str | None:
    """Load a pair; a digest of it, or None, with the mistake noted."""
    pem, secret = found.text(cert), found.secret(key)
    if pem is None or secret is None:
        return None
    try:
        late = lateness(pem, now)
    except BadCertificate as error:
        found.mistakes.append(f"{cert}:1: {error}")
        return None
    if b"PRIVATE KEY-----" not in secret:
        found.mistakes.append(f"{key}:1: expected a private key in PEM (-----BEGIN PRIVATE KEY-----)")
        return None
    try:
        context.load_cert_chain(cert, key, password=_no_password)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError.
        at, why = _unfit(error, cert, key)
        found.mistakes.append(f"{at}:1: {why}")
        return None
    if late is not None:
        found.warnings.append(f"{cert}:1: warning: {late}")
    return hashlib.sha256(pem.encode() + b"\0" + secret).hexdigest()


def _no_password() -> str:
    """Else OpenSSL would ask the terminal."""
    raise ValueError("the key is encrypted, and nobody is here to type its password; decrypt it (openssl pkey)")


def _unfit(error: Exception, cert: Path, key: Path) -> tuple[Path, str]:
    """Which file is at fault, and why."""
    if isinstance(error, ssl.SSLError):
        if error.reason == "KEY_VALUES_MISMATCH":
            return key, f"this key does not belong to the certificate in {cert}"
        return key, f"OpenSSL takes neither this key nor the certificate in {cert}: {cause_of(error)}"
    return key, str(error)


# Telling.


def cause_of(error: BaseException) -> str:
    """What went wrong with a connection, in words for an operator."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not believed: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        reason = (error.reason or str(error)).lower().replace("_", " ")
        return f"it refused ours: {reason}" if is_alert(error) else f"TLS failed: {reason}"
    if isinstance(error, TimeoutError):
        return "no connection in time"
    if isinstance(error, ConnectionError) and not str(error):
        return "it broke off while the connection was being made"
    return str(error) or repr(error)


def is_alert(error: BaseException | None) -> bool:
    """Whether the other side ended the handshake: with TLS 1.3 it does so after we believe it to be over."""
    return isinstance(error, ssl.SSLError) and "ALERT" in (error.reason or "")
