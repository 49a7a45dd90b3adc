import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.search import TwilioStatuses
from signedfor.message_activities import StatusRequest, StatusResult
from tests.activities.conftest import Connect
from tests.activities.edge import (
    ACCOUNT,
    SID,
    Edge,
    Misbehaviour,
    http,
    problem_details,
    refused,
)
from tests.activities.sending import assert_silent


def _fetch(connect: Connect, url: str) -> StatusResult:
    statuses = TwilioStatuses(connect(url))
    return ActivityEnvironment().run(statuses.fetch_status, StatusRequest(message_sid=SID))


@pytest.mark.parametrize(
    ("status", "error_code"),
    [("delivered", None), ("undelivered", 30003), ("sending", None), ("a-new-word", None)],
)
def test_found(connect: Connect, edge: Edge, status: str, error_code: int | None) -> None:
    """Status and code are handed on as Twilio says them, after one GET of that message."""
    edge.answers = [http(200, {"sid": SID, "status": status, "error_code": error_code})]

    assert StatusResult(status=status, error_code=error_code) == _fetch(connect, edge.url)
    (asked,) = edge.asked
    assert f"GET /2010-04-01/Accounts/{ACCOUNT}/Messages/{SID}.json HTTP/1.1" == asked.line


def test_unknown_to_twilio(connect: Connect, edge: Edge) -> None:
    """A message that Twilio does not have is an answer, not an error."""
    edge.answers = [refused(404, 20404)]

    assert StatusResult(status=None) == _fetch(connect, edge.url)


@pytest.mark.parametrize(
    "answer",
    [
        Misbehaviour.CLOSE,
        Misbehaviour.RESET,
        Misbehaviour.HANG,
        Misbehaviour.HALF,
        http(200, "<html>"),
        http(502, "<html>"),
        refused(401, 20003),
        refused(429, 20429),
        refused(500, 20500),
        problem_details(500, code=20500),
    ],
)
def test_no_answer(connect: Connect, edge: Edge, answer: bytes | str) -> None:
    """Whatever prevents an answer may be tried again, and repeats nothing personal."""
    edge.answers = [answer]

    with pytest.raises(ApplicationError) as caught:
        _fetch(connect, edge.url)

    assert ("StatusUnavailable", False) == (caught.value.type, caught.value.non_retryable)
    assert_silent(caught.value)


def test_unreachable(connect: Connect) -> None:
    """A Twilio that cannot be reached may be asked again."""
    with pytest.raises(ApplicationError, match="could not be asked") as caught:
        _fetch(connect, "http://nosuchhost.invalid")

    assert "StatusUnavailable" == caught.value.type
