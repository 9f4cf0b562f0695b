"""What one look at a model server found, and how its list of models is read."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import msgspec

from federation.agent.exposition import Page

MODELS_MAX = 256
NAME_LENGTH_MAX = 256


class ScrapeResult(StrEnum):
    """How a look at a model server went. The strings are metric labels."""

    OK = "ok"
    NO_METRICS = "no_metrics"  # It serves, but does not say how busy it is.
    TIMEOUT = "timeout"
    REFUSED = "refused"
    STATUS = "status"  # An HTTP status that says it cannot serve now.
    GARBAGE = "garbage"  # It answered with something that is not metrics, or not a list of models.
    OVERSIZED = "oversized"
    NO_MODELS = "no_models"  # It answers, and names no model that it serves.
    BROKEN = "broken"  # The connection broke, or what it said was not HTTP.


READY = frozenset({ScrapeResult.OK, ScrapeResult.NO_METRICS})


@dataclass(frozen=True, slots=True)
class Served:
    """The models that a server lists: those it was started with, and LoRA adapters under them."""

    models: tuple[str, ...] = ()
    adapters: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # By the model they adapt.


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """One model server at one moment. Not ready: nothing is known of its load, and it takes no calls."""

    url: str
    result: ScrapeResult
    served: Served  # The last list we have of it, also while it does not answer.
    page: Page | None = None  # None: its load is unknown.
    at: float = 0.0  # When the page was read; monotonic seconds.

    @property
    def ready(self) -> bool:
        return self.result in READY


class _Model(msgspec.Struct):
    id: str
    parent: str | None = None


class _Models(msgspec.Struct):
    data: list[_Model]


_DECODER = msgspec.json.Decoder(_Models)


def read_models(body: bytes) -> Served | None:
    """The answer to GET /v1/models; None if it is none. Empty, overlong and too many names are passed over."""
    try:
        listed = _DECODER.decode(body).data
    except (msgspec.DecodeError, RecursionError):
        return None
    listed = [model for model in listed if 0 < len(model.id) <= NAME_LENGTH_MAX]
    names = {model.id for model in listed}
    models: dict[str, None] = {}
    adapters: dict[str, list[str]] = {}
    for model in listed:
        if model.parent is not None and model.parent in names and model.parent != model.id:
            adapters.setdefault(model.parent, []).append(model.id)
        elif len(models) < MODELS_MAX:
            models[model.id] = None
    return Served(tuple(models), {parent: tuple(sorted(set(found))) for parent, found in adapters.items()})
