"""The front door: everything that a call needs at hand, and what calls are under way.

One per process. Nothing in here waits; the loops that keep it fresh live in router.app.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import TYPE_CHECKING

import structlog

from federation.feed import Feed
from federation.outcome import Outcome, OutcomeKind
from federation.view import Drop, Placed
from router.admission import Network, admit, is_trusted, origin_of
from router.auth import ApiKeys
from router.call import ANONYMOUS, Call, Tenant
from router.cors import Cors
from router.decision import Reason
from router.edge.call_log import CallLog
from router.edge.heads import HeadReader
from router.edge.holders import ResponseHolders
from router.edge.plain_requests import PlainRequests
from router.edge.pool import PoolDirectory
from router.edge.request_head import RequestHead
from router.errors import Failure, Kind
from router.fields import Fields
from router.metrics import RouterMetrics
from router.paths import Form, Route, Routes
from router.pieces import Body
from router.resume.budget import Pace, ResumeBudget
from router.retry import RetryBudget
from router.settings import RouterSettings

_SERVED, _JSON = OutcomeKind.SERVED, Form.JSON  # Looking a member up costs more than the comparison.

if TYPE_CHECKING:
    from router.edge.exchange import Exchange

FEED_AGE_S_MAX = 10.0
MEASURED_MASK = 15
TELL_AGAIN_S = 10.0
ORIGINS_REMEMBERED_MAX = 4096
HEARD_S = 0.5  # A stream that brought something within so long is alive.
ENCODING_LENGTH_TOLD = 64

log = structlog.get_logger()


class FrontDoor:
    """See the module's docstring."""

    def __init__(
        self,
        *,
        settings: RouterSettings,
        feed: Feed,
        pools: PoolDirectory,
        in_flight: dict[tuple[str, str], int],
        keys: ApiKeys | None,
        residency: Mapping[str, frozenset[str]],
        known_regions: frozenset[str],
        routes: Routes,
        responses: ResponseHolders,
        trusted_proxies: Sequence[Network],
        metrics: RouterMetrics,
        rng: Random,
        now: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        self.settings = settings
        self.feed = feed
        self.pools = pools
        self.in_flight = in_flight  # (cluster, model) -> our calls there now.
        self.keys = keys  # None: anyone may call; then we listen on loopback only.
        self.residency = residency
        self.known_regions = known_regions
        self.responses = responses
        self.trusted_proxies = trusted_proxies
        self.metrics = metrics
        self.rng = rng
        self.now = now
        self.wall = wall
        self.budget = RetryBudget()
        self.resumes = ResumeBudget(refilled_at=now())
        self.pace = Pace()
        self.reader = HeadReader(settings.client_region_header)
        self.cors = Cors(settings.cors_origins) if settings.cors_origins else None  # None: no page may read answers.
        self.routes = routes
        self.plain = PlainRequests(self.reader, routes, settings.edge.headers_max)
        self.active: set[Exchange] = set()
        self.buffered_bytes = 0
        self.kept_bytes = 0  # Of streams that can be gone on with.
        self.call_log = CallLog(settings.access_log)
        self.started_at = now()
        self.lame_duck = False  # We are about to end: answers say `Connection: close`.
        self._requests = 0
        self._calls = 0
        self._request_prefix = b"req_%016x" % rng.getrandbits(64)
        self._origins: dict[bytes, str] = {}
        self._marks: dict[tuple[str, str, Reason, int], bytes] = {}
        self._credentials_alarmed: set[str] = set()
        self._shortage_told_at = float("-inf")

    def request_id(self) -> bytes:
        """A new id: unlike any other of this process or another."""
        self._requests += 1
        return b"%s%08x" % (self._request_prefix, self._requests)

    def marks(self, placed: Placed, reason: Reason, attempts: int) -> bytes:
        """The headers that tell a client where it was served, and why there."""
        pool = placed.pool
        key = (pool.cluster, pool.region, reason, attempts)
        marks = self._marks.get(key)
        if marks is None:
            marks = self._marks[key] = (
                b"x-tradewind-cluster: %s\r\nx-tradewind-region: %s\r\n"
                b"x-tradewind-decision: %s\r\nx-tradewind-attempts: %d\r\n"
            ) % (pool.cluster.encode(), pool.region.encode(), reason.encode(), attempts)
        return marks

    def measures(self) -> bool:
        """Whether this call's own costs are measured: one in 16 is."""
        self._calls += 1
        return not self._calls & MEASURED_MASK

    def tenant_of(self, head: RequestHead) -> Tenant | None:
        """Whose key it is; None if it is nobody's."""
        if self.keys is None:
            return ANONYMOUS
        if head.authorization is None and head.api_key is not None:
            return self.keys.tenant_of_key(head.api_key, self.wall())
        return self.keys.tenant_of(head.authorization, self.wall())

    def unauthenticated(self, head: RequestHead) -> Failure:
        if head.authorization is None and head.api_key is None:
            return Failure(Kind.INVALID_API_KEY, "You didn't provide an API key: send 'Authorization: Bearer KEY'.")
        return Failure(Kind.INVALID_API_KEY, "Incorrect API key provided.")

    def admit(
        self,
        head: RequestHead,
        route: Route,
        target: bytes,
        body: Body,
        fields: Fields | None,
        request_id: bytes,
        peer_is_trusted: bool,
    ) -> Call | Failure:
        """The call that a request makes, if whoever makes it may. `fields`: of the body, if already read."""
        tenant = self.tenant_of(head)
        if tenant is None:
            return self.unauthenticated(head)
        return admit(
            route=route,
            target=target,
            head=head,
            body=body,
            fields=fields,
            tenant=tenant,
            request_id=request_id.decode("latin-1"),
            origin=self.origin_of(head, peer_is_trusted),
            residency=self.residency,
            known_regions=self.known_regions,
        )

    def origin_of(self, head: RequestHead, peer_is_trusted: bool) -> str:
        """The region a call comes from."""
        if head.client_region is None or not peer_is_trusted:
            return self.settings.region
        return self._origins.get(head.client_region) or self._origin(head.client_region)

    def _origin(self, client_region: bytes) -> str:
        origin = origin_of(client_region, True, self.settings.region, self.known_regions)
        if len(self._origins) >= ORIGINS_REMEMBERED_MAX:
            self._origins.clear()
        self._origins[client_region] = origin
        return origin

    def declare(self, residency: Mapping[str, frozenset[str]], known_regions: frozenset[str], routes: Routes) -> None:
        """What the inventory says of regions and paths, as read anew."""
        self.residency = residency
        self.known_regions = known_regions
        self.routes = routes
        self.plain = PlainRequests(self.reader, routes, self.settings.edge.headers_max)
        self._origins.clear()

    def trusts(self, address: str) -> bool:
        """Whether a peer's word on where its client is counts."""
        return is_trusted(address, self.trusted_proxies)

    def unready(self) -> str | None:
        """Why this front door should get no new traffic; None if it may. Redis has no say in it."""
        if self.lame_duck:
            return "shutting down"
        age_s = self.feed.clock.monotonic() - self.feed.ticked_at
        return f"the feed has not gone round for {age_s:.0f} s" if age_s > FEED_AGE_S_MAX else None

    # Bounds.

    def unreadable(self, head: RequestHead) -> Failure | None:
        """Why a body cannot be read, and so not be routed; None if it can."""
        encoding = head.content_encoding
        if encoding is None or encoding.strip().lower() in (b"identity", b""):
            return None
        told = encoding.decode("latin-1")[:ENCODING_LENGTH_TOLD]
        return Failure(
            Kind.ENCODED_BODY,
            f"Content-Encoding '{told}' is not taken; send the body as plain JSON.",
            "content-encoding",
        )

    def no_place_for(self, length: int, form: Form = Form.JSON) -> Failure | None:
        """Why a call with a body of so many bytes (0: not known yet) is not taken in; None if it is."""
        edge = self.settings.edge
        if length > self.bytes_max(form) or self.buffered_bytes + length > edge.buffered_bytes_max:
            return self.too_large(length, form)
        if len(self.active) >= edge.calls_max:
            return Failure(Kind.TOO_BUSY, "This front door has too many calls in flight; try again.")
        return None

    def may_keep(self, length: int) -> bool:
        """Whether so many bytes more may be kept for streams that might break."""
        return self.kept_bytes + length <= self.settings.edge.kept_bytes_max

    def bytes_max(self, form: Form) -> int:
        """How large a body of a form may be."""
        edge = self.settings.edge
        return edge.body_bytes_max if form is _JSON else edge.upload_bytes_max

    def too_large(self, length: int, form: Form = Form.JSON) -> Failure:
        """The error for a body of so many bytes: too many for anyone, or for now."""
        limit = self.bytes_max(form)
        if length > limit:
            return Failure(Kind.BODY_TOO_LARGE, f"The request body is larger than {limit} bytes.")
        return Failure(Kind.TOO_BUSY, "This front door holds too many request bodies; try again.")

    # Calls under way.

    def leave(self, exchange: "Exchange") -> None:
        self.active.discard(exchange)

    def still_stands(self, placed: Placed) -> bool:
        """Whether a candidate of an earlier decision is still one now."""
        cluster = placed.pool.cluster
        if cluster not in self.pools:
            return False
        view = self.feed.view.models.get(placed.pool.model)
        if view is None:
            return False
        for pool in view.pools:
            if pool.cluster == cluster:
                return pool.drop is None or pool.drop in (Drop.EJECTED, Drop.NOT_READY)
        return False

    def attempt_began(self, placed: Placed) -> None:
        key = placed.pool.key
        self.in_flight[key] = self.in_flight.get(key, 0) + 1

    def attempt_ended(
        self, placed: Placed, call: Call, kind: OutcomeKind, retry_after_s: float | None, ttft_s: float | None
    ) -> None:
        """One attempt is over, however it went."""
        pool = placed.pool
        key = pool.key
        left = self.in_flight.get(key, 0) - 1
        if left > 0:
            self.in_flight[key] = left
        else:
            self.in_flight.pop(key, None)
        self.metrics.attempt_ended(pool.cluster, kind)
        if kind is _SERVED:
            self.feed.served(pool.cluster)
            return
        self.feed.report(
            Outcome(
                cluster=pool.cluster,
                model=pool.model,
                kind=kind,
                retry_after_s=retry_after_s,
                ttft_s=ttft_s,
                prompt_bytes=call.prompt_bytes,
            )
        )
        if kind is OutcomeKind.LOCAL_SHORTAGE and self.now() - self._shortage_told_at > TELL_AGAIN_S:
            self._shortage_told_at = self.now()
            log.error(
                "no connection could be opened: descriptors or ports ran out; raise ulimit -n", calls=len(self.active)
            )
        if kind is OutcomeKind.CREDENTIALS and pool.cluster not in self._credentials_alarmed:
            self._credentials_alarmed.add(pool.cluster)
            log.error("cluster refuses our credentials", cluster=pool.cluster)

    def own_in_flight(self, cluster: str) -> Mapping[str, int]:
        """Our calls at one cluster, by model."""
        return {model: count for (name, model), count in self.in_flight.items() if name == cluster}

    # What the loops do to calls.

    def later(self, wait_s: float, do: Callable[[], None]) -> None:
        """Do something in a while."""
        asyncio.get_running_loop().call_later(wait_s, do)

    def cluster_unreachable(self, cluster: str) -> None:
        """Probes or connections say that nobody is there: calls that wait there go elsewhere now."""
        waiting = [exchange for exchange in self.active if exchange.waits_at == cluster]
        pool = self.pools.get(cluster)
        if pool is not None:
            pool.close_idle()
        if waiting:
            log.info("calls taken elsewhere", cluster=cluster, calls=len(waiting))
        self._each(waiting, lambda exchange: exchange.abandon())

    def sweep(self) -> None:
        """End what has taken too long, and note which clusters are heard from. A few times a second."""
        now = self.now()
        self._each(list(self.active), lambda exchange: exchange.check_time(now))
        gone = self.feed.unreachable()
        silent: list[Exchange] = []
        for exchange in self.active:
            cluster = exchange.relays_from
            if cluster is None:
                continue
            if now - exchange.heard_at < HEARD_S:
                self.feed.heard_from(cluster)
            elif cluster in gone and exchange.can_resume:
                silent.append(exchange)
        if silent:
            log.info("silent streams go on elsewhere", clusters=sorted(gone), calls=len(silent))
            self._each(silent, lambda exchange: exchange.abandon())

    def cut_all(self) -> None:
        """The grace period is over: end every call, honestly."""
        self._each(list(self.active), lambda exchange: exchange.cut())

    def _each(self, exchanges: "Sequence[Exchange]", do: "Callable[[Exchange], None]") -> None:
        """Do it to each call; one that fails must not keep the others from their end."""
        for exchange in exchanges:
            try:
                do(exchange)
            except Exception:
                log.exception("call could not be ended", request_id=exchange.request_id.decode("latin-1"))
                self.active.discard(exchange)
