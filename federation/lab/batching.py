"""One replica of a model: continuous batching with a stated latency model.

Pure: no clock, no I/O, no randomness; every time is a float of seconds that the caller hands in, on whatever clock
it likes. The emulated model server and the simulator run this same class. Owns the word *step*: one pass of the
model, in which every decoding sequence gets one token and a share of which computes prompts.

The rules are those of vLLM's scheduler. Sequences wait first in, first out. At a step's start those that decode take
one token each of the step's budget, prompts share the rest in chunks, and the head of the queue joins when a slot,
budget and KV room are there. A prompt's last chunk yields the first token. When the KV cache is full the youngest
sequence gives up its room, returns to the head of the queue and is computed again. The step's time is the formula
of `ReplicaSpec`.

It is fast because steps are counted, not executed: see `stretch`. A token count is "steps so far minus an offset",
and a thousand steps of a hundred sequences cost one comparison. Refused: executing every step (simple, but hundreds
of times slower in a simulator), and a fluid model without steps (fast, but its tokens would fall between the
emulator's, and the two could not be compared).
"""

import heapq
import math
from collections import deque
from collections.abc import Hashable
from collections.abc import Sequence as Blocks

from federation.lab.kv_cache import KvCache
from federation.lab.replica_spec import ReplicaSpec
from federation.lab.sequence import Kind, Progress, Sequence, Stage
from federation.lab.stretch import Stretch

__all__ = ["Kind", "Progress", "Replica", "ReplicaSpec", "Sequence", "Stage"]


class Replica:
    """Call `advance(now)` before any other verb with the same `now`. A sequence that is ready at the very instant
    of a step's start, after `advance` has begun that step, joins the next one."""

    __slots__ = (
        "_blocked", "_chunks", "_context", "_decoding", "_finishing", "_kv", "_leaving", "_now", "_order",
        "_prefilling", "_running", "_slow", "_stretch", "_waiting", "busy_s", "first_tokens", "generation_tokens",
        "inter_token_s", "preemptions", "prefix_hit_tokens", "prefix_query_tokens", "prompt_tokens", "spec",
        "steps",
    )  # fmt: skip

    def __init__(self, spec: ReplicaSpec) -> None:
        self.spec = spec
        self._kv = KvCache(spec.kv_capacity_tokens, spec.block_tokens)
        self._stretch = Stretch()
        self._waiting: deque[Sequence] = deque()
        self._running: dict[Sequence, None] = {}  # in order of admission
        self._prefilling: list[Sequence] = []  # in order of admission
        self._leaving: list[Sequence] = []
        self._finishing: list[tuple[int, int, Sequence]] = []  # heap of (step that ends it, order, sequence)
        self._order = 0
        self._decoding = 0
        self._context = 0  # tokens of the decoding sequences
        self._chunks: list[tuple[Sequence, int]] = []  # the prompts' shares of the present step
        self._blocked = False  # the head of the queue was tried and found no KV room
        self._slow = 1.0
        self._now = -math.inf
        # Totals since the beginning.
        self.steps = 0
        self.prompt_tokens = 0
        self.generation_tokens = 0
        self.first_tokens = 0  # Among them: of answers that were computed anew as well.
        self.busy_s = 0.0  # In which a step ran.
        self.inter_token_s = 0.0  # From token to token, summed over all tokens but the first of each answer.
        self.prefix_query_tokens = 0
        self.prefix_hit_tokens = 0
        self.preemptions = 0

    # What it looks like from outside.

    @property
    def running(self) -> int:
        return len(self._running) - len(self._leaving)

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def outstanding(self) -> int:
        return len(self._running) - len(self._leaving) + len(self._waiting)

    @property
    def decoding(self) -> int:
        """Sequences that get a token at the end of the present step, those that leave included."""
        return self._decoding

    @property
    def context_tokens(self) -> int:
        """Of the sequences that decode: prompts, and answers so far."""
        return self._context

    @property
    def pending(self) -> tuple[int, float]:
        """Prompt tokens not yet computed, of all that wait or are being computed, and the seconds they will take."""
        tokens, seconds = 0, 0.0
        for sequence in (*self._prefilling, *self._waiting):
            missing = sequence.target_tokens - sequence.computed_tokens
            tokens += missing
            seconds += self.spec.chunk_s(missing, sequence.computed_tokens)
        return tokens, seconds

    def cached_tokens(self, blocks: Blocks[Hashable], prompt_tokens: int) -> int:
        """Of a prompt that came now, those that need not be computed."""
        block_tokens = self.spec.block_tokens
        return self._kv.leading_hits(blocks, (prompt_tokens - 1) // block_tokens)[0] * block_tokens

    @property
    def last_step_at(self) -> float:
        """When the last completed step ended, or the present one began after idleness; -inf before the first."""
        stretch = self._stretch
        return stretch.time_of(stretch.done) if stretch.planned else stretch.end

    @property
    def kv_used_ratio(self) -> float:
        return self._kv.used_ratio

    @property
    def kv_held_tokens(self) -> int:
        """Tokens in memory, those kept only for reuse included; never more than the capacity."""
        return self._kv.held_tokens

    def generated(self, sequence: Sequence) -> int:
        """Tokens of the answer so far."""
        if sequence.stage is Stage.DECODE:
            return self.steps - sequence.offset_steps
        return sequence.before_tokens

    def next_event_at(self) -> float | None:
        """When `advance` next has more to do than counting tokens; None: not before an arrival."""
        if self._stretch.planned:
            return self._stretch.end
        return self._waiting[0].ready_at if self._waiting else None

    def next_step_at(self) -> float | None:
        """When the present step ends (or, idle, the next one begins); None: not before an arrival."""
        stretch = self._stretch
        if stretch.planned:
            return stretch.end if stretch.planned - stretch.done == 1 else stretch.time_of(stretch.done + 1)
        return self._waiting[0].ready_at if self._waiting else None

    # What the caller does to it.

    def submit(self, sequence: Sequence, now: float) -> None:
        """Queues a new sequence. ValueError if prompt and answer exceed max_model_tokens, or time goes back."""
        if sequence.prompt_tokens + sequence.output_tokens > self.spec.max_model_tokens:
            raise ValueError(f"prompt and answer exceed {self.spec.max_model_tokens} tokens")
        if now < self._now:
            raise ValueError(f"time went back from {self._now} to {now}")
        sequence.stage = Stage.WAITING
        sequence.arrived_at = now
        sequence.ready_at = now + self.spec.accept_s
        self._waiting.append(sequence)
        if len(self._waiting) == 1 and len(self._running) < self.spec.max_running:
            self._stretch.break_at(sequence.ready_at)

    def cancel(self, sequence: Sequence, now: float) -> None:
        """Ends a sequence early; nothing happens when it is over already. The step that runs keeps its length."""
        if sequence.stage is Stage.WAITING:
            was_head = self._waiting[0] is sequence
            self._waiting.remove(sequence)
            sequence.stage = Stage.DONE
            if was_head:
                self._blocked = False
                if self._waiting:
                    self._stretch.break_at(max(now, self._waiting[0].ready_at))
        elif sequence.stage is Stage.PREFILL or sequence.stage is Stage.DECODE:
            sequence.before_tokens = self.generated(sequence)
            sequence.finish_step = -1
            sequence.stage = Stage.LEAVING
            self._leaving.append(sequence)
            self._stretch.break_at(now)

    def slow_down(self, factor: float, now: float) -> None:
        """From the next step on, steps take `factor` times as long (1.0: as specified)."""
        if not 0.0 < factor < math.inf:
            raise ValueError("factor must be positive and finite")
        self._slow = factor
        self._stretch.break_at(now)

    def advance(self, now: float) -> list[Progress]:
        """Completes every step that ends at or before `now`; what came of it, in order of time."""
        if now < self._now:
            raise ValueError(f"time went back from {self._now} to {now}")
        self._now = now
        progress: list[Progress] = []
        stretch = self._stretch
        while True:
            if not stretch.planned:
                if not self._waiting or self._waiting[0].ready_at > now:
                    break
                self._begin(max(self._waiting[0].ready_at, stretch.end))
            elif stretch.end <= now:
                self._complete_stretch(progress)
                self._begin(stretch.end)
            else:
                if stretch.planned - stretch.done > 1:
                    self._count(stretch.steps_by(now) - stretch.done)
                break
        return progress

    # The end of a stretch.

    def _count(self, steps: int) -> None:
        """Takes note of `steps` more steps, in which every decoding sequence got a token."""
        if steps <= 0:
            return
        stretch = self._stretch
        before = stretch.time_of(stretch.done)
        stretch.done += steps
        self.steps += steps
        took_s = stretch.time_of(stretch.done) - before
        self.busy_s += took_s
        tokens = steps * self._decoding
        if tokens:
            self.inter_token_s += took_s * self._decoding
            self._context += tokens
            self._kv.take(tokens)
            self.generation_tokens += tokens

    def _complete_stretch(self, progress: list[Progress]) -> None:
        at = self._stretch.end
        self._count(self._stretch.planned - self._stretch.done)
        for sequence in self._leaving:
            self._release(sequence, self._withdraw(sequence))
        self._leaving.clear()
        if self._chunks:
            for sequence, tokens in self._chunks:
                if sequence.stage is Stage.PREFILL:
                    sequence.computed_tokens += tokens
                    if sequence.computed_tokens == sequence.target_tokens:
                        self._complete_prefill(sequence, at, progress)
            self._chunks.clear()
            self._prefilling = [sequence for sequence in self._prefilling if sequence.stage is Stage.PREFILL]
        finishing = self._finishing
        while finishing and finishing[0][0] <= self.steps:
            finish_step, _, sequence = heapq.heappop(finishing)
            if sequence.finish_step == finish_step:  # else it was cancelled or preempted since
                self._finish(sequence, at, progress)

    def _complete_prefill(self, sequence: Sequence, at: float, progress: list[Progress]) -> None:
        full_blocks = min(len(sequence.blocks), sequence.prompt_tokens // self.spec.block_tokens)
        if full_blocks > sequence.pinned_blocks:
            self._kv.publish(sequence.blocks, sequence.pinned_blocks, full_blocks)
            sequence.pinned_blocks = full_blocks
            self._blocked = False  # the head of the queue may share these
        if not sequence.before_tokens:
            self.prompt_tokens += sequence.prompt_tokens
        sequence.stage = Stage.DECODE
        sequence.offset_steps = self.steps - sequence.before_tokens
        self._decoding += 1
        self._context += sequence.target_tokens
        if not sequence.output_tokens:
            self._finish(sequence, at, progress)
            return
        sequence.offset_steps -= 1
        self._context += 1
        self._kv.take(1)
        self.generation_tokens += 1
        self.first_tokens += 1
        sequence.finish_step = sequence.offset_steps + sequence.output_tokens
        self._order += 1
        heapq.heappush(self._finishing, (sequence.finish_step, self._order, sequence))
        if sequence.first_token_at < 0.0:
            sequence.first_token_at = at
            progress.append(Progress(at, Kind.FIRST_TOKEN, sequence))

    def _finish(self, sequence: Sequence, at: float, progress: list[Progress]) -> None:
        tokens = self._withdraw(sequence)
        sequence.before_tokens = sequence.output_tokens
        self._release(sequence, tokens)
        sequence.finished_at = at
        progress.append(Progress(at, Kind.FINISHED, sequence))

    def _withdraw(self, sequence: Sequence) -> int:
        """Takes a sequence out of the sums over the decoding ones, if it is among them; the tokens that it holds."""
        if sequence.computed_tokens < sequence.target_tokens:
            return sequence.target_tokens
        tokens = sequence.prompt_tokens + self.steps - sequence.offset_steps
        self._decoding -= 1
        self._context -= tokens
        return tokens

    def _release(self, sequence: Sequence, tokens: int) -> None:
        """Frees the slot and the KV room of a running sequence that holds `tokens`."""
        del self._running[sequence]
        self._kv.give_back(tokens - sequence.pinned_blocks * self.spec.block_tokens)
        self._kv.unpin(sequence.blocks, sequence.pinned_blocks)
        sequence.pinned_blocks = 0
        sequence.finish_step = -1
        sequence.stage = Stage.DONE
        self._blocked = False

    # The beginning of a stretch.

    def _begin(self, at: float) -> None:
        """Composes the step that starts at `at`, and plans as many like it as nothing changes in."""
        while self._kv.free_tokens < len(self._running):
            self._preempt_youngest()
        chunks_s = self._fill_step(at)
        if not self._running:
            self._stretch.idle(at)
            return
        spec, decoding = self.spec, self._decoding
        # The room is shared evenly, for every sequence grows by one token a step.
        steps = 1 if self._chunks else min(self._next_finish_step() - self.steps, self._kv.free_tokens // decoding)
        self._stretch.plan(
            at,
            steps,
            fixed_s=spec.step_s + spec.sequence_s * len(self._running) + chunks_s,
            compute_s=spec.decode_s * decoding,
            read_s=spec.weights_s + spec.kv_read_s * self._context,
            slope_s=spec.kv_read_s * decoding,
            slow=self._slow,
        )
        if self._waiting and not self._blocked and len(self._running) < spec.max_running:
            self._stretch.break_at(self._waiting[0].ready_at)

    def _fill_step(self, at: float) -> float:
        """Shares the step's budget among prompts, admitting from the queue; the seconds that their chunks take."""
        budget = self.spec.max_batched_tokens - self._decoding
        chunks_s = 0.0
        for sequence in self._prefilling:
            if not budget:
                return chunks_s
            tokens = min(budget, sequence.target_tokens - sequence.computed_tokens)
            budget -= tokens
            self._chunks.append((sequence, tokens))
            chunks_s += self.spec.chunk_s(tokens, sequence.computed_tokens)
        while budget and self._waiting and not self._blocked and len(self._running) < self.spec.max_running:
            sequence = self._waiting[0]
            if sequence.ready_at > at:
                break
            if not self._admit(sequence):
                self._blocked = True
                break
            tokens = min(budget, sequence.target_tokens - sequence.computed_tokens)
            budget -= tokens
            self._chunks.append((sequence, tokens))
            chunks_s += self.spec.chunk_s(tokens, sequence.computed_tokens)
        return chunks_s

    def _admit(self, sequence: Sequence) -> bool:
        """Moves the head of the queue into the batch, if its KV fits beside one more token of each that runs."""
        block_tokens = self.spec.block_tokens
        # The last token of a prompt is always computed: it yields the first token of the answer.
        hits, idle_hits = self._kv.leading_hits(sequence.blocks, (sequence.prompt_tokens - 1) // block_tokens)
        cached = hits * block_tokens
        private = sequence.target_tokens - cached
        if self._kv.free_tokens - idle_hits * block_tokens < private + 1 + len(self._running):
            return False
        self._waiting.popleft()
        self._kv.pin(sequence.blocks, hits)
        self._kv.take(private)
        self._running[sequence] = None
        self._prefilling.append(sequence)
        sequence.stage = Stage.PREFILL
        sequence.pinned_blocks = hits
        sequence.computed_tokens = cached
        if not sequence.before_tokens:
            sequence.cached_tokens = cached
        self.prefix_query_tokens += sequence.prompt_tokens
        self.prefix_hit_tokens += cached
        return True

    def _preempt_youngest(self) -> None:
        sequence = next(reversed(self._running))
        if sequence.stage is Stage.DECODE:
            sequence.before_tokens = self.steps - sequence.offset_steps
        else:
            self._prefilling.remove(sequence)
        self._release(sequence, self._withdraw(sequence))
        sequence.target_tokens = sequence.prompt_tokens + sequence.before_tokens
        sequence.computed_tokens = 0
        sequence.stage = Stage.WAITING
        self._waiting.appendleft(sequence)
        self.preemptions += 1

    def _next_finish_step(self) -> int:
        finishing = self._finishing
        while finishing[0][2].finish_step != finishing[0][0]:
            heapq.heappop(finishing)  # cancelled or preempted since
        return finishing[0][0]
