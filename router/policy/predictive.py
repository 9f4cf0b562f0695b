"""Where a call is served soonest, with tokens that keep coming: predicted seconds, candidate by candidate. Pure.

    cost = round trip + predicted seconds to the first token
         + CONCERN x answer tokens x what a token there takes beyond a comfortable time

The second term is what keeps a fleet out of trouble. A replica that takes in one prompt more slows down every answer
that it is writing, so a pool whose tokens have become slow is passed over long before its slots are full. Below the
comfortable time it does not count at all: nobody reads that fast, and distance decides.

Refused: time to first token alone (it fills the nearest cluster until its tokens crawl, since the first token suffers
last); the whole time until the last token (it sends calls over oceans for milliseconds per token that nobody notices).
"""

from collections.abc import Mapping
from random import Random
from typing import Final

import msgspec

from federation.view import FleetView, Placed
from router.call import Call
from router.decision import Decision, Place, Reason, Refuse
from router.policy.decide import CANDIDATES_MAX, FREE_SLOTS_MIN, decide, least_saturated
from router.policy.latency import work_ktokens
from router.policy.ledger import Ledger

SCORED_MAX: Final = 8  # The nearest with room: whatever is farther is not soonest.
CONCERN: Final = 0.3  # A second lost on the way counts so much of one lost before the first token.
AS_GOOD_S: Final = 0.01  # Closer than that, or than this share, nearer is better: predictions are not that sharp.
AS_GOOD_SHARE: Final = 0.1


Found = tuple[float, float, str, Placed]  # Cost in seconds, round trip in ms, cluster, candidate: in order of choice.


class Ask(msgspec.Struct, frozen=True, gc=False):
    """What a call asks for, in tokens."""

    prompt_tokens: float
    answer_tokens: float
    cached_tokens: Mapping[str, float] = {}  # Of the prompt's beginning, by cluster, as far as this door knows.
    work: float = 0.0  # latency.work_ktokens of the whole prompt.

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "work", work_ktokens(self.prompt_tokens, 0.0))


def place(call: Call, ask: Ask, fleet: FleetView, ledger: Ledger, rng: Random) -> Decision:
    """Where to try the call, in which order. `rng` is drawn from only for clusters that start slowly."""
    view = fleet.models.get(call.model)
    if view is None:
        return Refuse(known=False, generation=fleet.generation)
    own, regions, clusters, needs = ledger.in_flight, call.regions, call.clusters, call.needs
    found: list[Found] = []
    full: list[Placed] = []
    nearest: Placed | None = None
    for placed in view.nearest_first(call.origin, fleet):
        pool = placed.pool
        if pool.drop is not None or (regions is not None and pool.region not in regions):
            continue
        if clusters is not None and pool.cluster not in clusters:
            continue
        if needs is not None and not needs <= pool.features:
            continue
        if nearest is None:
            nearest = placed
        if pool.free_of_others - own.get(pool.key, 0) >= FREE_SLOTS_MIN and (
            pool.share >= 1.0 or rng.random() < pool.share
        ):
            found.append((cost_s(placed, ask, ledger, fleet.at), placed.rtt_ms, pool.cluster, placed))
            if len(found) == SCORED_MAX:
                break
        else:
            full.append(placed)
    if not found or nearest is None:
        return decide(call, fleet, own, rng)
    order = ranked(found)
    if len(order) < CANDIDATES_MAX and full:
        order += least_saturated(full, own)
    reason = Reason.NEAREST if order[0].rtt_ms <= nearest.rtt_ms else Reason.OVERFLOW
    if reason is Reason.OVERFLOW and ask.cached_tokens.get(order[0].pool.cluster, 0.0) > 0.0:
        reason = Reason.AFFINITY
    return Place(tuple(order[:CANDIDATES_MAX]), reason, fleet.generation)


def cost_s(placed: Placed, ask: Ask, ledger: Ledger, now: float) -> float:
    """The seconds that count against a candidate."""
    pool = placed.pool
    prospect = ledger.prospect(pool, now)
    cached = ask.cached_tokens
    work = ask.work if not cached else work_ktokens(ask.prompt_tokens, cached.get(pool.cluster, 0.0))
    return (
        placed.rtt_ms * 0.001
        + prospect.fixed_s
        + prospect.prefill_s * work
        + prospect.ahead_s * ledger.ahead.get(pool.key, 0.0)
        + CONCERN * ask.answer_tokens * prospect.slow_s
    )


def ranked(found: list[Found]) -> list[Placed]:
    """By cost; but whoever is nearer and as good as the best goes first. Sorts `found`."""
    found.sort()
    best = found[0][0]
    as_good = best + max(AS_GOOD_S, AS_GOOD_SHARE * best)
    first = 0
    for place, (cost, rtt_ms, _, _) in enumerate(found):
        if cost > as_good:
            break
        if rtt_ms < found[first][1]:
            first = place
    order = [one[3] for one in found]
    if first:
        order.insert(0, order.pop(first))
    return order
