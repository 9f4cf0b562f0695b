"""The inference routes as FastAPI shows them. Behind our own server the edge takes these calls first."""

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from router.edge.asgi import AsgiCall, Receive, Scope, Send
from router.edge.door import FrontDoor
from router.edge.protocol import INFERENCE_PATHS

_SUMMARIES = {
    "/v1/chat/completions": "Chat completion, streamed or not",
    "/v1/completions": "Text completion, streamed or not",
    "/v1/embeddings": "Embeddings",
}

_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["model"],
                    "properties": {"model": {"type": "string"}, "stream": {"type": "boolean"}},
                    "additionalProperties": True,
                }
            }
        },
    }
}


class _CallResponse(Response):
    """Hands ASGI over to the exchange."""

    def __init__(self, call: AsgiCall) -> None:
        super().__init__()
        self._call = call

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._call(scope, receive, send)


def inference_routes(door: FrontDoor) -> APIRouter:
    """One route for each path that the edge takes."""
    routes = APIRouter(tags=["inference"])

    async def endpoint(request: Request) -> Response:
        return _CallResponse(AsgiCall(door, request.url.path))

    for path in INFERENCE_PATHS.values():
        routes.add_api_route(
            path,
            endpoint,
            methods=["POST"],
            name=path.removeprefix("/v1/"),
            summary=_SUMMARIES[path],
            description="The body goes to the model server byte for byte; fields we do not know pass through.",
            openapi_extra=_BODY,
            response_class=Response,
        )
    return routes
