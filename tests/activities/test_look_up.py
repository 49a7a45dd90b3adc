import pytest
from activities.look_up import TwilioLookUps
from signedfor.steps import LookUp, LookUpRequest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

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


def _look_up(connect: Connect, url: str) -> LookUp:
    look_ups = TwilioLookUps(connect(url))
    return ActivityEnvironment().run(look_ups.look_up, LookUpRequest(message_sid=SID))


@pytest.mark.parametrize(
    ("status", "error_code"),
    [("delivered", None), ("undelivered", 30003), ("sending", None), ("a-new-word", None)],
)
def test_found(connect: Connect, edge: Edge, status: str, error_code: int | None) -> None:
    """Status and code are handed on as Twilio says them, after one GET of that message."""
    edge.answers = [http(200, {"sid": SID, "status": status, "error_code": error_code})]

    assert LookUp(status=status, error_code=error_code) == _look_up(connect, edge.url)
    (asked,) = edge.asked
    assert f"GET /2010-04-01/Accounts/{ACCOUNT}/Messages/{SID}.json HTTP/1.1" == asked.line


def test_unknown_to_twilio(connect: Connect, edge: Edge) -> None:
    """A message that Twilio does not have is an answer, not an error."""
    edge.answers = [refused(404, 20404)]

    assert LookUp(status=None) == _look_up(connect, edge.url)


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
        _look_up(connect, edge.url)

    assert ("LookUpFailed", False) == (caught.value.type, caught.value.non_retryable)
    assert_silent(caught.value)


def test_unreachable(connect: Connect) -> None:
    """A Twilio that cannot be reached may be asked again."""
    with pytest.raises(ApplicationError, match="could not be asked") as caught:
        _look_up(connect, "http://nosuchhost.invalid")

    assert "LookUpFailed" == caught.value.type
