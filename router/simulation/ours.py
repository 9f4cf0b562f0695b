"""Our own policy at a simulated front door: the very code that decides in production."""

from router.decision import Place
from router.policy import decide
from router.simulation.call import SimulatedCall
from router.simulation.door import Door
from router.simulation.strategy import Quiet


class Tradewind(Quiet):
    """`decide`, as the front door calls it."""

    def arrived(self, door: Door, call: SimulatedCall) -> None:
        decision = decide(door.as_routed(call), door.view, door.own, door.rng)
        if isinstance(decision, Place):
            door.send(call, tuple([placed.pool.cluster for placed in decision.order]), decision.reason)
        else:
            door.refuse(call)
