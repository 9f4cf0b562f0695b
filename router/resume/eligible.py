"""Which requests can be gone on with elsewhere when their stream breaks. Pure.

Only where equal meaning can be had: a request all of whose fields are known to leave the rest
of a text a function of what came before it. Whatever is not known here is an obstacle; so a
new option of some server costs its streams the resume, and never their correctness.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

CHAT_PATH = "/v1/chat/completions"
COMPLETION_PATH = "/v1/completions"
PATHS = frozenset({CHAT_PATH, COMPLETION_PATH})

# What does not matter to the rest of the text, or matters to it alone.
_HARMLESS = frozenset(
    {
        "model", "messages", "prompt", "stream", "stream_options", "max_tokens", "max_completion_tokens",
        "temperature", "top_p", "top_k", "min_p", "typical_p", "logit_bias", "bad_words", "allowed_token_ids",
        "user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key", "cache_salt",
        "request_id", "priority", "ignore_eos", "parallel_tool_calls", "verbosity", "chat_template",
        "skip_special_tokens", "spaces_between_special_tokens", "add_special_tokens", "lora_path",
        "mm_processor_kwargs",
    }
)  # fmt: skip

# Harmless only with these values, by which a client says that it does not want it.
_HARMLESS_IF: Mapping[str, tuple[Any, ...]] = {
    "n": (1,),
    "best_of": (1,),
    "echo": (False,),
    "suffix": ("",),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "prompt_logprobs": (False,),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "repetition_penalty": (1,),
    "min_tokens": (0,),
    "tools": ([],),
    "tool_choice": ("none",),
    "functions": ([],),
    "function_call": ("none",),
    "response_format": ({"type": "text"},),
    "reasoning_effort": ("none",),
    "include_reasoning": (False,),
    "chat_template_kwargs": ({}, {"enable_thinking": False}, {"thinking": False}),
    "continue_final_message": (False,),
    "add_generation_prompt": (True,),
    "use_beam_search": (False,),
    "return_token_ids": (False,),
    "modalities": (["text"],),
}

UNKNOWN = "unknown field"  # Its name is the client's to choose, and no word for a metric's label.

Members = dict[str, msgspec.Raw]

_MEMBERS = msgspec.json.Decoder(Members)


class _Message(msgspec.Struct, gc=False):
    role: str


_ROLES = msgspec.json.Decoder(list[_Message])


def obstacle(path: str, body: bytes) -> str | None:
    """The field that keeps a request's stream from being gone on with; None: it can be. One of a few words."""
    if path not in PATHS:
        return "path"
    try:
        members = _MEMBERS.decode(body)
        for name, value in members.items():
            if name not in _HARMLESS and not _is_harmless(name, value, members):
                return name if name in _HARMLESS_IF or name == "seed" else UNKNOWN
        if path == CHAT_PATH:
            return _obstacle_in_messages(members)
        if "max_tokens" not in members:
            return "max_tokens"  # Servers differ in what they take for it, and would take it anew.
        prompt = members.get("prompt")
        return None if prompt is not None and bytes(prompt)[:1] == b'"' else "prompt"
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return "body"


def stops(body: bytes) -> bool:
    """Whether stop strings are given: then only a server that withholds their beginnings can be gone on from."""
    value = _MEMBERS.decode(body).get("stop")
    return value is not None and msgspec.json.decode(value) not in (None, "", [])


def _is_harmless(name: str, value: msgspec.Raw, members: Members) -> bool:
    said = msgspec.json.decode(value)
    if said is None or name == "stop":
        return True
    if name == "seed":
        # Sampling draws from where the text begins; greedy decoding draws nothing.
        temperature = members.get("temperature")
        return temperature is not None and msgspec.json.decode(temperature) == 0
    # False is not 0: `logprobs: 0` asks for those of the tokens that were chosen.
    return any(said == it and isinstance(said, bool) is isinstance(it, bool) for it in _HARMLESS_IF.get(name, ()))


def _obstacle_in_messages(members: Members) -> str | None:
    messages = members.get("messages")
    roles = _ROLES.decode(messages) if messages is not None else []
    # A client that itself has the assistant's message continued: where its part ends is not known.
    return None if roles and roles[-1].role != "assistant" else "messages"
