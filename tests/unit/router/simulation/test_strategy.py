from router.simulation.baselines.ranking import Ranking
from router.simulation.strategy import Quiet
from tests.simulated import NEAR, busy


def test_quiet_strategy_needs_to_know_nothing_but_arrivals() -> None:
    assert {name for name in vars(Quiet) if not name.startswith("_")} == {"sending", "first_token", "ended", "ticked"}


def test_every_event_of_an_attempt_reaches_the_strategy() -> None:
    seen: dict[str, int] = {}

    class Notes(Ranking):
        def ranked(self, door, call, pools):
            return [pool for pool in pools if pool.cluster == NEAR]

        def sending(self, door, attempt):
            seen["sending"] = seen.get("sending", 0) + 1

        def first_token(self, door, attempt):
            seen["first_token"] = seen.get("first_token", 0) + 1

        def ended(self, door, attempt, served):
            seen[f"ended {served}"] = seen.get(f"ended {served}", 0) + 1

        def ticked(self, door):
            seen["ticked"] = seen.get("ticked", 0) + 1

    calls = len(busy(lambda world: Notes(), rate=5.0).run())
    assert seen["sending"] == seen["first_token"] == seen["ended True"] == calls
    assert seen["ticked"] > 400
