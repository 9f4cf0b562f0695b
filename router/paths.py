"""The inference paths: whose API each belongs to, and what form its body has. Pure.

A path of the table is one that model servers are known to serve; a call on it goes to any
cluster that serves its model. What else a cluster serves it declares (`paths` in the
inventory): such a call goes to those clusters alone that declare its path. A path of the table
can be declared too, where only some clusters of a model serve it.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum

import msgspec

from router.dialect import Dialect


class Form(StrEnum):
    """How a body holds its fields."""

    JSON = "json"
    MULTIPART = "multipart"


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """One inference path."""

    path: str
    summary: str
    dialect: Dialect = Dialect.OPENAI
    form: Form = Form.JSON
    clusters: frozenset[str] | None = None  # The clusters that declare it; None: nobody does, and any may serve it.


_JSON: dict[str, str] = {
    "/v1/chat/completions": "Chat completion, streamed or not",
    "/v1/completions": "Text completion, streamed or not",
    "/v1/embeddings": "Embeddings",
    "/v1/moderations": "Moderation",
    "/v1/images/generations": "Images from a text",
    "/v1/audio/speech": "Speech from a text",
    "/v1/rerank": "Documents by relevance to a query",
    "/v2/rerank": "Documents by relevance to a query (Cohere's version 2)",
    "/rerank": "Documents by relevance to a query",
    "/v1/score": "Similarity of pairs of texts",
    "/score": "Similarity of pairs of texts",
    "/pooling": "Raw output of a pooling model",
    "/classify": "Classes of texts",
    "/tokenize": "Token ids of a text or a conversation",
    "/detokenize": "The text of token ids",
}
_MULTIPART: dict[str, str] = {
    "/v1/audio/transcriptions": "The text of a recording",
    "/v1/audio/translations": "The English text of a recording",
    "/v1/images/edits": "Images from images and a text",
}
_ANTHROPIC: dict[str, str] = {
    "/v1/messages": "Anthropic's messages, streamed or not",
    "/v1/messages/count_tokens": "How many tokens a message has (Anthropic)",
}

RESPONSES_PATH = "/v1/responses"
CHAT = Route(path="/v1/chat/completions", summary=_JSON["/v1/chat/completions"])

TABLE: Mapping[str, Route] = {
    route.path: route
    for route in (
        *(Route(path=path, summary=text) for path, text in _JSON.items()),
        Route(
            path=RESPONSES_PATH,
            summary="OpenAI's Responses, streamed or not",
            dialect=Dialect.RESPONSES,
        ),
        *(Route(path=path, summary=text, dialect=Dialect.ANTHROPIC) for path, text in _ANTHROPIC.items()),
        *(Route(path=path, summary=text, form=Form.MULTIPART) for path, text in _MULTIPART.items()),
    )
}

Routes = dict[bytes, Route]


def routes(declared: Iterable[tuple[str, Iterable[str]]]) -> Routes:
    """Every path that is taken, by its bytes. `declared`: each cluster's name and the paths it declares."""
    declarers: dict[str, set[str]] = {}
    for cluster, paths in declared:
        for path in paths:
            declarers.setdefault(path, set()).add(cluster)
    found = dict(TABLE)
    for path, clusters in declarers.items():
        route = TABLE.get(path) or Route(path=path, summary="Declared by clusters; passed through untouched")
        found[path] = msgspec.structs.replace(route, clusters=frozenset(clusters))
    return {path.encode(): route for path, route in found.items()}


def dialect_of(path: str) -> Dialect:
    """Whose clients ask for a path, known or not: what lies under a path of Anthropic's is asked for by theirs."""
    route = TABLE.get(path)
    if route is not None:
        return route.dialect
    return Dialect.ANTHROPIC if path.startswith("/v1/messages/") else Dialect.OPENAI
