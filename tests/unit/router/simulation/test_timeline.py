from router.simulation.timeline import Timeline


def test_things_happen_in_order_of_time_and_then_as_they_were_asked_for() -> None:
    timeline, seen = Timeline(), []
    timeline.at(2.0, seen.append, "c")
    timeline.at(1.0, seen.append, "a")
    timeline.at(1.0, seen.append, "b")
    timeline.run(2.0)
    assert seen == ["a", "b", "c"]
    assert (timeline.now, timeline.happened) == (2.0, 3)


def test_what_is_asked_for_in_the_past_happens_now() -> None:
    timeline, seen = Timeline(), []
    timeline.run(5.0)
    timeline.at(1.0, lambda _: seen.append(timeline.now))
    timeline.run(6.0)
    assert seen == [5.0]


def test_what_is_later_waits() -> None:
    timeline, seen = Timeline(), []
    timeline.after(2.0, seen.append, "late")
    timeline.run(1.9)
    assert seen == []
    timeline.run(2.0)
    assert seen == ["late"]
