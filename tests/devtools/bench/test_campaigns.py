from devtools.bench.campaigns import Stop, balance, runs_between

_PAUSE = Stop(asked_at=99.5, answered_at=100, until=103)


def test_only_posts_within_a_stop_count() -> None:
    """Those before the answer or after the resume do not."""
    assert [0.25, 2] == _PAUSE.after_its_answer([99, 100, 100.25, 102, 103, 104])
    assert 0.5 == _PAUSE.answered_within


def test_the_campaign_runs_between_the_stops() -> None:
    """Until the next update is sent, and again after the resume."""
    cancel = Stop(asked_at=110, answered_at=110.2, until=113)

    assert [(90, 99.5), (103, 110)] == runs_between(90, [_PAUSE, cancel])


def test_missing_and_repeated_messages_are_counted() -> None:
    """A message too many does not compensate for a missing one."""
    assert (0, 0) == balance(["ann", "ben"], ["ben", "ann"])
    assert (1, 2) == balance(["ann", "ben", "zoe"], ["ann", "ann", "zoe", "chidi"])
