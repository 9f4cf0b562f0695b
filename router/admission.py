"""Admission: who calls, what for, and may they? Pure: a head and a body in, a Call or a Failure out."""

import ipaddress
from collections.abc import Mapping, Sequence, Set

from federation.geography import nearest_region
from router.body import BadBody, read_fields
from router.call import RANK, Call, Priority, Tenant
from router.dialect import RESPONSES as _RESPONSES
from router.edge.request_head import RequestHead
from router.errors import Failure, Kind
from router.fields import Fields, ResponsesFields
from router.paths import Route
from router.pieces import Body, Pieces

SESSION_LENGTH_MAX = 256
DEADLINE_MS_MAX = 24 * 3600 * 1000
DEADLINE_DIGITS_MAX = 20  # Python refuses to convert numbers of thousands of digits.

# The priority of a call that asks for none, by the highest its key may claim.
_UNASKED = {highest: min(highest, Priority.STANDARD, key=RANK.__getitem__) for highest in Priority}

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def admit(
    *,
    route: Route,
    target: bytes,
    head: RequestHead,
    body: Body,
    fields: Fields | None = None,
    tenant: Tenant,
    request_id: str,
    origin: str,
    residency: Mapping[str, frozenset[str]],
    known_regions: Set[str] | None = None,
) -> Call | Failure:
    """The call that a request makes, narrowed to what its tenant may do.

    `fields` is what the body says, where that was read as it came in.
    `residency` maps the name of a class to its regions; `origin` is where the call comes from;
    a region that is not in `known_regions` (None: any is) is a mistake.
    """
    try:
        if fields is None:
            assert not isinstance(body, Pieces), "what is kept in pieces was read as it came"
            fields = read_fields(body, stateful=route.dialect is _RESPONSES)
        regions = tenant.regions
        if head.regions is not None:
            regions = _regions(head.regions, residency, regions, known_regions)
        priority = _UNASKED[tenant.priority_max]
        if head.priority is not None:
            priority = _priority(head.priority, tenant.priority_max)
        deadline_s = None if head.deadline_ms is None else _deadline_s(head.deadline_ms)
        resume = head.resume is None or _resume(head.resume)
    except BadBody as wrong_body:
        return Failure(Kind.BAD_BODY, str(wrong_body), wrong_body.param)
    except BadHeader as wrong_header:
        return Failure(Kind.BAD_HEADER, str(wrong_header), wrong_header.header)
    continues = None
    if isinstance(fields, ResponsesFields):
        if bytes(fields.conversation) != b"null":
            message = "Conversations are not kept here: send previous_response_id, or all of the input."
            return Failure(Kind.BAD_BODY, message, "conversation")
        continues = fields.previous_response_id
    if tenant.models is not None and fields.model not in tenant.models:
        return Failure(Kind.MODEL_NOT_ALLOWED, f"This key may not use the model '{fields.model}'.", "model")
    session = head.session
    return Call(
        id=request_id,
        path=target.partition(b"#")[0].decode("latin-1"),
        model=fields.model,
        origin=origin,
        stream=bool(fields.stream),
        regions=regions,
        priority=priority,
        deadline_s=deadline_s,
        session=session.decode("latin-1")[:SESSION_LENGTH_MAX] if session is not None else None,
        tenant=tenant.name,
        prompt_bytes=len(body),
        tokens_max=fields.tokens_max,
        resume=resume,
        clusters=route.clusters,
        continues=continues,
    )


class BadHeader(ValueError):
    """A header of ours with a value that we cannot act on."""

    def __init__(self, header: str, message: str) -> None:
        super().__init__(message)
        self.header = header


def _regions(
    value: bytes | None,
    residency: Mapping[str, frozenset[str]],
    allowed: frozenset[str] | None,
    known: Set[str] | None,
) -> frozenset[str] | None:
    """Where the call may be served: regions and residency classes, separated by commas; only ever narrows."""
    if value is None:
        return allowed
    wanted: set[str] = set()
    for word in value.decode("latin-1").split(","):
        name = word.strip()
        if name in residency:
            wanted |= residency[name]
        elif name and (known is None or name in known):
            wanted.add(name)
        elif name:
            classes = ", ".join(sorted(residency)) or "none"
            message = (
                f"x-tradewind-regions: {name[:64]!r} is neither a region nor a residency class (classes: {classes})."
            )
            raise BadHeader("x-tradewind-regions", message)
    if not wanted:
        raise BadHeader("x-tradewind-regions", "x-tradewind-regions names no region; leave it out or name one.")
    return frozenset(wanted) if allowed is None else frozenset(wanted) & allowed


def _priority(value: bytes | None, highest: Priority) -> Priority:
    if value is None:
        return _UNASKED[highest]
    try:
        asked = Priority(value.decode("latin-1").strip().lower())
    except ValueError:
        names = ", ".join(Priority)
        raise BadHeader("x-tradewind-priority", f"x-tradewind-priority is one of {names}.") from None
    return asked if RANK[asked] <= RANK[highest] else highest


def _deadline_s(value: bytes | None) -> float | None:
    if value is None:
        return None
    text = value.decode("latin-1").strip()
    if not text.isdecimal() or len(text) > DEADLINE_DIGITS_MAX or not 0 < int(text) <= DEADLINE_MS_MAX:
        raise BadHeader(
            "x-tradewind-deadline-ms", f"x-tradewind-deadline-ms is a whole number of ms, 1 to {DEADLINE_MS_MAX}."
        )
    return int(text) / 1000


def _resume(value: bytes) -> bool:
    """Whether the client lets its stream be gone on with."""
    text = value.strip().lower()
    if text not in (b"on", b"off"):
        raise BadHeader("x-tradewind-resume", "x-tradewind-resume is off, or left out.")
    return text == b"on"


def origin_of(
    client_region: bytes | None, peer_is_trusted: bool, own_region: str, known_regions: Set[str] | None = None
) -> str:
    """The region a call comes from: what a trusted proxy says (a region, or latitude and longitude), else our own.

    A region that nobody knows is our own too: to the unknown everything is equally far.
    """
    if client_region is None or not peer_is_trusted:
        return own_region
    text = client_region.decode("latin-1").strip()
    latitude, comma, longitude = text.partition(",")
    if not comma:
        return text if text and (known_regions is None or text in known_regions) else own_region
    try:
        lat, lon = float(latitude), float(longitude)
    except ValueError:
        return own_region
    return nearest_region(lat, lon) if -90 <= lat <= 90 and -180 <= lon <= 180 else own_region


def is_trusted(address: str, networks: Sequence[Network]) -> bool:
    """Whether a peer stands in one of the trusted networks."""
    try:
        peer = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(peer, ipaddress.IPv6Address) and peer.ipv4_mapped is not None:
        peer = peer.ipv4_mapped
    return any(peer in network for network in networks)
