"""CORS for what FastAPI answers, and the preflights of every path; calls get theirs in the edge."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from router.cors import Cors


class CrossOrigin:
    """Plain ASGI around an app. Only there if CORS is configured."""

    def __init__(self, app: ASGIApp, cors: Cors) -> None:
        self.app = app
        self.cors = cors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = dict(scope["headers"])
        origin = given.get(b"origin")
        if scope["method"] == "OPTIONS":
            asked = given.get(b"access-control-request-method"), given.get(b"access-control-request-headers")
            headers = self.cors.preflight(origin, *asked)
            if headers is not None:
                await send({"type": "http.response.start", "status": 204, "headers": headers})
                await send({"type": "http.response.body", "body": b""})
                return

        async def marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *self.cors.answer(origin)]
            await send(message)

        await self.app(scope, receive, marked)
