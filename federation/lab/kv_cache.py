"""The KV cache of one model replica: how much room is left, and which prompt blocks can be used again.

Pure. Owns the words *block* (a fixed number of prompt tokens, named by a hash of everything up to its end), *pinned*
(a block that a running sequence reads), *idle* (a block that nobody reads now but that a later prompt may hit) and
*private* (tokens that belong to one sequence alone: the prompt's tail, the answer, a prompt not yet computed).

Room is counted in tokens, not in whole blocks: a real server rounds every sequence up to the next block, which
is 8 tokens a sequence on average with 16-token blocks and does not matter beside prompts of a thousand. Blocks of
an answer are not kept for reuse; a real server keeps them, so a second turn of a chat hits less here.
"""

from collections import OrderedDict
from collections.abc import Hashable, Sequence


class KvCache:
    """Invariant: private_tokens + (pinned + idle blocks) x block_tokens <= capacity_tokens."""

    __slots__ = ("_block_tokens", "_capacity_tokens", "_idle", "_pinned", "private_tokens")

    def __init__(self, capacity_tokens: int, block_tokens: int) -> None:
        self._capacity_tokens = capacity_tokens
        self._block_tokens = block_tokens
        self._pinned: dict[Hashable, int] = {}  # how many running sequences read the block
        self._idle: OrderedDict[Hashable, None] = OrderedDict()  # least recently used first
        self.private_tokens = 0

    @property
    def free_tokens(self) -> int:
        """Tokens that running sequences may still take; idle blocks count as free, for they give way."""
        return self._capacity_tokens - self.private_tokens - len(self._pinned) * self._block_tokens

    @property
    def used_ratio(self) -> float:
        """0..1, idle blocks not counted, as vLLM reports it."""
        return 1.0 - self.free_tokens / self._capacity_tokens

    @property
    def idle_blocks(self) -> int:
        return len(self._idle)

    @property
    def held_tokens(self) -> int:
        """All that occupies memory: private tokens, pinned blocks and idle ones."""
        return self.private_tokens + (len(self._pinned) + len(self._idle)) * self._block_tokens

    def leading_hits(self, blocks: Sequence[Hashable], at_most: int) -> tuple[int, int]:
        """How many leading blocks are here, and how many of those are idle now. Changes nothing."""
        hits = idle_hits = 0
        pinned, idle = self._pinned, self._idle
        for block in blocks:
            if hits == at_most:
                break
            if block not in pinned:
                if block not in idle:
                    break
                idle_hits += 1
            hits += 1
        return hits, idle_hits

    def pin(self, blocks: Sequence[Hashable], count: int) -> None:
        """Pins the first `count` blocks, which leading_hits has found here."""
        pinned, idle = self._pinned, self._idle
        for position in range(count):
            block = blocks[position]
            readers = pinned.get(block, 0)
            pinned[block] = readers + 1
            if not readers:
                del idle[block]

    def publish(self, blocks: Sequence[Hashable], first: int, end: int) -> None:
        """Makes private, now computed blocks first..end findable, pinned by their sequence."""
        pinned, idle = self._pinned, self._idle
        for position in range(first, end):
            block = blocks[position]
            readers = pinned.get(block, 0)
            if not readers:
                idle.pop(block, None)
            pinned[block] = readers + 1
        self.private_tokens -= (end - first) * self._block_tokens

    def unpin(self, blocks: Sequence[Hashable], count: int) -> None:
        """Gives back the first `count` blocks; the last one becomes the first to be evicted, for without the
        blocks before it a block is of no use."""
        pinned, idle = self._pinned, self._idle
        for position in range(count - 1, -1, -1):
            block = blocks[position]
            readers = pinned[block]
            if readers > 1:
                pinned[block] = readers - 1
            else:
                del pinned[block]
                idle[block] = None

    def take(self, tokens: int) -> None:
        """Private room for `tokens` more; idle blocks give way, the longest unused first."""
        self.private_tokens += tokens
        room = self.free_tokens // self._block_tokens
        idle = self._idle
        while len(idle) > room:
            idle.popitem(last=False)

    def give_back(self, tokens: int) -> None:
        self.private_tokens -= tokens
