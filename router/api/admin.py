"""The admin app: metrics, health, status, drains, explain. On its own port, with its own token."""

import hmac
from random import Random
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Body, Depends, FastAPI, Query, Request
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, PlainTextResponse, Response

from federation.model import Drain
from router.api.figures import Figures
from router.api.problems import speak_dialects
from router.api.status import status_of
from router.call import Call
from router.edge.door import FrontDoor
from router.policy import explain

DRAIN_S_DEFAULT = 1800
DRAIN_S_MAX = 30 * 24 * 3600
REASON_LENGTH_MAX = 500


class DrainRequest(BaseModel):
    """What an operator wants, for how long and why."""

    for_s: float = Field(default=DRAIN_S_DEFAULT, gt=0, le=DRAIN_S_MAX)
    reason: str = Field(min_length=1, max_length=REASON_LENGTH_MAX)
    by: str = Field(default="", max_length=100)


def build_admin(door: FrontDoor, figures: Figures, token: str | None, version: str) -> FastAPI:
    """The app on the admin port. Without a token it answers loopback only (the caller sees to that)."""
    app = FastAPI(title="Tradewind admin", version=version, redoc_url=None)
    speak_dialects(app)

    @app.get("/metrics", summary="Prometheus metrics", response_class=PlainTextResponse)
    async def metrics() -> Response:
        return Response(await figures.page(), media_type=CONTENT_TYPE_LATEST)

    @app.get("/healthz", summary="The process lives")
    async def healthz() -> JSONResponse:
        return JSONResponse({"status": "ok"})

    @app.get("/readyz", summary="May take traffic")
    async def readyz() -> JSONResponse:
        reason = door.unready() or figures.unready()
        return JSONResponse({"status": "not ready" if reason else "ready", "reason": reason}, 503 if reason else 200)

    async def operator(request: Request) -> None:
        given = request.headers.get("authorization", "").encode("latin-1")
        if token is not None and not hmac.compare_digest(given, b"Bearer " + token.encode()):
            raise HTTPException(401, "the admin API needs its own token: TRADEWIND_ADMIN_TOKEN")

    app.include_router(_admin_routes(door, figures), dependencies=[Depends(operator)])
    return app


def _admin_routes(door: FrontDoor, figures: Figures) -> APIRouter:
    routes = APIRouter(prefix="/admin", tags=["admin"])

    def known(cluster: str) -> None:
        names = sorted(door.feed.snapshot.beliefs)
        if cluster not in names:
            raise HTTPException(404, f"no cluster {cluster!r}; known are {', '.join(names)}")

    async def put_drain(cluster: str, *, active: bool, wish: DrainRequest) -> dict[str, Any]:
        known(cluster)
        now_ms = int(door.wall() * 1000)
        held = door.feed.snapshot.beliefs[cluster].drain
        version_ms = now_ms if held is None else max(now_ms, held.version_ms + 1)
        until_ms = now_ms + int(wish.for_s * 1000)
        if not active and held is not None:
            until_ms = max(held.until_unix_ms, now_ms + 60_000)  # The end of a drain outlives the drain.
        drain = Drain(
            cluster=cluster,
            active=active,
            reason=wish.reason,
            version_ms=version_ms,
            until_unix_ms=until_ms,
            by=wish.by,
        )
        written, configured = await door.feed.drain(drain)
        return {
            "cluster": cluster,
            "until_unix_ms": drain.until_unix_ms,
            "stores_written": written,
            "stores_configured": configured,
        }

    @routes.get("/status", summary="Clusters, liveness, capacity, decisions")
    async def status() -> dict[str, Any]:
        return {**status_of(door), **figures.totals()}

    @routes.put("/drains/{cluster}", summary="Take a cluster out of new placements, for a while")
    async def drain(cluster: str, wish: DrainRequest) -> dict[str, Any]:
        return await put_drain(cluster, active=True, wish=wish)

    @routes.delete("/drains/{cluster}", summary="Let it take calls again")
    async def undrain(cluster: str, wish: Annotated[DrainRequest | None, Body()] = None) -> dict[str, Any]:
        return await put_drain(cluster, active=False, wish=wish or DrainRequest(reason="undrained"))

    @routes.get("/explain", summary="The decision that would be taken now")
    async def explain_now(
        model: Annotated[str, Query(min_length=1)],
        origin: Annotated[str | None, Query(alias="from")] = None,
        prompt_tokens: Annotated[int, Query(ge=0)] = 0,
    ) -> Response:
        call = Call(
            id="explain",
            path="/v1/chat/completions",
            model=model,
            origin=origin or door.settings.region,
            prompt_bytes=prompt_tokens * 4,
        )
        regions = {name: belief.spec.region for name, belief in door.feed.snapshot.beliefs.items()}
        # A generator of its own: asking must not change what calls draw.
        explanation = explain(call, door.feed.view, door.in_flight, regions, Random(0))
        return Response(msgspec.json.encode(explanation), media_type="application/json")

    return routes
