"""Which cluster keeps which response."""

import json

import pytest

from router.stored import LOOKED_AT_BYTES, Holder, HolderMemory, is_response_id, nobody_has_it, response_id_in


def created(*before: bytes, **fields: object) -> bytes:
    response = {"id": "resp_1", "object": "response"} | fields
    event = {"type": "response.created", "sequence_number": 0, "response": response}
    return b"".join(before) + b"event: response.created\ndata: %s\n\n" % json.dumps(event).encode()


@pytest.mark.parametrize(
    "beginning",
    [
        b'{"id":"resp_1","object":"response"',
        b'{"id": "resp_1", "object": "response"}',
        b'\n{\n  "id": "resp_1",',
        created(),
        created().replace(b": ", b":"),
    ],
)
def test_id_is_read_where_an_answer_begins(beginning: bytes) -> None:
    assert response_id_in(beginning) == "resp_1"


@pytest.mark.parametrize(
    "beginning",
    [
        b"",
        b'{"object":"response","id":"resp_1"}',  # Behind something: that might hold what the client wrote.
        b'{"metadata":{"id":"resp_1"},"id":"resp_2"}',
        b'{"id":"resp_1',
        b'{"id":"a/../b"}',
        b'{"id":""}',
        b'{"id":"' + b"a" * 129 + b'"}',
        b'{"id":5}',
        b'data: {"type":"response.in_progress","response":{"id":"resp_1"}}\n\n',
        b": hello\n\n" + created(),
        b" " * LOOKED_AT_BYTES + b'{"id":"resp_1"}',
        b'{"error":{"message":"response.created \\"response\\":{\\"id\\":\\"resp_1\\"}"}}',
    ],
)
def test_id_is_read_nowhere_else(beginning: bytes) -> None:
    assert response_id_in(beginning) is None


def test_latest_are_remembered() -> None:
    memory = HolderMemory(2)
    for name in ("a", "b", "a", "c"):
        memory.put(name, Holder(name, None))
    assert (memory.get("a"), memory.get("b"), memory.get("c")) == (Holder("a", None), None, Holder("c", None))
    memory.forget("a")
    memory.forget("a")
    assert memory.get("a") is None


@pytest.mark.parametrize(
    ("statuses", "nobody"),
    [
        ([], True),
        ([404, 405, 400], True),
        ([404, None], False),
        ([404, 503], False),
        ([404, 401], False),
        ([404, 429], False),
        ([404, 200], False),
    ],
)
def test_only_clusters_that_say_so_do_not_have_it(statuses: list[int | None], nobody: bool) -> None:
    assert nobody_has_it(statuses) is nobody


@pytest.mark.parametrize("text", ["resp_1-A", "a" * 128])
def test_ids_can_stand_in_a_path(text: str) -> None:
    assert is_response_id(text)


@pytest.mark.parametrize("text", ["", "a/b", "a b", "é", "a" * 129, "a\n", ".."])
def test_what_cannot_stand_in_a_path_is_no_id(text: str) -> None:
    assert not is_response_id(text)
