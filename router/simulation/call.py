"""A call of the simulator and its attempts, from arrival to end. Pure: plain records that the others fill in."""

from enum import StrEnum
from typing import TYPE_CHECKING, Final

from federation.lab.sequence import Sequence
from router.call import Call, Priority
from router.decision import Reason

if TYPE_CHECKING:
    from router.simulation.cluster import SimulatedCluster
    from router.simulation.door import Door

NOT_YET: Final = -1.0


class End(StrEnum):
    """What became of a call."""

    SERVED = "served"
    REFUSED = "refused"  # Turned away before any attempt, by the front door.
    FAILED = "failed"  # All attempts failed, or its stream broke and could not be gone on with.
    OPEN = "open"  # Still under way when the simulation ended.


class SimulatedCall:
    """One call. Times are the simulation's seconds; NOT_YET where something has not happened."""

    __slots__ = (
        "at",
        "attempts",
        "blocks",
        "breaks",
        "cached_tokens",
        "cluster",
        "delivered_tokens",
        "end",
        "ended_at",
        "first_token_at",
        "lost",
        "model",
        "number",
        "origin",
        "output_tokens",
        "priority",
        "prompt_tokens",
        "reason",
        "routed",
        "session",
        "tenant",
    )

    def __init__(
        self,
        number: int,
        at: float,
        origin: str,
        model: str,
        prompt_tokens: int,
        output_tokens: int,
        blocks: tuple[int, ...] = (),
        session: str | None = None,
        tenant: str = "anonymous",
        priority: Priority = Priority.STANDARD,
    ) -> None:
        self.number = number
        self.at = at
        self.origin = origin  # The region that its client is in.
        self.model = model
        self.prompt_tokens = prompt_tokens
        self.output_tokens = output_tokens
        self.blocks = blocks  # Hashes of the prompt's leading 512-token blocks.
        self.session = session
        self.tenant = tenant
        self.priority = priority
        self.routed: Call | None = None  # As the policy sees it; made when it arrives.
        # What came of it.
        self.end = End.OPEN
        self.reason: Reason | None = None
        self.cluster = ""
        self.lost: tuple[str, ...] = ()  # Clusters where its stream broke, or had to be left.
        self.breaks = 0  # Of those, the first kind.
        self.attempts = 0
        self.delivered_tokens = 0  # That its client has, from attempts which broke.
        self.cached_tokens = 0
        self.first_token_at = NOT_YET
        self.ended_at = NOT_YET

    @property
    def ttft_s(self) -> float:
        """From its arrival at the front door to its first token there."""
        return self.first_token_at - self.at

    @property
    def tpot_s(self) -> float:
        """Seconds per further token; 0 for an answer of one."""
        further = self.output_tokens - 1
        return (self.ended_at - self.first_token_at) / further if further > 0 else 0.0


class Attempt:
    """One try of a call at one cluster, seen from both ends."""

    __slots__ = (
        "call",
        "cluster",
        "door",
        "is_over",
        "one_way_s",
        "order",
        "place",
        "reached_tokens",
        "replica",
        "sent_at",
        "sequence",
    )

    def __init__(
        self,
        call: SimulatedCall,
        door: "Door",
        cluster: "SimulatedCluster",
        one_way_s: float,
        order: tuple[str, ...],
        place: int,
        sent_at: float,
    ) -> None:
        self.call = call
        self.door = door
        self.cluster = cluster
        self.one_way_s = one_way_s
        self.order = order  # The decision that it belongs to: clusters, best first,
        self.place = place  # and which of them this is.
        self.sent_at = sent_at
        self.sequence: Sequence | None = None  # Once it has reached a replica.
        self.replica = 0
        self.reached_tokens = -1  # Tokens that got through before it was cut off from its door; -1: all do.
        self.is_over = False  # For the door: what still comes of it is of no interest.
