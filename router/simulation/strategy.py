"""What decides at a simulated front door: our policy, or one that a user might have picked instead.

Wider than the interface of our own policy, which is a pure function of a view: the baselines keep state, hold calls
back, send probes and, if they are oracles, see the truth. One strategy serves one front door; whatever two of them
share goes through the simulated world.
"""

from typing import TYPE_CHECKING, Protocol

from router.simulation.call import Attempt, SimulatedCall

if TYPE_CHECKING:
    from router.simulation.door import Door


class Strategy(Protocol):
    """All verbs are called at the timeline's present instant, `door.now`."""

    def arrived(self, door: "Door", call: SimulatedCall) -> None:
        """A call wants a place, for the first time or after its stream broke: send it, refuse it, or keep it."""
        ...

    def sending(self, door: "Door", attempt: Attempt) -> None:
        """An attempt goes out: to the cluster that was chosen, or to the next after one failed."""
        ...

    def first_token(self, door: "Door", attempt: Attempt) -> None:
        """An attempt of this door got its first token."""
        ...

    def ended(self, door: "Door", attempt: Attempt, served: bool) -> None:
        """An attempt of this door is over, for better or worse."""
        ...

    def ticked(self, door: "Door") -> None:
        """The door has a new view of the fleet."""
        ...


class Quiet:
    """Takes no notice of anything but arrivals."""

    def sending(self, door: "Door", attempt: Attempt) -> None:
        pass

    def first_token(self, door: "Door", attempt: Attempt) -> None:
        pass

    def ended(self, door: "Door", attempt: Attempt, served: bool) -> None:
        pass

    def ticked(self, door: "Door") -> None:
        pass
