import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.search import TwilioStatuses
from signedfor.message_activities import StatusRequest, StatusResult
from tests.activities.conftest import Connect
from tests.activities.fake_twilio import (
    ACCOUNT,
    SID,
    ConnectionFault,
    FakeTwilio,
    http,
    problem_details,
    refused,
)
from tests.activities.sending import assert_no_personal_data


def _fetch(connect: Connect, url: str) -> StatusResult:
    statuses = TwilioStatuses(connect(url))
    return ActivityEnvironment().run(statuses.fetch_status, StatusRequest(message_sid=SID))


@pytest.mark.parametrize(
    ("status", "error_code"),
    [("delivered", None), ("undelivered", 30003), ("sending", None), ("a-new-status", None)],
)
def test_status_and_error_code_are_returned(
    connect: Connect, fake_twilio: FakeTwilio, status: str, error_code: int | None
) -> None:
    """They are Twilio's own, from one GET of the message."""
    fake_twilio.responses = [http(200, {"sid": SID, "status": status, "error_code": error_code})]

    assert StatusResult(status=status, error_code=error_code) == _fetch(connect, fake_twilio.url)
    (request,) = fake_twilio.requests
    assert f"GET /2010-04-01/Accounts/{ACCOUNT}/Messages/{SID}.json HTTP/1.1" == request.line


def test_an_unknown_message_has_no_status(connect: Connect, fake_twilio: FakeTwilio) -> None:
    """It is not an error if Twilio does not have the message."""
    fake_twilio.responses = [refused(404, 20404)]

    assert StatusResult(status=None) == _fetch(connect, fake_twilio.url)


@pytest.mark.parametrize(
    "response",
    [
        ConnectionFault.CLOSE,
        ConnectionFault.RESET,
        ConnectionFault.HANG,
        ConnectionFault.TRUNCATE,
        http(200, "<html>"),
        http(502, "<html>"),
        refused(401, 20003),
        refused(429, 20429),
        refused(500, 20500),
        problem_details(500, code=20500),
    ],
)
def test_failing_to_fetch_the_status_is_retryable(
    connect: Connect, fake_twilio: FakeTwilio, response: bytes | str
) -> None:
    """The error contains no personal data."""
    fake_twilio.responses = [response]

    with pytest.raises(ApplicationError) as caught:
        _fetch(connect, fake_twilio.url)

    assert ("StatusUnavailable", False) == (caught.value.type, caught.value.non_retryable)
    assert_no_personal_data(caught.value)


def test_an_unreachable_twilio_is_retryable(connect: Connect) -> None:
    """The error says that the status could not be fetched."""
    with pytest.raises(ApplicationError, match="could not be asked") as caught:
        _fetch(connect, "http://nosuchhost.invalid")

    assert "StatusUnavailable" == caught.value.type
