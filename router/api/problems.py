"""FastAPI's own refusals, in the shape that the clients of each API read."""

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from router.dialect import told, told_headers
from router.edge.heads import is_request_id
from router.errors import TABLE, Failure, Kind
from router.paths import dialect_of

log = structlog.get_logger()

_BY_STATUS = {row.status: kind for kind, row in reversed(TABLE.items())}


def failure_response(failure: Failure, path: str, request_id: bytes | None = None) -> Response:
    """An error object with its headers, as the clients that ask for such a path read it."""
    dialect = dialect_of(path)
    known_as = request_id if request_id is not None and is_request_id(request_id) else None
    headers = {name.decode(): value.decode() for name, value in told_headers(failure, dialect, known_as)}
    return Response(told(failure, dialect, known_as), failure.row.status, headers)


def speak_dialects(app: FastAPI) -> None:
    """Every error of this app leaves as an error object of the API it was asked by; none shows a traceback."""

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> Response:
        kind = _BY_STATUS.get(error.status_code, Kind.BAD_HTTP)
        if error.status_code == 404:
            kind = Kind.NOT_FOUND
        message = f"{request.method} {request.url.path}: {error.detail}"
        response = failure_response(Failure(kind, message), request.url.path, _request_id(request.scope))
        response.status_code = error.status_code
        for name, value in (error.headers or {}).items():
            response.headers[name] = value
        return response

    @app.exception_handler(RequestValidationError)
    async def _invalid(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"][1:]) or None
        failure = Failure(Kind.BAD_BODY, f"{where or 'request'}: {first['msg']}", where)
        return failure_response(failure, request.url.path, _request_id(request.scope))

    app.add_middleware(_Internal)


def _request_id(scope: Scope) -> bytes | None:
    found: bytes | None = dict(scope["headers"]).get(b"x-request-id")
    return found


class _Internal:
    """Tells what nobody caught. Plain ASGI: FastAPI's own kind would give a proper end to an answer that broke off."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = False

        given = _request_id(scope) if scope["type"] == "http" else None

        async def watched(message: Message) -> None:
            nonlocal began
            began = True
            if message["type"] == "http.response.start" and given is not None and is_request_id(given):
                headers = message["headers"] = list(message.get("headers", []))
                if not any(name == b"x-request-id" for name, _ in headers):
                    headers.append((b"x-request-id", given))
            await send(message)

        try:
            await self.app(scope, receive, watched)
        except Exception:
            log.exception("request failed", path=scope.get("path"))
            if not began:
                failure = Failure(Kind.INTERNAL, "The front door failed; this is our fault.")
                await failure_response(failure, scope.get("path", ""), given)(scope, receive, send)
