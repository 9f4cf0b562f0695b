"""Where a call goes: filter, score, pick, as pure functions over a view of the fleet.

First policy: the nearest eligible cluster with headroom; overflow in order of distance when
it lacks it; never one that is drained, out of bounds for the call, or without the model.
The simulator, the tests and the front door run this same code.
"""

from router.policy.decide import decide
from router.policy.explain import Explanation, explain

__all__ = ["Explanation", "decide", "explain"]
