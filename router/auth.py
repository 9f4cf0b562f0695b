"""API keys: from an Authorization header to a tenant. Pure.

A key is `tw_<id>_<secret>` with 256 random bits of secret. The file holds its SHA-256 alone;
with so much entropy neither salt nor a slow hash adds anything. Looking a key up by its hash
takes the same time however much of it is right, since nobody can steer a hash.

    - id: 3f9c01ab52
      tenant: search
      sha256: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
      priority_max: standard
      models: [llama-3.1-8b]
      regions: [europe-west4]
      expires: 2027-06-30
"""

import base64
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Final

import msgspec

from federation.inventory import Mistake
from router.call import Priority, Tenant

ID_BYTES: Final = 5
SECRET_BYTES: Final = 32
ENTROPY_BYTES: Final = ID_BYTES + SECRET_BYTES
KEY_BYTES_MAX: Final = 256  # Longer ones are not hashed: nobody made them here.
SEEN_MAX: Final = 10_000  # Good keys only, so a stranger cannot fill it.
_BEARER: Final = b"bearer "
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_ID: Final = re.compile(r"[A-Za-z0-9-]{1,64}")


class KeyRow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One entry of the keys file. `expires` is a date (its start, UTC) or an RFC 3339 time."""

    id: str
    tenant: str
    sha256: str
    priority_max: Priority = Priority.STANDARD
    models: tuple[str, ...] | None = None
    regions: tuple[str, ...] | None = None
    expires: str | None = None


class NewKey(msgspec.Struct, frozen=True):
    """A key just made: what its owner gets, once, and what the file keeps."""

    text: str
    row: KeyRow


@dataclass(frozen=True, slots=True)
class _Grant:
    tenant: Tenant
    expires_at: float  # Seconds since 1970.


class ApiKeys:
    """All keys of a file; never changes. Built of rows in which `mistakes` finds nothing."""

    __slots__ = ("_grants", "_seen")

    def __init__(self, rows: Iterable[KeyRow]) -> None:
        self._grants: Mapping[bytes, _Grant] = MappingProxyType(
            {bytes.fromhex(row.sha256): _Grant(_tenant(row), _expires_at(row)) for row in rows}
        )

        # Headers that were looked up before. The key is in memory while its call is; here it stays a little longer.
        self._seen: dict[bytes, _Grant] = {}

    def __len__(self) -> int:
        return len(self._grants)

    def tenant_of(self, authorization: bytes | None, now_wall: float) -> Tenant | None:
        """Whose an Authorization header is; None: nobody's. `now_wall` is in seconds since 1970."""
        if authorization is None:
            return None
        grant = self._seen.get(authorization)
        if grant is None:
            if authorization[:7].lower() != _BEARER:
                return None
            grant = self._grant_of(authorization[7:].strip())
            if grant is None:
                return None
            if len(self._seen) < SEEN_MAX:
                self._seen[authorization] = grant
        return grant.tenant if now_wall < grant.expires_at else None

    def tenant_of_key(self, key: bytes, now_wall: float) -> Tenant | None:
        """The same for a bare key, as the header `x-api-key` carries it."""
        grant = self._grant_of(key)
        return grant.tenant if grant is not None and now_wall < grant.expires_at else None

    def _grant_of(self, key: bytes) -> _Grant | None:
        return self._grants.get(hashlib.sha256(key).digest()) if len(key) <= KEY_BYTES_MAX else None


def new_key(
    entropy: bytes,
    *,
    tenant: str,
    priority_max: Priority = Priority.STANDARD,
    models: tuple[str, ...] | None = None,
    regions: tuple[str, ...] | None = None,
    expires: str | None = None,
) -> NewKey:
    """A key made of ENTROPY_BYTES random bytes."""
    assert len(entropy) == ENTROPY_BYTES
    key_id = entropy[:ID_BYTES].hex()
    secret = base64.urlsafe_b64encode(entropy[ID_BYTES:]).rstrip(b"=").decode()
    text = f"tw_{key_id}_{secret}"
    row = KeyRow(
        id=key_id,
        tenant=tenant,
        sha256=hashlib.sha256(text.encode()).hexdigest(),
        priority_max=priority_max,
        models=models,
        regions=regions,
        expires=expires,
    )
    return NewKey(text, row)


def mistakes(rows: Iterable[KeyRow]) -> Iterator[Mistake]:
    """What the types cannot say of a keys file."""
    ids: dict[str, int] = {}
    hashes: dict[str, int] = {}
    for index, row in enumerate(rows):
        if not _ID.fullmatch(row.id):
            yield Mistake(f"{index}.id", f"{row.id!r}: use letters, digits and dashes, at most 64")
        if row.id in ids:
            yield Mistake(f"{index}.id", f"{row.id!r} is taken by entry {ids[row.id]}; make it unique")
        ids.setdefault(row.id, index)
        if not row.tenant.strip():
            yield Mistake(f"{index}.tenant", "empty; name whom the key belongs to")
        if not _SHA256.fullmatch(row.sha256):
            yield Mistake(f"{index}.sha256", "expected 64 lower-case hex digits, as `tradewind keys new` writes them")
        elif row.sha256 in hashes:
            yield Mistake(f"{index}.sha256", f"the same key as entry {hashes[row.sha256]}; remove one")
        hashes.setdefault(row.sha256, index)
        for name, allowed in (("models", row.models), ("regions", row.regions)):
            if allowed is not None and not allowed:
                yield Mistake(f"{index}.{name}", "empty, so that nothing is allowed; leave it out to allow all")
        if row.expires is not None and parse_expiry(row.expires) is None:
            yield Mistake(
                f"{index}.expires", f"{row.expires!r} is no date; expected 2027-06-30 or 2027-06-30T12:00:00Z"
            )


def parse_expiry(text: str) -> float | None:
    """Seconds since 1970 of a date (its start, UTC) or a time with its offset; None where it is neither."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        if len(text) > len("2027-06-30"):
            return None  # A time without an offset means something else on every machine.
        moment = moment.replace(tzinfo=UTC)
    return moment.timestamp()


def _tenant(row: KeyRow) -> Tenant:
    return Tenant(
        name=row.tenant,
        priority_max=row.priority_max,
        models=None if row.models is None else frozenset(row.models),
        regions=None if row.regions is None else frozenset(row.regions),
    )


def _expires_at(row: KeyRow) -> float:
    if row.expires is None:
        return float("inf")
    moment = parse_expiry(row.expires)
    assert moment is not None, f"expires of key {row.id} was not checked"
    return moment
