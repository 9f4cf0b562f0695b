"""What routing reads of a request's body. `router.body` reads it. Pure."""

import msgspec


class Fields(msgspec.Struct, frozen=True, gc=False):
    """What routing reads of a body."""

    model: str
    stream: bool | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None

    @property
    def tokens_max(self) -> int | None:
        return self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens


class ResponsesFields(Fields, frozen=True, gc=False):
    """What routing reads of a body that may refer to what a cluster keeps."""

    previous_response_id: str | None = None
    conversation: msgspec.Raw = msgspec.Raw(b"null")
