"""Forms with files, as they come in: read piece by piece, and kept as they are."""

from router.body import BadBody
from router.edge.door import FrontDoor
from router.edge.heads import Headers
from router.edge.request_head import RequestHead
from router.errors import Failure, Kind
from router.form import FormBody, boundary_of

TURN_BYTES = 512 * 1024  # Of one client, before others have their turn: the loop would read 8 MB of a fast one.
BYTES_PER_S_MIN = 64 * 1024  # Slower than this, once `body_s` has passed, a client is not uploading.


def begin_form(door: FrontDoor, head: RequestHead, headers: Headers) -> FormBody | Failure:
    """Who sends it, and whether it can be read, is settled before any of it is taken in."""
    if door.tenant_of(head) is None:
        return door.unauthenticated(head)
    try:
        return FormBody(boundary_of(headers))
    except BadBody as error:
        return bad_form(error)


def bad_form(error: BadBody) -> Failure:
    """What the client is told."""
    return Failure(Kind.BAD_BODY, str(error), error.param)
