"""Calls are drawn from a seed, and what they expect is what the emulated server says."""

import asyncio
import time
from dataclasses import replace

import pytest

from federation.lab.model_server import ModelServer, ModelServerSettings
from tests.app.fleet import MODEL
from tests.soak.ask import LARGE_BYTES, WEIGHTS, Ask, Kind, ask
from tests.soak.connection import Connection
from tests.soak.reading import mistake, read_answer

SEED = 3
FIRST: dict[Kind, Ask] = {made.kind: made for made in (ask(number, SEED) for number in range(600))}


def test_every_kind_is_asked_and_the_same_again() -> None:
    assert set(FIRST) == set(WEIGHTS) == set(Kind)
    assert ask(17, SEED) == ask(17, SEED) != ask(17, SEED + 1)


def test_large_prompts_are_large() -> None:
    assert abs(len(FIRST[Kind.LARGE].body) - LARGE_BYTES) < 4096
    assert len(FIRST[Kind.UPLOAD].body) > 2 * 1024 * 1024


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind is not Kind.BAD])
async def test_undisturbed_server_says_what_is_expected(kind: Kind) -> None:
    settings = ModelServerSettings(region="here", cluster="here", models=(MODEL,), replicas=1, speed=1000.0)
    server = ModelServer(settings, time.time)
    addresses = await server.start()
    host, _, port = addresses.endpoint.removeprefix("http://").rpartition(":")
    connection = await Connection.open(host, int(port))
    asked = FIRST[kind]
    try:
        for one in (replace(asked, then=()), *asked.then):
            [answer] = await connection.exchange(one.raw("key", keep_alive=True), 1, lambda _: True)
            said = read_answer(one, answer.status, bytes(answer.body))
            assert mistake(one, answer.status, said) == ""
    finally:
        connection.close()
        server.stop()
        await asyncio.sleep(0)
