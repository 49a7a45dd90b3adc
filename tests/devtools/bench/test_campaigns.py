from devtools.bench.campaigns import Stop, balance, runs_between

_PAUSE = Stop(asked_at=99.5, answered_at=100, until=103)


def test_only_what_came_while_it_held_is_after_a_stop() -> None:
    """What came before the answer, or once it was to go on, is not held against it."""
    assert [0.25, 2] == _PAUSE.after_its_answer([99, 100, 100.25, 102, 103, 104])
    assert 0.5 == _PAUSE.answered_within


def test_between_the_stops_it_runs() -> None:
    """Up to the moment somebody asks, and again from the moment it is to go on."""
    cancel = Stop(asked_at=110, answered_at=110.2, until=113)

    assert [(90, 99.5), (103, 110)] == runs_between(90, [_PAUSE, cancel])


def test_who_got_nothing_and_what_was_too_much() -> None:
    """A message too many does not make up for one that is missing."""
    assert (0, 0) == balance(["ann", "ben"], ["ben", "ann"])
    assert (1, 2) == balance(["ann", "ben", "zoe"], ["ann", "ann", "zoe", "chidi"])
