"""A few seconds of interleaved calls through the kernel: nobody gets a byte of anyone else's."""

from tests.fuzz import sockets


def test_over_real_sockets_nobody_gets_a_byte_of_anyone_else() -> None:
    faults, counts = sockets.run(7, 1_500)
    assert faults == []
    assert counts.complete > 0.8 * counts.calls
    assert counts.cancelled > 5
    assert counts.upstream_connections < counts.calls / 2, "connections are used again"
