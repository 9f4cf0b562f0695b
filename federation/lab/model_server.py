"""One emulated cluster in one process: replicas, the endpoint that spreads over them, and a port that asks for faults.

Speaks to the network. Every replica answers the whole OpenAI API on a port of its own, with its own metrics, as a
vLLM server does; the cluster's endpoint sends each call to the replica with the least outstanding, as a cluster's
own gateway would. With several models each has its own replicas, for a model server serves one model. Where a call
says where it came from (x-tradewind-origin: a region), the endpoint adds the round trip from there, once.
"""

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Any, Final

import msgspec
import structlog

from federation.geography import Distances
from federation.lab.batching import ReplicaSpec
from federation.lab.door import Door
from federation.lab.engine import Engine
from federation.lab.faults import Faults, read_faults
from federation.lab.frames import error_body
from federation.lab.http_protocol import Exchange, Handle
from federation.lab.intake import Intake
from federation.lab.messages import CountRequest, messages_error
from federation.lab.presets import SMALL
from federation.lab.request import BadRequest, DetokenizeRequest, TokenizeRequest, read
from federation.lab.text import piece_of, token_id

ORIGIN_HEADER: Final = b"x-tradewind-origin"
RESPONSE_PATH: Final = "/v1/responses/"
METRICS_TYPE: Final = b"text/plain; version=0.0.4; charset=utf-8"
DEFAULT_MODEL: Final = "emulated-8b"
_LAST_WORDS_S: Final = 0.02  # for the answer to a request to die


@dataclass(frozen=True, slots=True)
class ModelServerSettings:
    """Ports 0 are free ones. `replica_ports` in the order models x replicas; what is missing is 0."""

    region: str
    cluster: str
    models: tuple[str, ...] = (DEFAULT_MODEL,)
    replicas: int = 2  # of each model
    spec: ReplicaSpec = SMALL
    host: str = "127.0.0.1"
    port: int = 0
    replica_ports: tuple[int, ...] = ()
    control_port: int = 0
    speed: float = 1.0  # model time and network delay run so many times as fast
    seed: int = 0  # of the faults; the text depends on the request's seed alone, so that clusters agree
    distances: Distances = field(default_factory=Distances.prior)


@dataclass(frozen=True, slots=True)
class Addresses:
    """URLs of what listens."""

    endpoint: str
    replicas: tuple[str, ...]
    control: str


class ModelServer:
    """`start`, then it serves until `stop`. `wall` gives seconds since 1970, for the answers' `created`."""

    def __init__(self, settings: ModelServerSettings, wall: Callable[[], float]) -> None:
        self._settings = settings
        self._rng = Random(settings.seed)
        self._intake = Intake(self._rng, Random(f"{settings.cluster} {settings.seed} {wall()}"), wall)
        self._faults = Faults()
        self._engines: list[Engine] = []
        self._next_engine = 0  # where the search for the least outstanding begins, so that ties take turns
        self._doors: list[Door] = []  # the endpoint, then the replicas
        self._control: Door | None = None
        self._held: dict[Exchange, Callable[[], None]] = {}  # what came while hanging, and how to answer it
        self._changes: set[asyncio.Task[None]] = set()
        self._changing = asyncio.Lock()
        self._log = structlog.get_logger().bind(cluster=settings.cluster, region=settings.region)
        self._serve = {
            ("POST", "/v1/chat/completions"): self._intake.chat,
            ("POST", "/v1/completions"): self._intake.completion,
            ("POST", "/v1/embeddings"): self._intake.embedding,
            ("POST", "/v1/messages"): self._intake.message,
            ("POST", "/v1/responses"): self._intake.response,
            ("POST", "/v1/rerank"): self._intake.rerank,
            ("POST", "/v1/score"): self._intake.score,
            ("POST", "/v1/audio/transcriptions"): self._intake.transcription,
        }
        self._show = {
            ("GET", "/health"): self._health,
            ("GET", "/v1/models"): self._models,
            ("POST", "/tokenize"): self._tokenize,
            ("POST", "/detokenize"): self._detokenize,
            ("POST", "/v1/messages/count_tokens"): self._count_tokens,
            ("GET", "/metrics"): self._metrics,
        }

    async def start(self) -> Addresses:
        """PortTaken if a port is not to be had; nothing listens then."""
        settings, loop = self._settings, asyncio.get_running_loop()
        names = [name for name in settings.models for _ in range(settings.replicas)]
        self._engines = [Engine(name, settings.spec, settings.speed, loop) for name in names]
        ports = settings.replica_ports + (0,) * (len(names) - len(settings.replica_ports))
        self._doors = [Door(settings.host, settings.port, self._handler(self._engines, at_endpoint=True))]
        for engine, port in zip(self._engines, ports, strict=True):
            self._doors.append(Door(settings.host, port, self._handler([engine], at_endpoint=False)))
        self._control = Door(settings.host, settings.control_port, self._handle_control)
        try:
            for door in (*self._doors, self._control):
                await door.open()
        except BaseException:
            self._shut()
            raise
        endpoint, *replicas = (door.url for door in self._doors)
        self._log.info("model server listens", endpoint=endpoint, models=list(settings.models))
        return Addresses(endpoint, tuple(replicas), self._control.url)

    def stop(self) -> None:
        """Resets every connection and stops listening."""
        self._shut()
        self._log.info("model server stopped")

    def _shut(self) -> None:
        for door in (*self._doors, *([self._control] if self._control else [])):
            door.shut()
        for engine in self._engines:
            engine.close()

    # Requests.

    def _handler(self, engines: list[Engine], at_endpoint: bool) -> Handle:
        """What answers at a door behind which `engines` stand."""
        answer = partial(self._answer, engines=engines, at_endpoint=at_endpoint)

        def handle(exchange: Exchange) -> None:
            origin = exchange.headers.get(ORIGIN_HEADER) if at_endpoint else None
            if origin is None:
                answer(exchange)
                return
            rtt_ms = self._settings.distances.rtt_ms(origin.decode("latin-1"), self._settings.region)
            delay_s = rtt_ms / 1_000 / self._settings.speed
            asyncio.get_running_loop().call_later(delay_s, answer, exchange)

        return handle

    def _answer(self, exchange: Exchange, engines: list[Engine], at_endpoint: bool) -> None:
        if exchange.gone:
            return
        if self._faults.hang:
            self._held[exchange] = partial(self._answer, exchange, engines, at_endpoint)
            exchange.on_gone = lambda: self._held.pop(exchange, None)
            return
        route = (exchange.method, exchange.path)
        try:
            if route in self._serve:
                self._infer(exchange, route, engines)
            elif at_endpoint and exchange.path == "/metrics":
                raise BadRequest("each replica has metrics of its own, on its own port", status=404)
            elif route in self._show:
                self._show[route](exchange, engines)
            elif exchange.path.startswith(RESPONSE_PATH):
                self._stored_response(exchange)
            elif any(exchange.path == path for _, path in (*self._serve, *self._show)):
                raise BadRequest("Method Not Allowed", status=405)
            else:
                raise BadRequest("Not Found", status=404)
        except BadRequest as error:
            exchange.respond(error.status, _told(exchange.path, error))

    def _infer(self, exchange: Exchange, route: tuple[str, str], engines: list[Engine]) -> None:
        faults = self._faults
        if faults.refuses_call(self._rng):
            retry = faults.retry_after_s
            extra = () if retry is None else ((b"retry-after", b"%d" % retry),)
            fault = BadRequest("an asked-for fault", status=faults.status)
            exchange.respond(faults.status, _told(exchange.path, fault), extra=extra)
            return
        self._serve[route](exchange, partial(self._pick, engines), faults)

    def _pick(self, engines: list[Engine], model: str | None) -> Engine:
        """The least outstanding of those that serve the model; ties take turns."""
        fitting = [engine for engine in engines if model is None or engine.model == model]
        if not fitting:
            raise BadRequest(f"The model `{model}` does not exist.", status=404, param="model")
        self._next_engine += 1
        turn = self._next_engine % len(fitting)
        return min(fitting[turn:] + fitting[:turn], key=lambda engine: engine.outstanding)

    def _health(self, exchange: Exchange, engines: list[Engine]) -> None:
        exchange.respond(503 if self._faults.unhealthy else 200, b"")

    def _models(self, exchange: Exchange, engines: list[Engine]) -> None:
        length = self._settings.spec.max_model_tokens
        cards = [
            {"id": name, "object": "model", "created": 0, "owned_by": "tradewind", "root": name, "parent": None}
            | {"max_model_len": length}
            for name in dict.fromkeys(engine.model for engine in engines)
        ]
        exchange.respond(200, msgspec.json.encode({"object": "list", "data": cards}))

    def _tokenize(self, exchange: Exchange, engines: list[Engine]) -> None:
        request = read(exchange.body, TokenizeRequest)
        engine = self._pick(engines, request.model)
        tokens = [token_id(piece) for piece in request.pieces()]
        length = engine.replica.spec.max_model_tokens
        exchange.respond(200, msgspec.json.encode({"count": len(tokens), "max_model_len": length, "tokens": tokens}))

    def _detokenize(self, exchange: Exchange, engines: list[Engine]) -> None:
        request = read(exchange.body, DetokenizeRequest)
        self._pick(engines, request.model)
        exchange.respond(200, msgspec.json.encode({"prompt": "".join(map(piece_of, request.tokens))}))

    def _count_tokens(self, exchange: Exchange, engines: list[Engine]) -> None:
        request = read(exchange.body, CountRequest)
        self._pick(engines, request.model)
        exchange.respond(200, msgspec.json.encode({"input_tokens": request.tokens()}))

    def _stored_response(self, exchange: Exchange) -> None:
        response_id = exchange.path.removeprefix(RESPONSE_PATH)
        if exchange.method == "GET":
            exchange.respond(200, self._intake.responses.get(response_id).body)
        elif exchange.method == "DELETE":
            exchange.respond(200, self._intake.responses.delete(response_id))
        else:
            raise BadRequest("Method Not Allowed", status=405)

    def _metrics(self, exchange: Exchange, engines: list[Engine]) -> None:
        exchange.respond(200, "".join(engine.page() for engine in engines).encode(), METRICS_TYPE)

    # Faults.

    def _handle_control(self, exchange: Exchange) -> None:
        route = (exchange.method, exchange.path)
        if route == ("GET", "/healthz"):
            exchange.respond(200, b'{"status":"ok"}')
        elif route == ("GET", "/faults"):
            exchange.respond(200, msgspec.json.encode(self._faults))
        elif route == ("POST", "/faults"):
            try:
                faults = read_faults(exchange.body)
            except ValueError as error:
                exchange.respond(400, error_body(400, str(error)))
                return
            # Answered once the doors are as they should be, so that the caller need not wait and try.
            change = asyncio.get_running_loop().create_task(self._change_faults(faults, exchange))
            self._changes.add(change)
            change.add_done_callback(self._changes.discard)
        else:
            exchange.respond(404, error_body(404, "there are GET /healthz, GET /faults and POST /faults"))

    async def _change_faults(self, faults: Faults, exchange: Exchange) -> None:
        """Makes it so and answers; one change after the other."""
        async with self._changing:
            self._faults = faults
            asked: dict[str, Any] = msgspec.to_builtins(faults)
            self._log.info("faults changed", **asked)
            for engine in self._engines:
                engine.slow_down(faults.slow)
                if faults.hang:
                    engine.pause()
                else:
                    engine.resume()
            try:
                for door in self._doors:
                    if faults.refuse or faults.die:
                        door.shut()
                    else:
                        await door.open()
            except Exception as error:
                exchange.respond(500, error_body(500, str(error)))
                return
            if not faults.hang:
                held, self._held = self._held, {}
                for held_exchange, answer in held.items():
                    held_exchange.on_gone = None
                    answer()
            exchange.respond(200, msgspec.json.encode(faults))
            if faults.die:
                asyncio.get_running_loop().call_later(_LAST_WORDS_S, os._exit, 1)


def _told(path: str, error: BadRequest) -> bytes:
    """The error in the shape of the API that was called."""
    if path.startswith("/v1/messages"):
        return messages_error(error.status, str(error))
    return error_body(error.status, str(error), error.param)
