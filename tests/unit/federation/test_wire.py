"""What a sealed heartbeat withstands."""

import itertools
import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.model import Epoch, Heartbeat
from federation.wire import (
    ADAPTERS_MAX,
    CALLS_MAX,
    MESSAGE_BYTES_MAX,
    NAME_LENGTH_MAX,
    POOLS_MAX,
    VERSION,
    Rejected,
    Rejection,
    _signature,
    implausible,
    order_text,
    seal,
    unseal,
)
from tests.build import SECRET, accelerators, heartbeat, pool

KEYS = {"a": {"k1": SECRET}, "b": {"k1": b"another secret of b"}}

counts = st.integers(0, 10**6)
ratios = st.floats(0, 1)
epochs = st.builds(
    Epoch,
    lease_created_ms=st.integers(0, 10**15 - 1),
    lease_transitions=st.integers(0, 10**10 - 1),
    boot_ms=st.integers(0, 10**15 - 1),
)
seqs = st.integers(0, 10**15 - 1)
names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
pools = st.builds(
    pool,
    names,
    slots=counts,
    running=counts,
    waiting=counts,
    kv_cache_utilization_max=ratios,
    prefill_tokens_per_s=st.floats(0, 1e9),
    adapters=st.lists(names, max_size=2).map(tuple),
)
heartbeats = st.builds(
    heartbeat,
    seq=seqs,
    epoch=epochs,
    interval_ms=st.integers(50, 60_000),
    observed=st.booleans(),
    pools=st.lists(pools, max_size=3, unique_by=lambda one: one.model).map(tuple),
)


def sealed_payload(payload: bytes, order: bytes | None = None, key: bytes = b"k1") -> bytes:
    """A message with a good signature over whatever payload."""
    order = order_text(Epoch(boot_ms=1), 1) if order is None else order
    return b"%s %s %s %s\n%s" % (VERSION, order, key, _signature(order, key, payload, SECRET), payload)


def sealed_with(**fields: object) -> bytes:
    """A message whose JSON has these fields in place of the plausible ones."""
    return sealed_payload(json.dumps(json.loads(msgspec.json.encode(heartbeat())) | fields).encode())


def rejection(message: bytes, cluster: str = "a") -> Rejection:
    with pytest.raises(Rejected) as caught:
        unseal(message, cluster, KEYS)
    assert str(caught.value).startswith(caught.value.cause)
    assert caught.value.detail
    return caught.value.cause


@given(heartbeats)
def test_what_was_sealed_is_what_is_opened(said: Heartbeat) -> None:
    assert unseal(seal(said, "k1", SECRET), "a", KEYS) == said


@given(heartbeats, st.data())
def test_no_changed_byte_is_believed(said: Heartbeat, data: st.DataObject) -> None:
    message = bytearray(seal(said, "k1", SECRET))
    at = data.draw(st.integers(0, len(message) - 1))
    message[at] ^= data.draw(st.integers(1, 255))
    rejection(bytes(message))


def test_no_flipped_bit_of_a_message_is_believed() -> None:
    message = seal(heartbeat(pools=()), "k1", SECRET)
    for at, bit in itertools.product(range(len(message)), range(8)):
        changed = bytearray(message)
        changed[at] ^= 1 << bit
        rejection(bytes(changed))


def test_no_truncated_message_is_believed() -> None:
    message = seal(heartbeat(), "k1", SECRET)
    for length in range(len(message)):
        assert rejection(message[:length]) in (Rejection.MALFORMED, Rejection.BAD_SIGNATURE)


@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_rejected_and_never_raise_anything_else(message: bytes) -> None:
    rejection(message)


@given(st.binary(max_size=200))
def test_a_signed_payload_of_arbitrary_bytes_is_rejected(payload: bytes) -> None:
    assert rejection(sealed_payload(payload)) is Rejection.MALFORMED


def test_oversized_message_is_rejected_before_anything_is_read() -> None:
    assert rejection(b"x" * (MESSAGE_BYTES_MAX + 1)) is Rejection.OVERSIZED
    assert rejection(b"x" * MESSAGE_BYTES_MAX) is Rejection.MALFORMED


def test_unknown_version_is_malformed() -> None:
    assert rejection(seal(heartbeat(), "k1", SECRET).replace(b"tw1", b"tw2", 1)) is Rejection.MALFORMED


def test_cluster_without_a_configured_key_is_unknown() -> None:
    assert rejection(seal(heartbeat("z"), "k1", SECRET), "z") is Rejection.UNKNOWN_CLUSTER


def test_key_id_that_is_not_configured_is_unknown() -> None:
    assert rejection(seal(heartbeat(), "k2", SECRET)) is Rejection.UNKNOWN_KEY


def test_message_signed_with_another_clusters_key_is_not_believed() -> None:
    assert rejection(seal(heartbeat(), "k1", KEYS["b"]["k1"])) is Rejection.BAD_SIGNATURE


def test_message_under_another_clusters_name_is_not_believed() -> None:
    assert rejection(seal(heartbeat("a"), "k1", SECRET), "b") is Rejection.BAD_SIGNATURE
    assert rejection(seal(heartbeat("b"), "k1", SECRET), "a") is Rejection.WRONG_CLUSTER


def test_key_id_is_covered_by_the_signature() -> None:
    keys = {"a": {"k1": SECRET, "k2": SECRET}}
    message = seal(heartbeat(), "k1", SECRET).replace(b" k1 ", b" k2 ", 1)
    with pytest.raises(Rejected, match="bad_signature"):
        unseal(message, "a", keys)


def test_both_keys_are_taken_while_they_rotate() -> None:
    keys = {"a": {"old": SECRET, "new": b"the newer secret of a"}}
    assert unseal(seal(heartbeat(), "old", SECRET), "a", keys) == heartbeat()
    assert unseal(seal(heartbeat(), "new", keys["a"]["new"]), "a", keys) == heartbeat()


def test_key_id_outside_ascii_is_found() -> None:
    assert unseal(seal(heartbeat(), "schlüssel-1", SECRET), "a", {"a": {"schlüssel-1": SECRET}}) == heartbeat()


@pytest.mark.parametrize("key_id", ["", "two words", "line\nfeed", " k1"])
def test_key_id_is_one_word(key_id: str) -> None:
    with pytest.raises(AssertionError, match="one word"):
        seal(heartbeat(), key_id, SECRET)


def test_short_secret_is_not_used() -> None:
    with pytest.raises(AssertionError, match="too short"):
        seal(heartbeat(), "k1", b"short")


def test_unknown_fields_are_ignored_and_still_verify() -> None:
    said = json.loads(msgspec.json.encode(heartbeat()))
    said["power_draw_w"] = 700
    said["epoch"]["shard"] = 1
    said["pools"][0]["spec_decoding"] = {"accepted": 0.7}
    assert unseal(sealed_payload(json.dumps(said).encode()), "a", KEYS) == heartbeat()


def test_order_in_the_envelope_must_be_the_payloads() -> None:
    payload = msgspec.json.encode(heartbeat())
    assert rejection(sealed_payload(payload, order_text(Epoch(boot_ms=1), 2))) is Rejection.IMPLAUSIBLE


@pytest.mark.parametrize("word", [b"NaN", b"Infinity", b"-Infinity", b"1e999", b"null", b'"0.5"'])
def test_number_that_is_none_is_malformed(word: bytes) -> None:
    payload = msgspec.json.encode(heartbeat()).replace(b'"kv_cache_utilization_max":0.0', b"")
    payload = payload.replace(b'"slots":8', b'"slots":8,"kv_cache_utilization_max":' + word)
    assert rejection(sealed_payload(payload.replace(b",,", b","))) is Rejection.MALFORMED


@pytest.mark.parametrize("field", ["kv_cache_utilization_max", "prefill_tokens_per_s"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_agent_that_seals_no_number_is_not_believed(field: str, value: float) -> None:
    said = heartbeat(pools=(pool(**{field: value}),))
    assert implausible(said)
    rejection(seal(said, "k1", SECRET))


def test_signed_text_that_is_no_utf8_is_malformed() -> None:
    payload = msgspec.json.encode(heartbeat()).replace(b"region-a", b"region-\xff")
    assert rejection(sealed_payload(payload)) is Rejection.MALFORMED


def test_signed_payload_nested_beyond_reason_is_malformed() -> None:
    payload = msgspec.json.encode(heartbeat())[:-1] + b',"x":' + b"[" * 20_000 + b"]" * 20_000 + b"}"
    assert rejection(sealed_payload(payload)) is Rejection.MALFORMED


IMPLAUSIBLE = [
    pytest.param({"seq": -1}, id="seq negative"),
    pytest.param({"seq": 10**15}, id="seq too long for the order"),
    pytest.param({"epoch": Epoch(boot_ms=-1)}, id="boot negative"),
    pytest.param({"epoch": Epoch(lease_created_ms=10**15)}, id="lease created too late"),
    pytest.param({"epoch": Epoch(lease_transitions=10**10)}, id="too many transitions"),
    pytest.param({"epoch": Epoch(lease_transitions=-1)}, id="transitions negative"),
    pytest.param({"interval_ms": 49}, id="interval too short"),
    pytest.param({"interval_ms": 60_001}, id="interval too long"),
    pytest.param({"sent_unix_ms": -1}, id="sent before 1970"),
    pytest.param({"sent_unix_ms": 10**30}, id="sent at no date"),
    pytest.param({"observed_age_ms": -1}, id="age negative"),
    pytest.param({"observed_age_ms": 10**30}, id="age beyond all time"),
    pytest.param({"pools": (pool(), pool())}, id="model in two pools"),
    pytest.param({"pools": tuple(pool(f"m{n}") for n in range(POOLS_MAX + 1))}, id="too many pools"),
    pytest.param({"pools": (pool(""),)}, id="model without a name"),
    pytest.param({"pools": (pool("m" * (NAME_LENGTH_MAX + 1)),)}, id="model name too long"),
    pytest.param({"pools": (pool(slots=-1),)}, id="slots negative"),
    pytest.param({"pools": (pool(slots=CALLS_MAX + 1),)}, id="slots absurd"),
    pytest.param({"pools": (pool(running=-1),)}, id="running negative"),
    pytest.param({"pools": (pool(waiting=10**12),)}, id="waiting absurd"),
    pytest.param({"pools": (pool(replicas_ready=-1),)}, id="replicas negative"),
    pytest.param({"pools": (pool(replicas_desired=10**6),)}, id="replicas absurd"),
    pytest.param({"pools": (pool(kv_cache_utilization_mean=1.01),)}, id="ratio above one"),
    pytest.param({"pools": (pool(prefix_cache_hit_ratio=-0.01),)}, id="ratio below zero"),
    pytest.param({"pools": (pool(decode_tokens_per_s=-1.0),)}, id="rate negative"),
    pytest.param({"pools": (pool(prefill_tokens_per_s=1e12),)}, id="rate absurd"),
    pytest.param({"pools": (pool(adapters=("x",) * (ADAPTERS_MAX + 1)),)}, id="too many adapters"),
    pytest.param({"accelerators": (accelerators(type=""),)}, id="accelerator without a type"),
    pytest.param({"accelerators": (accelerators(total=-1),)}, id="devices negative"),
    pytest.param({"accelerators": (accelerators(obtainable=10**9),)}, id="devices absurd"),
    pytest.param({"accelerators": (accelerators(ready=9),)}, id="more ready than there are"),
    pytest.param({"accelerators": (accelerators(idle=9),)}, id="more idle than there are"),
    pytest.param({"accelerators": (accelerators(),) * 65}, id="too many types"),
]


@pytest.mark.parametrize("fields", IMPLAUSIBLE)
def test_what_no_honest_agent_says_is_implausible(fields: dict[str, object]) -> None:
    said = heartbeat(**fields)
    assert implausible(said)
    message = seal(said, "k1", SECRET)
    assert rejection(message) in (Rejection.IMPLAUSIBLE, Rejection.OVERSIZED)


@pytest.mark.parametrize("value", [1.5, "1", True, None, []])
def test_wrong_type_of_seq_is_malformed(value: object) -> None:
    assert rejection(sealed_with(seq=value)) is Rejection.MALFORMED


def test_plausible_accelerators_are_taken() -> None:
    said = heartbeat(accelerators=(accelerators(idle=3, allocated=5, obtainable=4),))
    assert implausible(said) is None
    assert unseal(seal(said, "k1", SECRET), "a", KEYS) == said


@given(epochs, seqs, epochs, seqs)
def test_order_text_orders_as_epoch_and_seq(epoch: Epoch, seq: int, other: Epoch, other_seq: int) -> None:
    assert (order_text(epoch, seq) < order_text(other, other_seq)) == ((epoch, seq) < (other, other_seq))
    assert len(order_text(epoch, seq)) == len(order_text(other, other_seq))


@given(st.data(), epochs, seqs)
def test_order_text_tells_neighbours_apart(data: st.DataObject, epoch: Epoch, seq: int) -> None:
    assert seq == 0 or order_text(epoch, seq - 1) < order_text(epoch, seq)
    boot_ms = data.draw(st.integers(0, epoch.boot_ms))
    before = msgspec.structs.replace(epoch, boot_ms=boot_ms)
    assert (order_text(before, 10**15 - 1) < order_text(epoch, 0)) == (boot_ms < epoch.boot_ms)
