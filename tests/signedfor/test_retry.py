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


def test_the_policies_do_not_retry_terminal_classes_and_timeouts() -> None:
    """They list nothing else."""
    expected = {each.value for each in TERMINAL} | {"TemporalTimeout:StartToClose"}

    assert "TemporalTimeout:StartToClose" == ATTEMPT_TIMED_OUT
    assert expected == set(TERMINAL_ERROR_TYPES)
    assert set() == expected & {each.value for each in RETRYABLE}
    for policy in (QUICK_SEND, PATIENT_SEND):
        assert policy.non_retryable_error_types is not None
        assert expected == set(policy.non_retryable_error_types)
        assert len(expected) == len(policy.non_retryable_error_types)


def test_non_retryable_error_types_compare_equal_to_strings() -> None:
    """Temporal compares type names as strings."""
    assert {str} == {type(each) for each in TERMINAL_ERROR_TYPES} - {FailureClass}
    assert all(each == str(each) for each in TERMINAL_ERROR_TYPES)


def test_only_the_quick_policy_limits_the_attempts() -> None:
    """Later attempts are limited by the retry budget."""
    assert QUICK_ATTEMPTS == QUICK_SEND.maximum_attempts
    assert 0 == PATIENT_SEND.maximum_attempts


def test_a_post_ends_within_its_attempt() -> None:
    """A POST that starts at the latest allowed time ends before Temporal's timeout."""
    assert LATEST_POST_START + CONNECT_TIMEOUT + READ_TIMEOUT < SEND_TIMEOUT
    assert LATEST_POST_START > timedelta(0)


def test_quick_attempts_are_quick() -> None:
    """Unless a code requires more, no wait between them is left to the workflow."""
    waits = [SEND_BACKOFF.wait(number, draw=0.999) for number in range(1, QUICK_ATTEMPTS)]

    assert max(waits) < MAX_QUICK_WAIT
    assert sum(waits, timedelta(0)) < 2 * SECOND, "a workflow task waits so long"


@pytest.mark.parametrize(
    ("attempt", "nominal"),
    [(1, 0.5), (2, 1), (3, 2), (8, 64), (9, 120), (10, 120), (49, 120), (5000, 120)],
)
def test_waits_double_up_to_two_minutes(attempt: int, nominal: float) -> None:
    """They start at half a second, with 20 % jitter."""
    waits = [SEND_BACKOFF.wait(attempt, draw=draw).total_seconds() for draw in (0, 0.5, 1)]

    assert pytest.approx([0.8 * nominal, nominal, 1.2 * nominal]) == waits


def test_waits_have_random_jitter() -> None:
    """Waits after the same attempt differ."""
    assert len({SEND_BACKOFF.wait(5) for _ in range(50)}) > 1


@pytest.mark.parametrize("attempt", range(1, 12))
@pytest.mark.parametrize("minimum", [0, 0.5, 1.1, 8, 60, 64, 70, 119, 120, 121, 3600])
@pytest.mark.parametrize("draw", [0, 0.5, 0.999])
def test_a_wait_is_at_least_the_codes_minimum(attempt: int, minimum: float, draw: float) -> None:
    """Nor is it much longer."""
    at_least = timedelta(seconds=minimum)

    wait = SEND_BACKOFF.wait(attempt, at_least=at_least, draw=draw)

    backoff = SEND_BACKOFF.wait(attempt, draw=1)
    assert at_least <= wait <= max(backoff, at_least * 1.2) + timedelta(milliseconds=1)


def test_a_full_queue_is_retried_after_a_minute_at_the_earliest() -> None:
    """21611 means that the sender's queue at Twilio is full."""
    row = find(21611)

    assert row is not None
    assert FailureClass.TEMPORARILY_UNAVAILABLE is row.failure_class
    assert SEND_BACKOFF.wait(1, at_least=timedelta(seconds=delay_for(21611))) >= 60 * SECOND
