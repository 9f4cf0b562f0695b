"""The emulated model server over real sockets, as OpenAI's own client sees it."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import openai
import pytest
from openai import AsyncOpenAI
from prometheus_client.parser import text_string_to_metric_families

from federation.geography import Distances
from federation.lab.door import PortTaken
from federation.lab.model_server import Addresses, ModelServer, ModelServerSettings
from federation.lab.presets import SMALL

ASK = [{"role": "user", "content": "Where does the pilot come aboard?"}]
SETTINGS = ModelServerSettings(
    region="us-central1",
    cluster="test",
    models=("emulated-8b", "other"),
    replicas=2,
    speed=10.0,
    distances=Distances({("europe-west4", "us-central1"): 3_000.0}),
)
WAIT_S = 20.0


@dataclass
class Lab:
    """A running emulated cluster and clients for it."""

    addresses: Addresses
    openai: AsyncOpenAI
    http: httpx.AsyncClient

    async def faults(self, **asked: object) -> None:
        response = await self.http.post(f"{self.addresses.control}/faults", json=asked)
        assert response.status_code == 200, response.text

    async def metric(self, replica: int, name: str) -> float:
        page = (await self.http.get(f"{self.addresses.replicas[replica]}/metrics")).text
        for family in text_string_to_metric_families(page):
            for sample in family.samples:
                if sample.name == f"vllm:{name}":
                    return sample.value
        raise AssertionError(f"no metric {name}")

    async def total(self, name: str) -> float:
        return sum([await self.metric(replica, name) for replica in range(len(self.addresses.replicas))])


async def until(fact: Callable[[], Awaitable[bool]]) -> None:
    """Asks again and again, for what no event tells."""
    async with asyncio.timeout(WAIT_S):
        while not await fact():
            await asyncio.sleep(0.005)


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    server = ModelServer(SETTINGS, lambda: 1_700_000_000.0)
    addresses = await server.start()
    async with (
        httpx.AsyncClient(timeout=WAIT_S) as http,
        AsyncOpenAI(base_url=f"{addresses.endpoint}/v1", api_key="x", max_retries=0, timeout=WAIT_S) as client,
    ):
        yield Lab(addresses, client, http)
    server.stop()
    await asyncio.sleep(0)  # the transports' own last callbacks


async def test_chat_answers_whole_and_streamed_alike(lab: Lab) -> None:
    whole = await lab.openai.chat.completions.create(model="emulated-8b", messages=ASK)
    stream = await lab.openai.chat.completions.create(
        model="emulated-8b", messages=ASK, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    assert chunks[0].choices[0].delta.role == "assistant"
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    reasons = [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices]
    assert reasons == [None] * (len(reasons) - 1) + ["stop"]
    assert chunks[-1].choices == []
    # An event is not a token: a late step brings several tokens in one event.
    assert len(reasons) - 1 <= chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    assert chunks[-1].usage.total_tokens == whole.usage.total_tokens
    assert {chunk.id for chunk in chunks} == {chunks[0].id}


async def test_completions_honour_max_tokens_seed_stop_and_n(lab: Lab) -> None:
    async def complete(**fields: object) -> openai.types.Completion:
        return await lab.openai.completions.create(model="emulated-8b", prompt="Land ho", **fields)

    short = await complete(max_tokens=7)
    assert (short.choices[0].finish_reason, short.usage.completion_tokens) == ("length", 7)
    text = (await complete(max_tokens=15)).choices[0].text
    assert text.startswith(short.choices[0].text)
    assert (await complete(max_tokens=7, seed=5)).choices[0].text != short.choices[0].text
    word = text.split(" ")[4]
    stopped = (await complete(max_tokens=15, stop=[word])).choices[0]
    assert (stopped.text, stopped.finish_reason) == (text[: text.index(word)], "stop")
    several = await complete(max_tokens=7, n=3)
    assert [choice.index for choice in several.choices] == [0, 1, 2]
    assert len({choice.text for choice in several.choices}) == 3
    assert several.choices[0].text == short.choices[0].text
    assert several.usage.completion_tokens == 21
    assert several.usage.prompt_tokens == short.usage.prompt_tokens
    exact = await complete(max_tokens=300, extra_body={"ignore_eos": True})
    assert exact.usage.completion_tokens == 300


async def test_streams_of_several_prompts_and_choices_end_together(lab: Lab) -> None:
    stream = await lab.openai.completions.create(
        model="other", prompt=["one", "two"], n=2, max_tokens=4, stream=True, stream_options={"include_usage": True}
    )
    texts, ends = ["", "", "", ""], []
    async for chunk in stream:
        for choice in chunk.choices:
            texts[choice.index] += choice.text
            if choice.finish_reason:
                ends.append(choice.index)
        usage = chunk.usage
    assert sorted(ends) == [0, 1, 2, 3]
    assert len(set(texts)) == 4
    assert usage.completion_tokens == 16


async def test_an_answer_that_broke_off_is_continued_byte_for_byte(lab: Lab) -> None:
    whole = (await lab.openai.chat.completions.create(model="other", messages=ASK)).choices[0].message.content
    for cut in (0, 1, len(whole) // 2, len(whole) - 1, len(whole)):
        rest = await lab.openai.chat.completions.create(
            model="emulated-8b",
            messages=[*ASK, {"role": "assistant", "content": whole[:cut]}],
            extra_body={"continue_final_message": True, "add_generation_prompt": False},
        )
        assert whole[:cut] + rest.choices[0].message.content == whole
    whole = (await lab.openai.completions.create(model="other", prompt="Land ho")).choices[0].text
    rest = await lab.openai.completions.create(model="other", prompt="Land ho" + whole[:50])
    assert whole[:50] + rest.choices[0].text == whole
    counted = (await lab.http.post(f"{lab.addresses.endpoint}/tokenize", json={"prompt": whole})).json()
    assert counted["count"] == len(counted["tokens"]) > 20


async def test_continuous_usage_counts_tokens_as_they_come(lab: Lab) -> None:
    options = {"include_usage": True, "continuous_usage_stats": True}
    body = {"prompt": "Land ho", "max_tokens": 4, "stream": True, "stream_options": options}
    lines = (await lab.http.post(f"{lab.addresses.endpoint}/v1/completions", json=body)).text.split("\n\n")
    assert lines[-2:] == ["data: [DONE]", ""]
    counts = [json.loads(line[6:])["usage"]["completion_tokens"] for line in lines[:-2]]
    assert counts == sorted(counts)  # a late step brings several tokens in one event
    assert counts[-1] == 4


async def test_embeddings_are_a_function_of_the_input(lab: Lab) -> None:
    for form in ("float", "base64"):
        rows = await lab.openai.embeddings.create(
            model="other", input=["a", "b", "a"], dimensions=8, encoding_format=form
        )
        assert [row.index for row in rows.data] == [0, 1, 2]
    vectors = (await lab.openai.embeddings.create(model="other", input=["a", "b", "a"], dimensions=8)).data
    assert vectors[0].embedding == vectors[2].embedding != vectors[1].embedding
    assert sum(number**2 for number in vectors[0].embedding) == pytest.approx(1.0, rel=1e-5)
    assert rows.usage.prompt_tokens == 3


async def test_each_replica_serves_its_model_and_the_endpoint_all(lab: Lab) -> None:
    assert [model.id async for model in lab.openai.models.list()] == ["emulated-8b", "other"]
    assert len(lab.addresses.replicas) == 4
    cards = (await lab.http.get(f"{lab.addresses.replicas[3]}/v1/models")).json()["data"]
    assert [(card["id"], card["max_model_len"]) for card in cards] == [("other", SMALL.max_model_tokens)]
    with pytest.raises(openai.NotFoundError, match="no-such"):
        await lab.openai.completions.create(model="no-such", prompt="x")
    answers = await asyncio.gather(
        *(
            lab.openai.completions.create(model="other", prompt="x", max_tokens=200, extra_body={"ignore_eos": True})
            for _ in range(4)
        )
    )
    assert len({answer.choices[0].text for answer in answers}) == 1
    assert [await lab.metric(replica, "generation_tokens_total") for replica in range(4)] == [0, 0, 400, 400]
    assert [await lab.metric(replica, "request_success_total") for replica in (2, 3)] == [0, 0]  # "stop"
    assert (await lab.http.get(f"{lab.addresses.endpoint}/metrics")).status_code == 404


async def test_a_repeated_prompt_is_found_in_the_prefix_cache(lab: Lab) -> None:
    prompt = "the same long story " * 100
    replica = lab.addresses.replicas[0]
    body = {"prompt": prompt, "max_tokens": 1}
    used = [(await lab.http.post(f"{replica}/v1/completions", json=body)).json()["usage"] for _ in range(2)]
    assert [row["prompt_tokens_details"]["cached_tokens"] for row in used] == [0, 400]
    assert used[0]["prompt_tokens"] == 401
    assert await lab.metric(0, "prefix_cache_hits_total") == 400


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/chat/completions", "{", 400),
        ("/v1/chat/completions", '{"messages": "hi"}', 400),
        ("/v1/chat/completions", '{"messages": [{"role": "user", "content": "hi"}], "stop": 1}', 400),
        ("/v1/completions", '{"prompt": "x", "max_tokens": 40000}', 400),
        ("/v1/completions", '{"prompt": "x", "stream_options": {}}', 400),
        ("/v1/embeddings", '{"input": "x", "dimensions": 0}', 400),
        ("/v1/nothing", "{}", 404),
        ("/health", "{}", 405),
    ],
)
async def test_what_cannot_be_answered_is_told_in_openais_shape(lab: Lab, path: str, body: str, status: int) -> None:
    response = await lab.http.post(lab.addresses.endpoint + path, content=body)
    assert response.status_code == status
    assert set(response.json()["error"]) == {"message", "type", "param", "code"}


async def test_a_body_over_the_limit_is_a_413_before_it_is_read(lab: Lab) -> None:
    host, port = lab.addresses.endpoint.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999\r\n\r\n")
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 413 ")
    writer.close()
    await writer.wait_closed()


async def test_pipelined_requests_are_answered_in_order(lab: Lab) -> None:
    host, port = lab.addresses.endpoint.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    body = b'{"prompt": "x", "max_tokens": 5}'
    writer.write(
        b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
        + b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n" * 2
        + b"GET /v1/nothing HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    )
    answers = (await asyncio.wait_for(reader.read(), WAIT_S)).split(b"HTTP/1.1 ")
    assert [answer[:3] for answer in answers[1:]] == [b"200", b"200", b"200", b"404"]
    writer.close()
    await writer.wait_closed()


async def test_a_client_that_leaves_frees_its_slot(lab: Lab) -> None:
    stream = await lab.openai.completions.create(
        model="emulated-8b", prompt="x", n=4, stream=True, max_tokens=20_000, extra_body={"ignore_eos": True}
    )
    async for _ in stream:
        break
    assert await lab.total("num_requests_running") == 4
    await stream.close()

    async def is_free() -> bool:
        return await lab.total("num_requests_running") == 0

    await until(is_free)


async def test_a_waiting_call_of_a_client_that_leaves_is_forgotten(lab: Lab) -> None:
    fields = {"prompt": "x", "n": 20, "max_tokens": 20_000, "ignore_eos": True}
    call = asyncio.ensure_future(lab.http.post(f"{lab.addresses.replicas[0]}/v1/completions", json=fields))

    async def waits() -> bool:
        return await lab.metric(0, "num_requests_waiting") == 4

    async def is_free() -> bool:
        return await lab.metric(0, "num_requests_running") + await lab.metric(0, "num_requests_waiting") == 0

    await until(waits)
    call.cancel()
    await until(is_free)


async def test_a_call_from_far_away_takes_the_round_trip_longer(lab: Lab) -> None:
    """3,000 ms at ten times the speed."""
    loop = asyncio.get_running_loop()
    for path in ("/health", "/v1/models"):
        for origin, least_s, most_s in (("us-central1", 0.0, 0.3), ("europe-west4", 0.3, WAIT_S)):
            began = loop.time()
            await lab.http.get(lab.addresses.endpoint + path, headers={"x-tradewind-origin": origin})
            assert least_s <= loop.time() - began < most_s


async def test_error_rate_is_answered_with_the_status_asked_for(lab: Lab) -> None:
    await lab.faults(error_rate=1.0, status=429, retry_after_s=7)
    with pytest.raises(openai.RateLimitError) as refused:
        await lab.openai.completions.create(model="other", prompt="x")
    assert refused.value.response.headers["retry-after"] == "7"
    assert (await lab.http.get(f"{lab.addresses.endpoint}/health")).status_code == 200
    await lab.faults(unhealthy=True)
    assert (await lab.http.get(f"{lab.addresses.endpoint}/health")).status_code == 503
    shown = await lab.http.get(f"{lab.addresses.control}/faults")
    assert shown.json() == {"unhealthy": True}
    await lab.faults()
    await lab.openai.completions.create(model="other", prompt="x", max_tokens=2)
    assert (await lab.http.post(f"{lab.addresses.control}/faults", content="{")).status_code == 400
    assert (await lab.http.get(f"{lab.addresses.control}/healthz")).status_code == 200


async def test_a_cut_stream_ends_without_its_end(lab: Lab) -> None:
    whole = (await lab.openai.completions.create(model="other", prompt="x")).choices[0].text
    await lab.faults(cut_streams=1.0)
    parts: list[str] = []

    async def read() -> None:
        async for chunk in await lab.openai.completions.create(model="other", prompt="x", stream=True):
            parts.append(chunk.choices[0].text)

    with pytest.raises((openai.APIError, httpx.RemoteProtocolError)):
        await read()
    assert parts
    assert whole.startswith("".join(parts))
    assert "".join(parts) != whole
    assert await lab.total("num_requests_running") == 0


async def test_a_hanging_cluster_answers_nothing_and_goes_on_when_it_is_cleared(lab: Lab) -> None:
    stream = await lab.openai.completions.create(
        model="other", prompt="x", stream=True, max_tokens=60, extra_body={"ignore_eos": True}
    )
    chunks = aiter(stream)
    first = await anext(chunks)
    await lab.faults(hang=True)
    health = asyncio.ensure_future(lab.http.get(f"{lab.addresses.endpoint}/health"))
    # 60 tokens take 0.13 s at this speed: by then the stream would have ended, and the health check been answered.
    done, _ = await asyncio.wait([health], timeout=0.4)
    assert not done
    await lab.faults()
    assert (await health).status_code == 200
    rest = [chunk async for chunk in chunks]
    whole = await lab.openai.completions.create(
        model="other", prompt="x", max_tokens=60, extra_body={"ignore_eos": True}
    )
    assert first.choices[0].text + "".join(chunk.choices[0].text for chunk in rest) == whole.choices[0].text


async def test_a_refusing_cluster_resets_its_streams_and_returns_on_the_same_ports(lab: Lab) -> None:
    stream = await lab.openai.completions.create(
        model="other", prompt="x", stream=True, max_tokens=9_000, extra_body={"ignore_eos": True}
    )
    await anext(aiter(stream))
    await lab.faults(refuse=True)
    with pytest.raises((openai.APIError, httpx.NetworkError, httpx.RemoteProtocolError)):
        async for _ in stream:
            pass
    for url in (lab.addresses.endpoint, lab.addresses.replicas[0]):
        with pytest.raises(httpx.ConnectError):
            await lab.http.get(f"{url}/health")
    await lab.faults()
    for url in (lab.addresses.endpoint, *lab.addresses.replicas):
        assert (await lab.http.get(f"{url}/health")).status_code == 200
    assert await lab.total("num_requests_running") == 0


async def test_a_slow_cluster_takes_as_many_times_as_long(lab: Lab) -> None:
    loop = asyncio.get_running_loop()

    async def seconds() -> float:
        began = loop.time()
        fields = {"prompt": "x", "max_tokens": 50, "ignore_eos": True}
        await lab.http.post(f"{lab.addresses.endpoint}/v1/completions", json=fields)
        return loop.time() - began

    plain_s = await seconds()
    await lab.faults(slow=5.0)
    # 50 steps of 20.25 ms at ten times the speed are 0.1 s.
    assert await seconds() > 0.5 > plain_s


async def test_two_servers_cannot_have_one_port(lab: Lab) -> None:
    port = int(lab.addresses.replicas[0].rsplit(":", 1)[1])
    second = ModelServer(replace(SETTINGS, port=port), lambda: 0.0)
    with pytest.raises(PortTaken, match=str(port)):
        await second.start()


def model(*arguments: str) -> subprocess.Popen[str]:
    """The command in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "router.cli.main", "model", "--region", "us-central1", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )


def ready(process: subprocess.Popen[str]) -> dict:
    line = process.stdout.readline()
    assert line.startswith("ready "), process.stderr.read()
    return json.loads(line.removeprefix("ready "))


def test_the_command_dies_on_request_returns_on_its_ports_and_ends_at_a_signal() -> None:
    with model() as first:
        urls = ready(first)
        assert len(urls["replicas"]) == 2
        assert httpx.post(f"{urls['control']}/faults", json={"die": True}).status_code == 200
        assert first.wait(WAIT_S) == 1
    ports = [url.rsplit(":", 1)[1] for url in (urls["endpoint"], urls["control"], *urls["replicas"])]
    options = ["--port", ports[0], "--control-port", ports[1], "--replica-port", ports[2], "--replica-port", ports[3]]
    with model(*options) as second:
        assert ready(second) == urls
        assert httpx.get(f"{urls['endpoint']}/health").status_code == 200
        with model(*options) as third:
            assert third.wait(WAIT_S) == 1
            complaint = third.stderr.read()
            assert f"cannot listen on 127.0.0.1:{ports[0]}" in complaint
            assert complaint.count("\n") == 1
        second.send_signal(signal.SIGTERM)
        assert second.wait(WAIT_S) == 0
        assert second.stdout.read() == ""
