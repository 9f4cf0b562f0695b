"""What is read of a request's head. `router.edge.heads` reads it. Pure."""

import msgspec


class RequestHead(msgspec.Struct, kw_only=True):
    """What is read of a request's head. Values are raw bytes, as sent."""

    forwarded: bytes  # Ready lines for the upstream head.
    authorization: bytes | None = None
    api_key: bytes | None = None
    request_id: bytes | None = None
    priority: bytes | None = None
    deadline_ms: bytes | None = None
    session: bytes | None = None
    regions: bytes | None = None
    resume: bytes | None = None
    client_region: bytes | None = None
    content_length: bytes | None = None
    content_encoding: bytes | None = None
    web_origin: bytes | None = None  # The page that a browser sends the request for.
    chunked: bool = False
