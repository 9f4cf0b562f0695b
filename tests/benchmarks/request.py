"""Requests as the official OpenAI client sends them from behind a load balancer, each with heads and length of its own.

Nobody who remembers heads or bodies gains by it: trace headers, request id and length differ from call to call, and
the bodies are drawn from sixteen.
"""

import json
from random import Random

from tests.benchmarks.answer import MODEL

BODIES = 16
CHAT_PATH = "/v1/chat/completions"
EVENTS_MAX = 1_000_000  # A stream that is to last longer than anyone looks.
_WORDS = (
    "the of and to in harbour is that for it was on as with his they at be this from have or by one had not but what "
    'all were when we there can an your which "quoted" their said if do will each about how up out them naïve'
)
_ODD = 0x9E3779B97F4A7C15F39CC0605CEDC835  # Spreads a counter over 128 bits.


def prompt(size_bytes: int, rng: Random) -> str:
    """Text of about so many bytes."""
    known = _WORDS.split()
    words: list[str] = []
    held = 0
    while held < size_bytes:
        word = rng.choice(known)
        words.append(word)
        held += len(word) + 1
    return "\n".join(" ".join(words[at : at + 40]) for at in range(0, len(words), 40))


def chat_body(text: str, stream: bool, max_tokens: int) -> bytes:
    """Compact, and not escaped beyond need: as the client's own encoder writes it."""
    call = {
        "messages": [{"role": "system", "content": "You answer briefly."}, {"role": "user", "content": text}],
        "model": MODEL,
        "max_tokens": max_tokens,
        "temperature": 0.7,
        "stream": stream,
    }
    return json.dumps(call, separators=(",", ":"), ensure_ascii=False).encode()


class Requests:
    """Makes them, one after another."""

    def __init__(
        self, port: int, key: str, prompt_bytes: int, stream: bool, max_tokens: int = 120, seed: int = 1
    ) -> None:
        rng = Random(seed)
        # Lengths spread by a tenth around what was asked for.
        sizes = [int(prompt_bytes * (0.95 + 0.1 * number / BODIES)) for number in range(BODIES)]
        self._bodies = [chat_body(prompt(size, rng), stream, max_tokens) for size in sizes]
        self._made = rng.getrandbits(64)
        self._head = (
            f"POST {CHAT_PATH} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\naccept-encoding: gzip, deflate\r\n"
            "connection: keep-alive\r\naccept: application/json\r\ncontent-type: application/json\r\n"
            "user-agent: OpenAI/Python 3.57.0\r\nx-stainless-lang: python\r\nx-stainless-package-version: 3.57.0\r\n"
            "x-stainless-os: Linux\r\nx-stainless-arch: x64\r\nx-stainless-runtime: CPython\r\n"
            "x-stainless-runtime-version: 3.11.7\r\nx-stainless-async: false\r\nx-stainless-retry-count: 0\r\n"
            f"x-stainless-read-timeout: 600\r\nauthorization: Bearer {key}\r\nvia: 1.1 google\r\n"
            "x-forwarded-proto: https\r\nx-client-region: us-central1\r\n"
        ).encode()

    def next(self) -> tuple[bytes, bytes]:
        """Head and body of one more."""
        self._made += 1
        body = self._bodies[self._made % BODIES]
        trace = b"%032x" % ((self._made * _ODD) & (1 << 128) - 1)
        head = (
            b"%bx-forwarded-for: 203.0.113.%d, 35.191.0.1\r\ntraceparent: 00-%b-%b-01\r\n"
            b"x-cloud-trace-context: %b/%d;o=1\r\nx-request-id: %b\r\ncontent-length: %d\r\n\r\n"
            % (self._head, self._made & 255, trace, trace[8:24], trace, self._made, trace[4:28], len(body))
        )
        return head, body
