"""The harness itself, with nothing between its load and its upstream."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.benchmarks.bench import Bench, Failure
from tests.benchmarks.measure import Round
from tests.benchmarks.plan import Arrivals, Calls, Scenario, Streams
from tests.benchmarks.proxies import Place, Proxy
from tests.benchmarks.request import EVENTS_MAX, Requests
from tests.benchmarks.upstream import is_stream

# Passes bytes on and changes one word of them: what must be found out.
LYING = """
import asyncio, sys
async def relay(reader, writer):
    while data := await reader.read(65536):
        writer.write(data.replace(b"harbour", b"arbourh"))
    writer.close()
async def served(reader, writer):
    to = await asyncio.open_connection("127.0.0.1", int(sys.argv[2]))
    await asyncio.gather(relay(reader, to[1]), relay(to[0], writer))
async def main():
    await (await asyncio.start_server(served, "127.0.0.1", int(sys.argv[1]))).serve_forever()
asyncio.run(main())
"""


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with Bench(tmp_path_factory.mktemp("bench")) as made:
        yield made


def whose_start(command: list[str]) -> Proxy:
    return Proxy("other", "Other", lambda place: command_of(command, place), ready_s=5.0)


def command_of(command: list[str], place: Place) -> list[str]:
    return [*command, str(place.port), str(place.upstream)]


def test_direct_answers_are_right_to_the_byte(bench: Bench) -> None:
    assert bench.order(do="verify", port=bench.upstream_port, key="none", same_bytes=True) == {}


def test_every_kind_of_load_counts(bench: Bench) -> None:
    how = {"port": bench.upstream_port, "key": "none"}
    metered = {**how, "proxy": [bench.load.pid], "upstream": bench.upstream.pid}
    told = bench.order(do="calls", **metered, prompt_bytes=2_000, connections=4, warm_s=0.0, window_s=0.1)
    assert (told["answers"] > 10, told["errors"]) == (True, 0)
    bench.pace(0.02)
    told = bench.order(do="streams", **metered, count=20, open_s=10, window_s=0.2)
    assert (told["events"] > 20, told["errors"]) == (True, 0)
    bench.await_no_streams()
    told = bench.order(do="arrivals", **how, per_s=500, window_s=0.1, seed=1)
    assert (told["answers"] > 10, told["errors"]) == (True, 0)


def test_proxy_that_changes_a_word_fails_visibly(bench: Bench) -> None:
    proxy = whose_start([sys.executable, "-c", LYING])
    with pytest.raises(Failure, match="the answer came with 661 other bytes"), bench.running(proxy):
        pass


def test_proxy_that_ends_fails_with_its_last_words_in_each_scenario(bench: Bench) -> None:
    proxy = whose_start([sys.executable, "-c", "raise SystemExit('no such file: x.conf')"])
    scenarios: list[Scenario] = [Calls("calls-2k", 2_000, 4), Streams("s", 2, 1.0), Arrivals("a", 10.0)]
    given_up: dict[tuple[str, str], str] = {}
    samples = list(Round(bench, 0, "/", lambda text, took_s: None).run(proxy, scenarios, {}, given_up))
    assert [sample.scenario for sample in samples] == ["calls-2k", "s", "a"]
    assert all("no such file: x.conf" in str(sample.failure) for sample in samples)
    assert len(given_up) == 3  # And is not started again for them.


@pytest.mark.parametrize("spelling", ['"stream":', '"stream": '])
def test_upstream_reads_what_proxies_write_anew(spelling: str) -> None:
    body = (
        Requests(80, "k", 2_000, stream=True, max_tokens=EVENTS_MAX).next()[1].replace(b'"stream":', spelling.encode())
    )
    assert is_stream(body)
    assert is_stream(b'{"stream":true,' + body.partition(b",")[2].replace(b'"stream":true', b'"n":1'))
    assert not is_stream(body.replace(b"true", b"false"))


def test_folder_of_templates_is_whole(tmp_path: Path) -> None:
    place = Place(tmp_path, tmp_path, 1, 2, 3)
    for name in ("nginx.conf", "haproxy.cfg", "envoy.yaml", "litellm.yaml", "serve.yaml"):
        assert "{{" not in place.write(name).read_text()
