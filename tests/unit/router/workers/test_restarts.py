"""At once after a long life, ever later after short ones, and given up if none ever came up."""

from router.workers.restarts import PAUSE_S_MAX, STABLE_S, START_FAILURES_MAX, Restarts


def pauses(restarts: Restarts, deaths: int, lived_s: float, was_up: bool) -> list[float]:
    found = []
    for number in range(deaths):
        restarts.died(float(number), lived_s, was_up)
        found.append(round(restarts.not_before - number, 6))
    return found


def test_pause_doubles_up_to_its_bound() -> None:
    assert pauses(Restarts(), 9, 0.5, False) == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, PAUSE_S_MAX, PAUSE_S_MAX]


def test_one_that_served_for_a_while_is_replaced_at_once_and_forgives_the_others() -> None:
    restarts = Restarts()
    pauses(restarts, 3, 0.5, True)
    assert pauses(restarts, 1, STABLE_S, True) == [0.0]
    assert pauses(restarts, 1, 0.5, True) == [0.1]


def test_long_life_without_coming_up_is_no_merit() -> None:
    assert pauses(Restarts(), 2, 30.0, False) == [0.1, 0.2]


def test_hopeless_only_if_none_ever_came_up() -> None:
    restarts = Restarts()
    pauses(restarts, START_FAILURES_MAX - 1, 0.0, False)
    assert not restarts.hopeless
    pauses(restarts, 1, 0.0, False)
    assert restarts.hopeless
    restarts.came_up()
    assert not restarts.hopeless
