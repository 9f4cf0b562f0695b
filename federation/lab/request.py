"""The requests that an emulated model server understands, read from JSON. Pure.

Field names and their meaning are OpenAI's, with vLLM's extensions `ignore_eos`, `continue_final_message`,
`add_generation_prompt` and `stream_options.continuous_usage_stats`. Fields that change a real model's words
(temperature, penalties, tools) are accepted and change nothing here.
"""

from typing import Any, TypeVar

import msgspec

from federation.lab.text import tokenize

MAX_CHOICES = 128
MAX_STOP_STRINGS = 16
MAX_INPUTS = 2_048


class BadRequest(Exception):
    """What the client sent cannot be answered. `status` and `code` as vLLM has them; str() is for people."""

    def __init__(self, message: str, *, status: int = 400, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.param = param


class Message(msgspec.Struct):
    role: str
    content: str | list[dict[str, Any]] | None = None

    def text(self) -> str:
        """The text of all parts; parts that are no text count as one piece each."""
        if self.content is None:
            return ""
        if isinstance(self.content, str):
            return self.content
        return "".join(str(part.get("text", "<" + str(part.get("type")) + ">")) for part in self.content)


class StreamOptions(msgspec.Struct):
    include_usage: bool = False
    continuous_usage_stats: bool = False


class Generation(msgspec.Struct, kw_only=True):
    """What chat and completions share."""

    model: str | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: int | None = None
    n: int | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    ignore_eos: bool = False

    def stop_strings(self) -> tuple[str, ...]:
        strings = [self.stop] if isinstance(self.stop, str) else self.stop or []
        if len(strings) > MAX_STOP_STRINGS:
            raise BadRequest(f"at most {MAX_STOP_STRINGS} stop strings are accepted", param="stop")
        return tuple(string for string in strings if string)

    def choices(self) -> int:
        choices = 1 if self.n is None else self.n
        if not 1 <= choices <= MAX_CHOICES:
            raise BadRequest(f"n must be between 1 and {MAX_CHOICES}", param="n")
        return choices

    def token_limit(self) -> int | None:
        if self.max_tokens is not None and self.max_tokens < 1:
            raise BadRequest(f"max_tokens must be at least 1, got {self.max_tokens}.", param="max_tokens")
        return self.max_tokens

    def check_stream_options(self) -> None:
        if self.stream_options is not None and not self.stream:
            raise BadRequest("Stream options can only be defined when `stream=True`.", param="stream_options")


class ChatRequest(Generation, kw_only=True):
    messages: list[Message]
    max_completion_tokens: int | None = None
    continue_final_message: bool = False
    add_generation_prompt: bool = True

    def token_limit(self) -> int | None:
        if self.max_completion_tokens is not None:
            self.max_tokens = self.max_completion_tokens
        return super().token_limit()

    def conversation(self) -> tuple[str, str]:
        """The rendered conversation up to where the answer begins, and what is there of the answer already."""
        return render_chat(self.messages, self.continue_final_message, self.add_generation_prompt)


class CompletionRequest(Generation, kw_only=True):
    prompt: str | list[Any]

    def prompts(self) -> list[str]:
        return texts_of(self.prompt, "prompt")


class EmbeddingRequest(msgspec.Struct, kw_only=True):
    input: str | list[Any]
    model: str | None = None
    encoding_format: str = "float"
    dimensions: int | None = None

    def inputs(self) -> list[str]:
        return texts_of(self.input, "input")


class DetokenizeRequest(msgspec.Struct, kw_only=True):
    tokens: list[int]
    model: str | None = None


class TokenizeRequest(msgspec.Struct, kw_only=True):
    model: str | None = None
    prompt: str | None = None
    messages: list[Message] | None = None
    continue_final_message: bool = False
    add_generation_prompt: bool = True

    def pieces(self) -> list[str]:
        if self.prompt is not None:
            return tokenize(self.prompt)
        if self.messages is None:
            raise BadRequest("one of prompt and messages is required")
        return tokenize("".join(render_chat(self.messages, self.continue_final_message, self.add_generation_prompt)))


def render_chat(messages: list[Message], continues: bool, prompts_assistant: bool) -> tuple[str, str]:
    """As a chat template would: the conversation up to where the assistant speaks, and what it has said so far."""
    if not messages:
        raise BadRequest("messages must hold at least one message", param="messages")
    if continues and prompts_assistant:
        raise BadRequest("Cannot set both `continue_final_message` and `add_generation_prompt` to True.")
    if continues and messages[-1].role != "assistant":
        raise BadRequest("the final message must be the assistant's to be continued", param="messages")
    said = messages[:-1] if continues else messages
    turns = [f"<{message.role}>{message.text()}\n" for message in said]
    if continues or prompts_assistant:
        turns.append("<assistant>")
    return "".join(turns), messages[-1].text() if continues else ""


def texts_of(value: str | list[Any], param: str) -> list[str]:
    """OpenAI's four forms of a prompt: a text, a list of texts, token ids, a list of token ids. Ids are read as the
    text of their numbers, for there is no vocabulary to look them up in."""
    if isinstance(value, str):
        return [value]
    if not value or (len(value) > MAX_INPUTS and not isinstance(value[0], int)):
        raise BadRequest(f"{param} must hold 1 to {MAX_INPUTS} texts", param=param)
    if all(isinstance(entry, int) for entry in value):
        return [_text_of_ids(value)]
    if all(isinstance(entry, str) for entry in value):
        return list(value)
    if all(isinstance(entry, list) and entry and all(isinstance(i, int) for i in entry) for entry in value):
        return [_text_of_ids(entry) for entry in value]
    raise BadRequest(f"{param} must be a text, a list of texts, token ids or a list of token ids", param=param)


def _text_of_ids(ids: list[int]) -> str:
    return "".join(f" {number}" for number in ids)


Request = TypeVar("Request", bound=msgspec.Struct)


def read(body: bytes, form: type[Request]) -> Request:
    """BadRequest, saying what is wrong and where, for what is not JSON of this form."""
    try:
        return msgspec.json.decode(body, type=form)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRequest(str(error)) from None
    except RecursionError:
        raise BadRequest("the body is nested too deeply") from None
