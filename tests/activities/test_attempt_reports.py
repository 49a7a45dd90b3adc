"""A failed attempt that Temporal repeats is reported, so that the message's progress shows it."""

from datetime import UTC, datetime, timedelta

import pytest

from activities.send import TwilioSends
from signedfor.message_activities import AttemptFailed
from tests.activities.fake_twilio import ConnectionFault, FakeTwilio, refused
from tests.activities.sending import failed_attempt, send_request, sent

BUSY = refused(429, 20429)


def test_an_attempt_that_is_repeated_is_reported(
    sends: TwilioSends, fake_twilio: FakeTwilio, reports: list[AttemptFailed]
) -> None:
    """With its number, Twilio's code and the time of the next attempt."""
    fake_twilio.responses = [BUSY]

    error, detail = failed_attempt(sends, send_request(earlier_attempts=3), number=2)

    (report,) = reports
    assert (5, 20429) == (report.attempts, report.error_code)
    assert detail.attempts == report.attempts
    assert error.next_retry_delay is not None
    late_by = datetime.now(UTC) + error.next_retry_delay - report.next_attempt_at
    assert timedelta(0) <= late_by < timedelta(seconds=5)


@pytest.mark.parametrize(
    "response",
    [refused(400, 21610), ConnectionFault.CLOSE],
    ids=["refused", "unknown outcome"],
)
def test_the_end_of_a_send_is_not_reported(
    sends: TwilioSends, fake_twilio: FakeTwilio, reports: list[AttemptFailed], response: bytes | str
) -> None:
    """The workflow learns of it by the activity's failure."""
    fake_twilio.responses = [response]

    failed_attempt(sends)

    assert [] == reports


def test_a_wait_that_is_left_to_the_workflow_is_not_reported(
    sends: TwilioSends, fake_twilio: FakeTwilio, reports: list[AttemptFailed]
) -> None:
    """There is no next attempt of this activity."""
    fake_twilio.responses = [refused(429, 21611)]

    failed_attempt(sends, send_request(max_retry_wait=timedelta(seconds=2)))

    assert [] == reports


def test_a_local_attempt_is_not_reported(
    sends: TwilioSends, fake_twilio: FakeTwilio, reports: list[AttemptFailed]
) -> None:
    """Its workflow takes in nothing while the workflow task lasts."""
    fake_twilio.responses = [BUSY]

    failed_attempt(sends, is_local=True)

    assert [] == reports


def test_an_attempt_that_succeeds_is_not_reported(
    sends: TwilioSends, reports: list[AttemptFailed]
) -> None:
    """Its result says it all."""
    sent(sends, number=2)

    assert [] == reports
