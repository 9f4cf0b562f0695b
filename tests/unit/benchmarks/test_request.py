import json

from tests.benchmarks.request import BODIES, Requests


def lines_of(head: bytes) -> set[bytes]:
    return set(head.split(b"\r\n"))


def test_requests_have_about_the_size_that_was_asked_for() -> None:
    for size in (2_000, 32_000, 256_000):
        requests = Requests(80, "key", size, stream=False)
        bodies = [requests.next()[1] for _ in range(BODIES)]
        assert all(0.93 * size < len(body) < 1.2 * size for body in bodies)
        assert len({len(body) for body in bodies}) > BODIES // 2
        json.loads(bodies[0])


def test_length_is_that_of_the_body() -> None:
    head, body = Requests(80, "key", 2_000, stream=True).next()
    assert f"content-length: {len(body)}".encode() in lines_of(head)
    assert head.endswith(b"\r\n\r\n")


def test_no_two_heads_are_alike() -> None:
    requests = Requests(80, "key", 200, stream=False)
    heads = [requests.next()[0] for _ in range(1_000)]
    assert len(set(heads)) == 1_000
    names = {line.partition(b":")[0] for line in lines_of(heads[0]) - lines_of(heads[BODIES])}
    assert {b"traceparent", b"x-cloud-trace-context", b"x-request-id"} <= names


def test_head_is_that_of_a_client_behind_a_load_balancer() -> None:
    head = Requests(80, "sk-one", 200, stream=False).next()[0]
    assert 20 <= head.count(b"\r\n") - 2 <= 26
    assert b"authorization: Bearer sk-one\r\n" in head
