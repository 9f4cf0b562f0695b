"""Room and reuse in the KV cache."""

from federation.lab.kv_cache import KvCache


def published(cache: KvCache, blocks: str) -> None:
    """As a sequence does that computes a prompt of these blocks and ends."""
    cache.take(10 * len(blocks))
    cache.publish(blocks, 0, len(blocks))
    cache.unpin(blocks, len(blocks))


def test_idle_blocks_count_as_free_and_are_found_again() -> None:
    cache = KvCache(100, 10)
    published(cache, "abc")
    assert cache.free_tokens == 100
    assert cache.held_tokens == 30
    assert cache.leading_hits("abx", 5) == (2, 2)
    assert cache.leading_hits("abc", 1) == (1, 1)
    assert cache.leading_hits("bc", 5) == (2, 2)
    assert cache.leading_hits("xbc", 5) == (0, 0)


def test_a_pinned_block_is_shared_and_stays() -> None:
    cache = KvCache(100, 10)
    published(cache, "ab")
    cache.pin("ab", 2)
    cache.pin("ab", 1)
    assert cache.free_tokens == 80
    cache.take(80)
    assert cache.leading_hits("ab", 2) == (2, 0)
    cache.unpin("ab", 2)
    assert cache.free_tokens == 10
    assert cache.idle_blocks == 1
    cache.unpin("ab", 1)
    assert cache.used_ratio == 0.8


def test_the_tail_of_the_longest_unused_prefix_gives_way_first() -> None:
    cache = KvCache(60, 10)
    published(cache, "abc")
    published(cache, "xyz")
    cache.take(10)
    assert cache.leading_hits("abc", 3) == (2, 2)
    cache.take(20)
    assert cache.leading_hits("abc", 3) == (0, 0)
    assert cache.leading_hits("xyz", 3) == (3, 3)
    cache.give_back(30)
    assert cache.free_tokens == 60


def test_a_block_that_two_sequences_computed_is_kept_once() -> None:
    cache = KvCache(100, 10)
    cache.take(40)
    cache.publish("ab", 0, 2)
    cache.publish("ab", 0, 2)
    assert cache.private_tokens == 0
    assert cache.held_tokens == 20
    published(cache, "q")
    cache.take(10)
    cache.publish("q", 0, 1)  # it was idle, and is read again
    assert cache.idle_blocks == 0
