"""The inference routes as FastAPI shows them. Behind our own server the edge takes these calls first."""

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from router.edge.asgi import AsgiCall, Receive, Scope, Send
from router.edge.door import FrontDoor
from router.paths import Form, Route

_MEDIA_TYPES = {Form.JSON: "application/json", Form.MULTIPART: "multipart/form-data"}


def _body(form: Form) -> dict[str, Any]:
    """What we ask of a body; everything else is the model server's."""
    schema = {
        "type": "object",
        "required": ["model"],
        "properties": {"model": {"type": "string"}, "stream": {"type": "boolean"}},
        "additionalProperties": True,
    }
    return {"requestBody": {"required": True, "content": {_MEDIA_TYPES[form]: {"schema": schema}}}}


class _CallResponse(Response):
    """Hands ASGI over to the exchange."""

    def __init__(self, call: AsgiCall) -> None:
        super().__init__()
        self._call = call

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._call(scope, receive, send)


def inference_routes(door: FrontDoor) -> APIRouter:
    """One route for each path that the edge takes; what is declared later, only the edge takes."""
    routes = APIRouter(tags=["inference"])
    for route in door.routes.values():
        _add(routes, door, route)
    return routes


def _add(routes: APIRouter, door: FrontDoor, route: Route) -> None:
    async def endpoint(request: Request) -> Response:
        return _CallResponse(AsgiCall(door, route))

    routes.add_api_route(
        route.path,
        endpoint,
        methods=["POST"],
        name=route.path.strip("/"),
        summary=route.summary,
        description="The body goes to the model server byte for byte; fields we do not know pass through.",
        openapi_extra=_body(route.form),
        response_class=Response,
    )
