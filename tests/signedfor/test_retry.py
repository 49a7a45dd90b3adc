from datetime import timedelta

import pytest

from signedfor.contract.failures import RETRYABLE, TERMINAL, FailureClass
from signedfor.retry import (
    ATTEMPT_TIMED_OUT,
    CONNECT_TIMEOUT,
    LATEST_POST_START,
    MAX_QUICK_WAIT,
    PATIENT_SEND,
    QUICK_ATTEMPTS,
    QUICK_SEND,
    READ_TIMEOUT,
    SEND_BACKOFF,
    SEND_TIMEOUT,
    TERMINAL_ERROR_TYPES,
)
from signedfor.twilio.codes import delay_for, find

SECOND = timedelta(seconds=1)


@pytest.mark.parametrize("failure_class", FailureClass)
def test_each_class_is_retryable_or_declared_terminal(failure_class: FailureClass) -> None:
    """No class is left to chance: the policy retries it, or lists it as not to be retried."""
    declared = failure_class.value in TERMINAL_ERROR_TYPES

    assert declared == (failure_class not in RETRYABLE)


def test_the_policy_lists_the_classes_and_nothing_else() -> None:
    """What the policies do not retry are the terminal classes and an attempt that never ended."""
    expected = {each.value for each in TERMINAL} | {"TemporalTimeout:StartToClose"}

    assert "TemporalTimeout:StartToClose" == ATTEMPT_TIMED_OUT
    for policy in (QUICK_SEND, PATIENT_SEND):
        assert policy.non_retryable_error_types is not None
        assert expected == set(policy.non_retryable_error_types)
        assert len(expected) == len(policy.non_retryable_error_types)


def test_the_type_names_are_plain_strings() -> None:
    """Temporal compares the names as they are written, so they are no enum members."""
    assert {str} == {type(each) for each in TERMINAL_ERROR_TYPES} - {FailureClass}
    assert all(each == str(each) for each in TERMINAL_ERROR_TYPES)


def test_quick_and_patient_differ_in_attempts_only() -> None:
    """The first tries are few, the later ones as many as the budget allows."""
    assert QUICK_ATTEMPTS == QUICK_SEND.maximum_attempts
    assert 0 == PATIENT_SEND.maximum_attempts


def test_a_post_ends_within_its_attempt() -> None:
    """A POST that begins at the last moment allowed ends before Temporal gives the attempt up."""
    assert LATEST_POST_START + CONNECT_TIMEOUT + READ_TIMEOUT < SEND_TIMEOUT
    assert LATEST_POST_START > timedelta(0)


def test_the_quick_tries_are_quick() -> None:
    """Without a code that asks for more, no quick try is handed back for its wait."""
    waits = [SEND_BACKOFF.wait(number, draw=0.999) for number in range(1, QUICK_ATTEMPTS)]

    assert max(waits) < MAX_QUICK_WAIT
    assert sum(waits, timedelta(0)) < 5 * SECOND


@pytest.mark.parametrize(
    ("attempt", "nominal"),
    [(1, 0.5), (2, 1), (3, 2), (8, 64), (9, 120), (10, 120), (49, 120), (5000, 120)],
)
def test_backoff(attempt: int, nominal: float) -> None:
    """Waits double from half a second to two minutes, a fifth more or less, for any attempt."""
    waits = [SEND_BACKOFF.wait(attempt, draw=draw).total_seconds() for draw in (0, 0.5, 1)]

    assert pytest.approx([0.8 * nominal, nominal, 1.2 * nominal]) == waits


def test_jitter_is_drawn() -> None:
    """Waits after the same attempt differ."""
    assert len({SEND_BACKOFF.wait(5) for _ in range(50)}) > 1


@pytest.mark.parametrize("attempt", range(1, 12))
@pytest.mark.parametrize("least", [0, 0.5, 1.1, 8, 60, 64, 70, 119, 120, 121, 3600])
@pytest.mark.parametrize("draw", [0, 0.5, 0.999])
def test_a_minimum_is_kept(attempt: int, least: float, draw: float) -> None:
    """A wait is never shorter than what the code asks for, nor much longer."""
    at_least = timedelta(seconds=least)

    wait = SEND_BACKOFF.wait(attempt, at_least=at_least, draw=draw)

    plain = SEND_BACKOFF.wait(attempt, draw=1)
    assert at_least <= wait <= max(plain, at_least * 1.2) + timedelta(milliseconds=1)


def test_a_full_queue_waits_a_minute() -> None:
    """21611 says that the sender's queue is full: a minute and up, which is never quick."""
    row = find(21611)

    assert row is not None
    assert FailureClass.TEMPORARILY_UNAVAILABLE is row.failure_class
    assert SEND_BACKOFF.wait(1, at_least=timedelta(seconds=delay_for(21611))) >= 60 * SECOND
