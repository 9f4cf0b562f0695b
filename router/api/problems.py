"""FastAPI's own refusals, in the shape that OpenAI's clients read."""

from collections.abc import Awaitable, Callable

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from router.errors import TABLE, Failure, Kind, error_body, error_headers

log = structlog.get_logger()

_BY_STATUS = {row.status: kind for kind, row in reversed(TABLE.items())}


def failure_response(failure: Failure) -> Response:
    """An error object with its headers."""
    headers = {name.decode(): value.decode() for name, value in error_headers(failure)}
    return Response(error_body(failure), failure.row.status, headers)


def speak_openai(app: FastAPI) -> None:
    """Every error of this app leaves as an OpenAI error object; none shows a traceback."""

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> Response:
        kind = _BY_STATUS.get(error.status_code, Kind.BAD_HTTP)
        if error.status_code == 404:
            kind = Kind.NOT_FOUND
        message = f"{request.method} {request.url.path}: {error.detail}"
        response = failure_response(Failure(kind, message))
        response.status_code = error.status_code
        for name, value in (error.headers or {}).items():
            response.headers[name] = value
        return response

    @app.exception_handler(RequestValidationError)
    async def _invalid(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"][1:]) or None
        return failure_response(Failure(Kind.BAD_BODY, f"{where or 'request'}: {first['msg']}", where))

    @app.middleware("http")
    async def _internal(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        try:
            return await call_next(request)
        except Exception:
            log.exception("request failed", path=request.url.path)
            return failure_response(Failure(Kind.INTERNAL, "The front door failed; this is our fault."))
