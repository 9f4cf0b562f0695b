"""Inference calls under way: who reads the tokens of an engine and writes them to an exchange.

Speaks to clients, through exchanges. One call may have several choices (`n`, several prompts), each a sequence of
its own; they end together. A client that leaves takes all of them out of the engine at once.
"""

from array import array
from base64 import b64encode
from collections.abc import Callable
from collections.abc import Sequence as Listed
from typing import Any

import msgspec

from federation.lab.answer import Answer
from federation.lab.batching import Sequence
from federation.lab.engine import Engine
from federation.lab.frames import Frames, Usage, usage, with_usage
from federation.lab.http_protocol import Exchange
from federation.lab.vectors import embedding


class Call:
    """The choices of one exchange, from submission to the last one's end."""

    def __init__(self, exchange: Exchange, engine: Engine, prompt_tokens: int) -> None:
        self.exchange = exchange
        self.choices: list[Choice] = []
        self._engine = engine
        self._prompt_tokens = prompt_tokens
        self._open = 0

    def begin(self, choices: Listed["Choice"]) -> None:
        self.choices.extend(choices)
        self._open = len(choices)
        self.exchange.on_gone = self.abandon
        for choice in choices:
            self._engine.start(choice)

    def abandon(self) -> None:
        for choice in self.choices:
            self._engine.abandon(choice)

    def choice_finished(self) -> None:
        self._open -= 1
        if not self._open:
            self.complete()

    def complete(self) -> None:
        """All choices are over."""
        raise NotImplementedError

    def said(self) -> tuple[list[tuple[str, str, str | None]], Usage]:
        """What all choices say, and what it took."""
        answers = [choice.answer for choice in self.choices if choice.answer]
        used = self.usage(sum(answer.tokens for answer in answers))
        return [(answer.text, answer.finish_reason, answer.stop_reason) for answer in answers], used

    def usage(self, completion_tokens: int) -> Usage:
        cached = sum({c.prompt: c.sequence.cached_tokens for c in self.choices if c.is_first_of_prompt}.values())
        return usage(self._prompt_tokens, completion_tokens, cached)


class Choice:
    """One answer of a call that is sent whole; also one input of an embedding call, then without an answer."""

    wants_tokens = False

    def __init__(self, call: Call, sequence: Sequence, answer: Answer | None, prompt: int, is_first: bool) -> None:
        self.call = call
        self.sequence = sequence
        self.answer = answer
        self.prompt = prompt  # which of the call's prompts it answers
        self.is_first_of_prompt = is_first

    def progressed(self, generated: int) -> None:
        pass

    def finished(self) -> str:
        self.call.choice_finished()
        return self.answer.finish_reason if self.answer else "stop"


class WholeCall(Call):
    """Answers when the last choice is over."""

    def __init__(
        self, exchange: Exchange, engine: Engine, prompt_tokens: int, frames: Frames, media_type: bytes
    ) -> None:
        super().__init__(exchange, engine, prompt_tokens)
        self._frames = frames
        self._media_type = media_type

    def complete(self) -> None:
        self.exchange.respond(200, self._frames.whole(*self.said()), self._media_type)


class StreamedCall(Call):
    """Writes events as tokens come. `cut_after` tokens of its first choice, if given, the stream breaks off."""

    def __init__(
        self,
        exchange: Exchange,
        engine: Engine,
        prompt_tokens: int,
        frames: Frames,
        continuous_usage: bool,
    ) -> None:
        super().__init__(exchange, engine, prompt_tokens)
        self.frames = frames
        self.continuous_usage = continuous_usage

    def begin(self, choices: Listed["Choice"]) -> None:
        # As vLLM's: the head comes when the call is accepted, long before the first token of a queued one.
        self.exchange.begin_stream()
        super().begin(choices)

    def cut(self) -> None:
        self.exchange.cut()
        self.abandon()

    def complete(self) -> None:
        self.exchange.write(self.frames.tail(*self.said()))
        self.exchange.end()


class StreamedChoice(Choice):
    """Writes its own events, what opens them before the first."""

    wants_tokens = True

    def __init__(
        self,
        call: StreamedCall,
        sequence: Sequence,
        answer: Answer,
        prompt: int,
        is_first: bool,
        index: int,
        cut_after: int | None,
    ) -> None:
        super().__init__(call, sequence, answer, prompt, is_first)
        self._streamed = call
        self._visible = answer.visible
        self._ends = answer
        self._index = index
        self._sent = 0
        self._opening = call.frames.opening(index)
        self._cut_after = cut_after
        self._event_of = call.frames.writer(index)

    def progressed(self, generated: int) -> None:
        # The last token is held for the event that says why the answer ends.
        upto = min(generated, len(self._visible) - 1)
        cut = self._cut_after is not None and upto >= self._cut_after
        if cut and self._cut_after is not None:
            upto = self._cut_after
        sent = self._sent
        if upto > sent:
            text = self._visible[sent] if upto - sent == 1 else "".join(self._visible[sent:upto])
            self._sent = upto
            if text:
                event = self._event_of(text)
                if self._streamed.continuous_usage:
                    event = with_usage(event, self._streamed.usage(upto))
                self._write(event)
        if cut:
            self._streamed.cut()

    def finished(self) -> str:
        if self._cut_after is not None:
            # So late that its last steps came together: cut as it would have been, and let nothing more out.
            self.progressed(self._cut_after)
            return "abort"
        answer, sent = self._ends, self._sent
        self._sent = answer.tokens
        used = self._streamed.usage(answer.tokens) if self._streamed.continuous_usage else None
        text = "".join(answer.visible[sent:])
        self._write(self._streamed.frames.last_event(self._index, text, answer.finish_reason, answer.stop_reason, used))
        return super().finished()

    def _write(self, event: bytes) -> None:
        if self._opening:
            event, self._opening = self._opening + event, b""
        if event:
            self._streamed.exchange.write(event)


class EmbeddingCall(Call):
    """Vectors that are a function of the input, of length 1, when all inputs are computed."""

    def __init__(
        self, exchange: Exchange, engine: Engine, prompt_tokens: int, inputs: list[str], size: int, as_base64: bool
    ) -> None:
        super().__init__(exchange, engine, prompt_tokens)
        self._inputs = inputs
        self._size = size
        self._as_base64 = as_base64

    def complete(self) -> None:
        rows = []
        for index, text in enumerate(self._inputs):
            vector = array("f", embedding(text, self._size))
            value = b64encode(vector.tobytes()).decode() if self._as_base64 else list(vector)
            rows.append({"object": "embedding", "index": index, "embedding": value})
        used = {"prompt_tokens": self._prompt_tokens, "total_tokens": self._prompt_tokens}
        body = {"object": "list", "data": rows, "model": self._engine.model, "usage": used}
        self.exchange.respond(200, msgspec.json.encode(body))


class PromptsCall(Call):
    """An answer that is a function of prompts alone, when all of them are computed."""

    def __init__(
        self, exchange: Exchange, engine: Engine, prompt_tokens: int, answer: Callable[[int], dict[str, Any]]
    ) -> None:
        super().__init__(exchange, engine, prompt_tokens)
        self._answer = answer

    def complete(self) -> None:
        self.exchange.respond(200, msgspec.json.encode(self._answer(self._prompt_tokens)))
