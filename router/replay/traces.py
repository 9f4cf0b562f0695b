"""Traces of real traffic: when calls arrived, and how long they were. Pure.

Two formats are read: Azure's LLM inference traces (CSV: TIMESTAMP, ContextTokens,
GeneratedTokens) and Mooncake's (JSON lines: timestamp in ms, input_length, output_length,
hash_ids). Neither holds any text.
"""

import csv
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec

BLOCK_TOKENS: Final = 512  # What one of Mooncake's hash ids stands for.
ARRIVALS_MAX: Final = 2_000_000
TOKENS_MAX: Final = 10_000_000
AZURE_COLUMNS: Final = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")


class BadTrace(ValueError):
    """A trace that cannot be read; says file, line and what was expected."""


class Arrival(msgspec.Struct, frozen=True, gc=False):
    """One call. `at_s` is seconds after the trace's first; equal leading `blocks` are equal prefixes of 512 tokens."""

    at_s: float
    prompt_tokens: int
    output_tokens: int
    blocks: tuple[int, ...] = ()


class _MooncakeLine(msgspec.Struct, frozen=True, gc=False):
    timestamp: float
    input_length: int
    output_length: int
    hash_ids: tuple[int, ...] = ()


_MOONCAKE = msgspec.json.Decoder(_MooncakeLine)


def parse_trace(lines: Iterable[str], name: str) -> list[Arrival]:
    """The arrivals in a file called `name`, in order of time, the first at 0. Raises BadTrace.

    The format follows from the name: .csv or .jsonl, each perhaps with .gz after it.
    """
    plain = name.removesuffix(".gz")
    if plain.endswith(".csv"):
        rows = _azure(lines, name)
    elif plain.endswith(".jsonl"):
        rows = _mooncake(lines, name)
    else:
        raise BadTrace(f"{name}: what format is this? expected a name that ends in .csv or .jsonl, or in .gz after it")
    arrivals: list[Arrival] = []
    for arrival in rows:
        if len(arrivals) == ARRIVALS_MAX:
            raise BadTrace(f"{name}: more than {ARRIVALS_MAX} arrivals; cut it into pieces")
        arrivals.append(arrival)
    if not arrivals:
        raise BadTrace(f"{name}:1: no arrivals in it")
    return _from_zero(arrivals)


def _from_zero(arrivals: Sequence[Arrival]) -> list[Arrival]:
    ordered = sorted(arrivals, key=lambda arrival: arrival.at_s)
    first_s = ordered[0].at_s
    return [msgspec.structs.replace(arrival, at_s=arrival.at_s - first_s) for arrival in ordered]


def _azure(lines: Iterable[str], name: str) -> Iterator[Arrival]:
    reader = csv.reader(lines)
    header = next(reader, [])
    header[:1] = [cell.lstrip("\ufeff") for cell in header[:1]]
    try:
        at, prompt, output = (header.index(column) for column in AZURE_COLUMNS)
    except ValueError:
        raise BadTrace(f"{name}:1: expected a header with {', '.join(AZURE_COLUMNS)}, found {header!r:.200}") from None
    try:
        for row in reader:
            if not row:
                continue
            place = f"{name}:{reader.line_num}"
            if len(row) != len(header):
                raise BadTrace(f"{place}: expected {len(header)} columns, found {len(row)}")
            yield Arrival(_moment(row[at], place), _tokens(row[prompt], place), _tokens(row[output], place))
    except csv.Error as error:
        raise BadTrace(f"{name}:{reader.line_num}: not CSV: {error}") from None


def _mooncake(lines: Iterable[str], name: str) -> Iterator[Arrival]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        place = f"{name}:{number}"
        try:
            row = _MOONCAKE.decode(line)
        except (msgspec.DecodeError, UnicodeError) as error:
            raise BadTrace(f"{place}: expected timestamp, input_length, output_length and hash_ids: {error}") from None
        if not 0 <= row.timestamp < 1e15:
            raise BadTrace(f"{place}: expected a timestamp in ms, found {row.timestamp:g}")
        prompt, output = (_within(tokens, place) for tokens in (row.input_length, row.output_length))
        yield Arrival(row.timestamp / 1000, prompt, output, row.hash_ids)


def _moment(text: str, place: str) -> float:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise BadTrace(f"{place}: expected a time like 2023-11-16 18:15:46.68, found {text!r:.60}") from None
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()


def _tokens(text: str, place: str) -> int:
    try:
        return _within(int(text), place)
    except ValueError as error:
        if isinstance(error, BadTrace):
            raise
        raise BadTrace(f"{place}: expected a number of tokens, found {text!r:.60}") from None


def _within(tokens: int, place: str) -> int:
    if not 0 <= tokens <= TOKENS_MAX:
        raise BadTrace(f"{place}: expected 0 to {TOKENS_MAX} tokens, found {tokens}")
    return tokens
