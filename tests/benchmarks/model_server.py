"""How much of a core the emulated model server takes, and how well it keeps to its own model.

    python -m tests.benchmarks.model_server [--streams 500] [--rate 20] [--seconds 20]

One server process with two replicas whose every decode step takes 1 / rate seconds carries the streams, each on a
connection of its own, read by this process. CPU is the server's own (user and system) between the last stream's
first token and the end, so that what else runs on the machine counts little; TPOT is a stream's last token minus its
first over their number, against the model's step. Takes about `seconds` + 5.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import uvloop

from federation.lab.model_server import ModelServer, ModelServerSettings
from federation.lab.presets import SMALL

TICKS_S = os.sysconf("SC_CLK_TCK")


class Stream(asyncio.Protocol):
    """One streamed completion; notes when each event came."""

    def __init__(self, request: bytes) -> None:
        self.request = request
        self.at: list[float] = []
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        self.at.extend([time.perf_counter()] * data.count(b'"logprobs"'))
        if b"[DONE]" in data and not self.over.done():
            self.over.set_result(None)
            self.transport.close()


async def serve(streams: int, rate: float) -> None:
    spec = replace(
        SMALL,
        max_running=streams // 2 + 1,
        max_batched_tokens=streams + 2_048,
        kv_capacity_tokens=streams * 4_096,
        weights_s=1 / rate - SMALL.step_s,
        kv_read_s=0.0,
        sequence_s=0.0,
        prefill_s=1e-6,
    )
    server = ModelServer(ModelServerSettings("us-central1", "bench", spec=spec), time.time)
    addresses = await server.start()
    print("ready", json.dumps({"endpoint": addresses.endpoint}), flush=True)
    await asyncio.Event().wait()


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_S


def share(values: list[float], quantile: float) -> float:
    return sorted(values)[min(len(values) - 1, int(quantile * len(values)))]


async def measure(url: str, pid: int, streams: int, rate: float, seconds: float) -> None:
    host, _, port = url.removeprefix("http://").partition(":")
    tokens = int(seconds * rate)
    body = json.dumps({"prompt": "x", "max_tokens": tokens, "ignore_eos": True, "stream": True}).encode()
    request = b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
    loop = asyncio.get_running_loop()
    made = []
    for _ in range(streams):
        made.append((await loop.create_connection(lambda: Stream(request), host, int(port)))[1])
    while not all(stream.at for stream in made):
        await asyncio.sleep(0.01)
    began, cpu_began = time.perf_counter(), cpu_s(pid)
    await asyncio.wait([stream.over for stream in made], return_when=asyncio.FIRST_COMPLETED)
    took_s, cpu = time.perf_counter() - began, cpu_s(pid) - cpu_began
    await asyncio.gather(*(stream.over for stream in made))
    tpots = [(stream.at[-1] - stream.at[0]) / (tokens - 1) for stream in made]
    gaps = [later - one for stream in made for one, later in zip(stream.at, stream.at[1:], strict=False)]
    events = sum(len(stream.at) for stream in made)
    print(f"{streams} streams x {rate:g} tokens/s for {took_s:.1f} s: {events} events for {streams * tokens} tokens")
    print(f"server CPU {100 * cpu / took_s:.1f} % of a core, {1e6 * cpu / took_s / streams / rate:.1f} us a token")
    for name, values in (("TPOT", tpots), ("gap between events", gaps)):
        p50, p99 = share(values, 0.5), share(values, 0.99)
        off = 100 * (p99 * rate - 1)
        print(f"{name}: model {1e3 / rate:.2f} ms, p50 {1e3 * p50:.2f}, p99 {1e3 * p99:.2f} ms ({off:+.1f} %)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--streams", type=int, default=500)
    parser.add_argument("--rate", type=float, default=20.0, help="tokens a second and stream")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.serve:
        uvloop.run(serve(chosen.streams, chosen.rate))
        return
    again = [sys.executable, "-m", "tests.benchmarks.model_server", "--serve"]
    again += ["--streams", str(chosen.streams), "--rate", str(chosen.rate)]
    with subprocess.Popen(again, stdout=subprocess.PIPE, text=True) as server:
        try:
            line = next(line for line in server.stdout if line.startswith("ready "))
            url = json.loads(line.removeprefix("ready "))["endpoint"]
            uvloop.run(measure(url, server.pid, chosen.streams, chosen.rate, chosen.seconds))
        finally:
            server.terminate()


if __name__ == "__main__":
    main()
