"""OpenAI's Responses: requests, answers and stream events, and the answers that are kept for those that refer to them.

Pure. An answer is kept when it is complete; a cluster knows its own answers only.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from federation.lab.frames import Choice, Usage, named_event
from federation.lab.request import BadRequest, Generation, Message, render_chat

STORED_MAX = 1_000


class Stored(msgspec.Struct, frozen=True):
    """One answer, and the conversation that it ends."""

    body: bytes
    messages: tuple[Message, ...]


class ResponseStore:
    """The latest answers by id."""

    def __init__(self, most: int = STORED_MAX) -> None:
        self._most = most
        self._stored: OrderedDict[str, Stored] = OrderedDict()

    def put(self, response_id: str, stored: Stored) -> None:
        self._stored[response_id] = stored
        if len(self._stored) > self._most:
            self._stored.popitem(last=False)

    def get(self, response_id: str, param: str = "response_id") -> Stored:
        """BadRequest with status 404 for one that is not, or no longer, here."""
        found = self._stored.get(response_id)
        if found is None:
            raise BadRequest(f"Response with id '{response_id}' not found.", status=404, param=param)
        return found

    def delete(self, response_id: str) -> bytes:
        self.get(response_id)
        del self._stored[response_id]
        return msgspec.json.encode({"id": response_id, "object": "response", "deleted": True})


class ResponsesRequest(msgspec.Struct, kw_only=True):
    input: str | list[Message]
    model: str | None = None
    instructions: str | None = None
    max_output_tokens: int | None = None
    previous_response_id: str | None = None
    store: bool | None = None
    stream: bool | None = None

    def said(self, store: ResponseStore) -> tuple[Message, ...]:
        """The conversation so far, with what is said now."""
        before: tuple[Message, ...] = ()
        if self.previous_response_id is not None:
            before = store.get(self.previous_response_id, "previous_response_id").messages
        now = [Message("user", self.input)] if isinstance(self.input, str) else self.input
        return (*before, *now)

    def rendered(self, said: Sequence[Message]) -> str:
        """As a chat template would have it. Instructions are not carried over."""
        first = [] if self.instructions is None else [Message("system", self.instructions)]
        return render_chat([*first, *said], False, True)[0]

    def generation(self) -> Generation:
        return Generation(model=self.model, stream=self.stream, max_tokens=self.max_output_tokens)


class ResponsesFrames:
    """One answer; kept in `store`, if any, when it is complete."""

    def __init__(
        self,
        request: ResponsesRequest,
        call_id: str,
        created: int,
        model: str,
        said: tuple[Message, ...],
        store: ResponseStore | None,
    ) -> None:
        self._id = call_id
        self._item_id = "msg_" + call_id.removeprefix("resp_")
        self._said = said
        self._store = store
        self._sequence = 0
        self._fields: dict[str, Any] = {
            "id": call_id,
            "object": "response",
            "created_at": created,
            "model": model,
            "instructions": request.instructions,
            "max_output_tokens": request.max_output_tokens,
            "previous_response_id": request.previous_response_id,
            "store": store is not None,
            "parallel_tool_calls": True,
            "tool_choice": "auto",
            "tools": [],
            "error": None,
        }

    def _item(self, text: str, status: str) -> dict[str, Any]:
        content = [] if status == "in_progress" else [self._part(text)]
        return {"id": self._item_id, "type": "message", "role": "assistant", "status": status, "content": content}

    @staticmethod
    def _part(text: str) -> dict[str, Any]:
        return {"type": "output_text", "text": text, "annotations": []}

    def _complete(self, choices: Sequence[Choice], used: Usage) -> dict[str, Any]:
        [(text, finish_reason, _)] = choices
        status = "incomplete" if finish_reason == "length" else "completed"
        usage = {
            "input_tokens": used["prompt_tokens"],
            "input_tokens_details": used["prompt_tokens_details"],
            "output_tokens": used["completion_tokens"],
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": used["total_tokens"],
        }
        why = {"reason": "max_output_tokens"} if status == "incomplete" else None
        response = self._fields | {
            "status": status,
            "incomplete_details": why,
            "output": [self._item(text, status)],
            "usage": usage,
        }
        if self._store is not None:
            messages = (*self._said, Message("assistant", text))
            self._store.put(self._id, Stored(msgspec.json.encode(response), messages))
        return response

    def whole(self, choices: Sequence[Choice], used: Usage) -> bytes:
        return msgspec.json.encode(self._complete(choices, used))

    def _event(self, name: str, **fields: Any) -> bytes:
        number, self._sequence = self._sequence, self._sequence + 1
        return named_event(name, sequence_number=number, **fields)

    def opening(self, index: int) -> bytes:
        begun = self._fields | {"status": "in_progress", "output": [], "usage": None}
        place = {"item_id": self._item_id, "output_index": 0, "content_index": 0}
        return (
            self._event("response.created", response=begun)
            + self._event("response.in_progress", response=begun)
            + self._event("response.output_item.added", output_index=0, item=self._item("", "in_progress"))
            + self._event("response.content_part.added", part=self._part(""), **place)
        )

    def writer(self, index: int) -> Callable[[str], bytes]:
        place = {"item_id": self._item_id, "output_index": 0, "content_index": 0, "logprobs": []}
        return lambda text: self._event("response.output_text.delta", delta=text, **place)

    def last_event(
        self, index: int, text: str, finish_reason: str, stop_reason: str | None, used: Usage | None
    ) -> bytes:
        return self.writer(index)(text) if text else b""

    def tail(self, choices: Sequence[Choice], used: Usage) -> bytes:
        response = self._complete(choices, used)
        [(text, _, _)] = choices
        place = {"item_id": self._item_id, "output_index": 0, "content_index": 0}
        return (
            self._event("response.output_text.done", text=text, logprobs=[], **place)
            + self._event("response.content_part.done", part=self._part(text), **place)
            + self._event("response.output_item.done", output_index=0, item=response["output"][0])
            + self._event(f"response.{response['status']}", response=response)
        )
