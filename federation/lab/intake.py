"""From an exchange with an inference request to a call under way: reads, checks, plans the answers, starts them.

Speaks to clients, through exchanges. Raises `BadRequest` for what cannot be answered.
"""

from collections.abc import Callable
from functools import partial
from random import Random

from federation.lab.answer import answer
from federation.lab.batching import Sequence
from federation.lab.calls import Call, Choice, EmbeddingCall, PromptsCall, StreamedCall, StreamedChoice, WholeCall
from federation.lab.engine import Engine
from federation.lab.faults import Faults
from federation.lab.frames import Frames, Head
from federation.lab.http_protocol import Exchange
from federation.lab.messages import MessagesFrames, MessagesRequest
from federation.lab.ranking import RerankRequest, ScoreRequest
from federation.lab.recording import TranscriptionFrames
from federation.lab.request import (
    BadRequest,
    ChatRequest,
    CompletionRequest,
    EmbeddingRequest,
    Generation,
    read,
)
from federation.lab.responses import ResponsesFrames, ResponsesRequest, ResponseStore
from federation.lab.text import (
    Place,
    block_hashes,
    key_of,
    place_in_chat,
    place_in_completion,
    tokenize,
)

JSON_TYPE = b"application/json"
PLAIN_TYPE = b"text/plain; charset=utf-8"
DEFAULT_DIMENSIONS = 64
MAX_DIMENSIONS = 4_096
MAX_OUTSTANDING = 20_000  # a replica refuses what comes on top; vLLM's queue is unbounded

PickEngine = Callable[[str | None], Engine]
"""The engine for a model's name (None: any); BadRequest with status 404 for a model that is not served."""


class Intake:
    """Starts calls on behalf of one process. `names` makes what no other process may make: the ids of responses.
    `wall` gives seconds since 1970."""

    def __init__(self, rng: Random, names: Random, wall: Callable[[], float]) -> None:
        self.responses = ResponseStore()
        self._rng = rng
        self._names = names
        self._wall = wall

    def chat(self, exchange: Exchange, pick: PickEngine, faults: Faults) -> None:
        request = read(exchange.body, ChatRequest)
        conversation, begun = request.conversation()
        places = [place_in_chat(conversation, begun, seed) for seed in _seeds(request)]
        engine = pick(request.model)
        head = self._head(True, exchange, engine, request)
        self._generate(exchange, engine, faults, request, [conversation + begun], [places], head)

    def completion(self, exchange: Exchange, pick: PickEngine, faults: Faults) -> None:
        request = read(exchange.body, CompletionRequest)
        prompts = request.prompts()
        places = [[place_in_completion(prompt, seed) for seed in _seeds(request)] for prompt in prompts]
        engine = pick(request.model)
        self._generate(exchange, engine, faults, request, prompts, places, self._head(False, exchange, engine, request))

    def message(self, exchange: Exchange, pick: PickEngine, faults: Faults) -> None:
        request = read(exchange.body, MessagesRequest)
        engine = pick(request.model)
        conversation, begun = request.conversation()
        frames = MessagesFrames(self._call_id(exchange, "msg"), engine.model, request.tokens())
        places = [place_in_chat(conversation, begun, 0)]
        self._generate(exchange, engine, faults, request.generation(), [conversation + begun], [places], frames)

    def response(self, exchange: Exchange, pick: PickEngine, faults: Faults) -> None:
        request = read(exchange.body, ResponsesRequest)
        engine = pick(request.model)
        said = request.said(self.responses)
        conversation = request.rendered(said)
        call_id = f"resp_{self._names.getrandbits(128):032x}"
        store = None if request.store is False else self.responses
        frames = ResponsesFrames(request, call_id, int(self._wall()), engine.model, said, store)
        places = [place_in_chat(conversation, "", 0)]
        self._generate(exchange, engine, faults, request.generation(), [conversation], [places], frames)

    def transcription(self, exchange: Exchange, pick: PickEngine, faults: Faults) -> None:
        recording = exchange.recording
        if recording is None:
            raise BadRequest("this path takes multipart/form-data")
        recording.check()
        fields = recording.fields
        plain = fields.get("response_format", "json") == "text"
        request = Generation(model=fields.get("model"), stream=fields.get("stream", "").lower() in ("true", "1"))
        prompt = f"<audio {recording.digest}>{fields.get('prompt', '')}"
        places = [Place(key_of(prompt, 0), "")]
        media_type = PLAIN_TYPE if plain else JSON_TYPE
        frames = TranscriptionFrames(plain)
        self._generate(exchange, pick(request.model), faults, request, [prompt], [places], frames, media_type)

    def rerank(self, exchange: Exchange, pick: PickEngine, faults: Faults) -> None:
        self._rank(exchange, pick, read(exchange.body, RerankRequest), "rerank")

    def score(self, exchange: Exchange, pick: PickEngine, faults: Faults) -> None:
        self._rank(exchange, pick, read(exchange.body, ScoreRequest), "score")

    def _rank(self, exchange: Exchange, pick: PickEngine, request: RerankRequest | ScoreRequest, prefix: str) -> None:
        engine = pick(request.model)
        sequences = _prompts(engine, [one + other for one, other in request.pairs()])
        tokens = sum(sequence.prompt_tokens for sequence in sequences)
        call = PromptsCall(
            exchange, engine, tokens, partial(request.answer, self._call_id(exchange, prefix), engine.model)
        )
        call.begin([Choice(call, sequence, None, index, True) for index, sequence in enumerate(sequences)])

    def _head(self, chat: bool, exchange: Exchange, engine: Engine, request: Generation) -> Head:
        call_id = self._call_id(exchange, "chatcmpl" if chat else "cmpl")
        options = request.stream_options
        return Head(chat, call_id, int(self._wall()), engine.model, options is not None and options.include_usage)

    def embedding(self, exchange: Exchange, pick: PickEngine, faults: Faults) -> None:
        request = read(exchange.body, EmbeddingRequest)
        engine = pick(request.model)
        size = DEFAULT_DIMENSIONS if request.dimensions is None else request.dimensions
        if not 1 <= size <= MAX_DIMENSIONS:
            raise BadRequest(f"dimensions must be between 1 and {MAX_DIMENSIONS}", param="dimensions")
        if request.encoding_format not in ("float", "base64"):
            raise BadRequest("encoding_format must be float or base64", param="encoding_format")
        inputs = request.inputs()
        sequences = _prompts(engine, inputs)
        tokens = sum(sequence.prompt_tokens for sequence in sequences)
        call = EmbeddingCall(exchange, engine, tokens, inputs, size, request.encoding_format == "base64")
        call.begin([Choice(call, sequence, None, index, True) for index, sequence in enumerate(sequences)])

    def _generate(
        self,
        exchange: Exchange,
        engine: Engine,
        faults: Faults,
        request: Generation,
        prompts: list[str],
        places: list[list[Place]],
        frames: Frames,
        media_type: bytes = JSON_TYPE,
    ) -> None:
        request.check_stream_options()
        stop = request.stop_strings()
        limit = request.token_limit()
        _check_room(engine, sum(map(len, places)))
        tokenized = [tokenize(prompt) for prompt in prompts]
        prompt_tokens = sum(map(len, tokenized))
        call: Call
        if request.stream:
            options = request.stream_options
            continuous = options is not None and options.continuous_usage_stats and options.include_usage
            call = StreamedCall(exchange, engine, prompt_tokens, frames, continuous)
        else:
            call = WholeCall(exchange, engine, prompt_tokens, frames, media_type)
        choices: list[Choice] = []
        for prompt, (pieces, here) in enumerate(zip(tokenized, places, strict=True)):
            max_tokens = _max_tokens(engine, max(1, len(pieces)), limit)
            blocks = block_hashes(pieces, engine.replica.spec.block_tokens)
            for place in here:
                planned = answer(place, max_tokens, stop, request.ignore_eos)
                sequence = _sequence(len(pieces), planned.tokens, blocks)
                first = place is here[0]
                if isinstance(call, StreamedCall):
                    index = len(choices)
                    cut_after = None if index else faults.cut_after(planned.tokens, self._rng)
                    choices.append(StreamedChoice(call, sequence, planned, prompt, first, index, cut_after))
                else:
                    choices.append(Choice(call, sequence, planned, prompt, first))
        call.begin(choices)

    def _call_id(self, exchange: Exchange, prefix: str) -> str:
        """From the caller's x-request-id, as vLLM does, or made."""
        given = exchange.headers.get(b"x-request-id", b"")
        name = given.decode("latin-1") if 0 < len(given) <= 128 else f"{self._rng.getrandbits(128):032x}"
        return f"{prefix}-{name}"


def _prompts(engine: Engine, texts: list[str]) -> list[Sequence]:
    """A sequence for each text, without an answer. BadRequest if one is too long, or all are too many."""
    sequences = []
    for text in texts:
        pieces = tokenize(text)
        _max_tokens(engine, len(pieces), None)
        sequences.append(_sequence(len(pieces), 0, block_hashes(pieces, engine.replica.spec.block_tokens)))
    _check_room(engine, len(sequences))
    return sequences


def _seeds(request: Generation) -> list[int]:
    """One for each choice; the first has the request's own."""
    seed = request.seed or 0
    return [seed + (index << 64) for index in range(request.choices())]


def _max_tokens(engine: Engine, prompt_tokens: int, limit: int | None) -> int:
    """How long the answer may become. BadRequest if prompt and answer exceed the model's length."""
    longest = engine.replica.spec.max_model_tokens
    if prompt_tokens + (limit or 1) > longest:
        raise BadRequest(
            f"This model's maximum context length is {longest} tokens. However, you requested "
            f"{prompt_tokens + (limit or 1)} tokens ({prompt_tokens} in the prompt, {limit or 1} in the answer)."
        )
    return limit or longest - prompt_tokens


def _sequence(prompt_tokens: int, output_tokens: int, blocks: tuple[bytes, ...]) -> Sequence:
    # A real prompt begins with a token of its own, so that an empty one is not empty.
    return Sequence(None, max(1, prompt_tokens), output_tokens, blocks)


def _check_room(engine: Engine, sequences: int) -> None:
    if engine.outstanding + sequences > MAX_OUTSTANDING:
        raise BadRequest("the queue is full", status=503)
