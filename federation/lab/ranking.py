"""Rerank and score, as vLLM has them: their requests and the JSON of their answers. Pure."""

from typing import Any

import msgspec

from federation.lab.request import MAX_INPUTS, BadRequest
from federation.lab.vectors import similarity

Texts = str | list[str]


class Document(msgspec.Struct):
    text: str


class RerankRequest(msgspec.Struct, kw_only=True):
    query: str
    documents: list[str | Document]
    model: str | None = None
    top_n: int | None = None

    def pairs(self) -> list[tuple[str, str]]:
        """The query with each document."""
        if not 1 <= len(self.documents) <= MAX_INPUTS:
            raise BadRequest(f"documents must hold 1 to {MAX_INPUTS} texts", param="documents")
        texts = [entry if isinstance(entry, str) else entry.text for entry in self.documents]
        return [(self.query, text) for text in texts]

    def answer(self, call_id: str, model: str, prompt_tokens: int) -> dict[str, Any]:
        rows = [
            {"index": index, "document": {"text": text}, "relevance_score": similarity(query, text)}
            for index, (query, text) in enumerate(self.pairs())
        ]
        rows.sort(key=lambda row: (-float(str(row["relevance_score"])), row["index"]))
        used = {"prompt_tokens": prompt_tokens, "total_tokens": prompt_tokens}
        return {"id": call_id, "model": model, "usage": used, "results": rows[: self.top_n or len(rows)]}


class ScoreRequest(msgspec.Struct, kw_only=True):
    text_1: Texts
    text_2: Texts
    model: str | None = None

    def pairs(self) -> list[tuple[str, str]]:
        """One to many, or one to one."""
        first = [self.text_1] if isinstance(self.text_1, str) else self.text_1
        second = [self.text_2] if isinstance(self.text_2, str) else self.text_2
        if not first or not second or max(len(first), len(second)) > MAX_INPUTS:
            raise BadRequest(f"text_1 and text_2 must hold 1 to {MAX_INPUTS} texts each")
        if len(first) == 1:
            first = first * len(second)
        if len(first) != len(second):
            raise BadRequest("text_1 and text_2 must be equally many, or text_1 one", param="text_1")
        return list(zip(first, second, strict=True))

    def answer(self, call_id: str, model: str, prompt_tokens: int) -> dict[str, Any]:
        rows = [
            {"index": index, "object": "score", "score": similarity(one, other)}
            for index, (one, other) in enumerate(self.pairs())
        ]
        used = {"prompt_tokens": prompt_tokens, "total_tokens": prompt_tokens}
        return {"id": call_id, "object": "list", "model": model, "data": rows, "usage": used}
