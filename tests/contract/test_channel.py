"""The channel between a parent and a worker over a real socket pair: bounded, whatever the other side does."""

import asyncio
import os
import socket
from collections.abc import Callable
from typing import Any

import pytest

from router.configuration import BadConfiguration
from router.settings import PairSettings, RouterSettings
from router.workers.balance import ABSENT, SLACK, Balance, new_table
from router.workers.channel import UNSENT_BYTES_MAX, Channel, receive_begin
from router.workers.evidence import Evidence
from router.workers.messages import Ask, BadFrame, Begin, Figures, Message, framed
from router.workers.tally import Family
from router.workers.worker import check_settled

BEGIN = Begin(settings=RouterSettings(region="r", inventory="i"), probes=Evidence(at=1.0), drains=())
BIG = Figures(number=1, families=(Family("f", "counter", "x" * 100_000, ()),))


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


async def test_messages_arrive_in_order_and_the_end_is_told_once() -> None:
    ours, theirs = socket.socketpair()
    heard: list[Message] = []
    ends: list[str] = []
    here = await Channel.over(ours, heard.append, lambda: ends.append("here"))
    there = await Channel.over(theirs, heard.append, lambda: ends.append("there"))
    for number in range(100):
        assert here.send(Ask(number))
    await until(lambda: len(heard) == 100)
    assert heard == [Ask(number) for number in range(100)]
    there.close()
    await until(lambda: len(ends) == 2)
    assert sorted(ends) == ["here", "there"]
    assert not here.send(Ask(1)), "and nothing more is taken"


async def test_what_a_frozen_process_does_not_take_is_left_out_and_the_rest_arrives_when_it_wakes() -> None:
    ours, theirs = socket.socketpair()
    heard: list[Message] = []
    here = await Channel.over(ours, lambda message: None, lambda: None)
    sent = sum(here.send(BIG) for _ in range(200))  # 20 MB for a reader that is not there.
    assert 2 <= sent < 30
    assert here.left_out == 200 - sent
    assert here._transport is not None
    assert here._transport.get_write_buffer_size() <= UNSENT_BYTES_MAX
    there = await Channel.over(theirs, heard.append, lambda: None)
    await until(lambda: len(heard) == sent)
    assert here.send(Ask(1)), "there is room again"
    await until(lambda: heard[-1] == Ask(1))
    here.close()
    there.close()


async def test_garbage_ends_the_channel() -> None:
    ours, theirs = socket.socketpair()
    ended = asyncio.Event()
    await Channel.over(ours, lambda message: None, ended.set)
    with theirs:
        theirs.sendall(b"GET / HTTP/1.1\r\n\r\n")
        async with asyncio.timeout(10):
            await ended.wait()


def test_the_first_word_is_read_alone() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(framed(BEGIN) + framed(Ask(1)))
        assert receive_begin(theirs) == BEGIN
        assert theirs.recv(100) == framed(Ask(1)), "what follows is left for the loop"


def test_a_worker_without_a_parent_or_with_another_first_word_does_not_begin() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        ours.sendall(framed(BEGIN)[:10])
        ours.close()
        with pytest.raises(OSError, match="parent has ended"):
            receive_begin(theirs)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(framed(Ask(1)))
        with pytest.raises(BadFrame, match="first word"):
            receive_begin(theirs)


@pytest.mark.parametrize(
    ("setting", "value"),
    [("keys_file", "keys.yaml"), ("tls", PairSettings(cert_file="door.pem", key_file="door.key"))],
)
def test_a_worker_does_not_begin_where_keys_or_tls_came_or_went_since_its_parent_began(
    setting: str, value: object
) -> None:
    bare = RouterSettings(region="r", inventory="i")
    without = {"keys_file": None, "tls": None}
    given = RouterSettings(region="r", inventory="i", **{**without, setting: value})  # type: ignore[arg-type]
    check_settled(bare, bare)
    check_settled(given, given)
    for now, then in ((bare, given), (given, bare)):
        with pytest.raises(BadConfiguration, match=f"{setting} came or went"):
            check_settled(now, then)


def test_whoever_has_more_than_another_waits_and_nobody_waits_for_the_absent() -> None:
    table = new_table(3)
    mine, other = Balance(table, 3), Balance(table, 3)
    assert not mine.has_more(0, 1_000), "nobody else is there"
    other.write(1, 10)
    assert not mine.has_more(0, 10 + SLACK)
    assert mine.has_more(0, 11 + SLACK)
    assert not mine.has_more(1, 1_000), "its own slot says nothing"
    other.write(1, ABSENT)
    assert not mine.has_more(0, 1_000)
    mine.close()
    other.close()
    os.close(table)
