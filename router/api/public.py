"""The public app: what clients reach beside the inference calls. Models, health, documentation."""

from typing import Any

from fastapi import APIRouter, Depends, FastAPI, Request
from starlette.responses import JSONResponse, Response

from federation.view import Drop
from router.api.cross_origin import CrossOrigin
from router.api.inference import inference_routes
from router.api.problems import failure_response, speak_dialects
from router.call import Tenant
from router.edge.door import FrontDoor
from router.edge.request_head import RequestHead
from router.errors import Failure, Kind


class _Refused(Exception):
    def __init__(self, failure: Failure) -> None:
        self.failure = failure


def build_public(door: FrontDoor, version: str) -> FastAPI:
    """The app on the main port."""
    app = FastAPI(
        title="Tradewind",
        version=version,
        summary="A global front door for self-hosted LLM inference",
        redoc_url=None,
        redirect_slashes=False,  # A redirect would be built from the Host header, and lead out of TLS.
    )
    speak_dialects(app)
    if door.cors is not None:
        app.add_middleware(CrossOrigin, cors=door.cors)
    app.include_router(inference_routes(door))
    app.include_router(_models(door))
    app.include_router(_health(door))

    @app.exception_handler(_Refused)
    async def _refused(request: Request, error: _Refused) -> Response:
        return failure_response(error.failure, request.url.path)

    return app


def _models(door: FrontDoor) -> APIRouter:
    routes = APIRouter(tags=["models"])

    async def tenant(request: Request) -> Tenant:
        """Who asks; the same keys as for inference."""
        authorization = request.headers.get("authorization")
        api_key = request.headers.get("x-api-key")
        head = RequestHead(
            forwarded=b"",
            authorization=authorization.encode("latin-1") if authorization is not None else None,
            api_key=api_key.encode("latin-1") if api_key is not None else None,
        )
        found = door.tenant_of(head)
        if found is None:
            raise _Refused(door.unauthenticated(head))
        return found

    def listed(who: Tenant) -> list[dict[str, Any]]:
        """The union over clusters that could take a call now."""
        return [
            {"id": model, "object": "model", "created": 0, "owned_by": "tradewind"}
            for model, view in door.feed.view.models.items()
            if any(pool.drop in (None, Drop.EJECTED, Drop.NO_ROOM) for pool in view.pools)
            and (who.models is None or model in who.models)
        ]

    @routes.get("/v1/models", summary="The models that healthy clusters serve")
    async def models(who: Tenant = Depends(tenant)) -> JSONResponse:  # noqa: B008 # FastAPI's way to declare it.
        return JSONResponse({"object": "list", "data": listed(who)})

    @routes.get("/v1/models/{model:path}", summary="One model")
    async def model_by_id(model: str, who: Tenant = Depends(tenant)) -> Response:  # noqa: B008
        for entry in listed(who):
            if entry["id"] == model:
                return JSONResponse(entry)
        known = ", ".join(entry["id"] for entry in listed(who)) or "none"
        message = f"The model '{model}' does not exist here. Known models: {known}."
        raise _Refused(Failure(Kind.MODEL_NOT_FOUND, message, "model"))

    return routes


def _health(door: FrontDoor) -> APIRouter:
    routes = APIRouter(tags=["health"])

    @routes.head("/healthz", include_in_schema=False)
    @routes.get("/healthz", summary="The process lives")
    async def healthz() -> JSONResponse:
        return JSONResponse({"status": "ok"})

    @routes.head("/readyz", include_in_schema=False)
    @routes.get("/readyz", summary="May take traffic; stays ready while Redis is gone")
    async def readyz() -> JSONResponse:
        reason = door.unready()
        if reason is not None:
            return JSONResponse({"status": "not ready", "reason": reason}, 503)
        return JSONResponse({"status": "ready", "mode": door.feed.view.mode})

    return routes
