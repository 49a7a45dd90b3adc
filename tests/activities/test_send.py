import csv
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from temporalio.exceptions import ApplicationErrorCategory

from activities.send import TwilioSends
from signedfor.contract.failures import RETRYABLE, FailureClass
from signedfor.message_activities import SendResult, Sent
from signedfor.retry import MAX_QUICK_TIME, MAX_QUICK_WAIT, TERMINAL_ERROR_TYPES
from signedfor.twilio import codes
from signedfor.twilio.codes import delay_for
from tests.activities.conftest import MakeSends
from tests.activities.fake_twilio import (
    SENDER,
    SID,
    ConnectionFault,
    FakeTwilio,
    created,
    http,
    problem_details,
    refused,
)
from tests.activities.sending import POLICY, attempt, failed_attempt, send_request, sent


def test_an_accepted_message(sends: TwilioSends, fake_twilio: FakeTwilio) -> None:
    """The result has the SID, status and segments from the response to the only POST."""
    before = datetime.now(UTC)

    result = attempt(sends)

    assert 1 == len(fake_twilio.requests)
    assert isinstance(result.decision, Sent)
    submitted_at = result.decision.submitted_at
    assert before <= submitted_at <= datetime.now(UTC)
    assert result == SendResult(
        attempts=1,
        sender=SENDER,
        policy=POLICY,
        decision=Sent(message_sid=SID, status="queued", segments=1, submitted_at=submitted_at),
    )


@pytest.mark.parametrize(
    ("given", "segments"),
    [("3", 3), ("0", None), (None, None), ("", None), ("many", None), ("9" * 5000, None)],
)
def test_only_a_valid_count_of_segments_is_used(
    sends: TwilioSends, fake_twilio: FakeTwilio, given: str | None, segments: int | None
) -> None:
    """A response with an invalid count is still an accepted message."""
    fake_twilio.responses = [created(num_segments=given)]

    result = sent(sends)

    assert (SID, segments) == (result.message_sid, result.segments)


@pytest.mark.parametrize("status", [200, 202])
def test_any_2xx_status_with_a_sid_means_accepted(
    sends: TwilioSends, fake_twilio: FakeTwilio, status: int
) -> None:
    """The status need not be 201."""
    fake_twilio.responses = [http(status, {"sid": SID, "status": "accepted", "num_segments": "0"})]

    assert SID == sent(sends).message_sid


UNKNOWN = {
    "closed": ConnectionFault.CLOSE,
    "reset": ConnectionFault.RESET,
    "read timeout": ConnectionFault.HANG,
    "truncated response": ConnectionFault.TRUNCATE,
    "a byte at a time": ConnectionFault.DRIP,
    "not HTTP": b"hello\r\n\r\n",
    "500 in JSON": refused(500, 20500),
    "500 with an opt-out code": refused(500, 21610),
    "500 with a retry code": refused(500, 20429),
    "502 in HTML": http(502, "<html>Bad Gateway</html>"),
    "503": refused(503, 20503),
    "503 with a huge Retry-After": refused(503, 20503, {"Retry-After": "9" * 30}),
    "500 that claims to be a 429": problem_details(500, code=20429, claimed=429),
    "504 without a body": http(504),
    "408": http(408, "slow"),
    "409": refused(409, 20409),
    "201 without a body": http(201),
    "201 with {}": http(201, {}),
    "201 in HTML": http(201, "<html>Fine</html>"),
    "201 without a SID": created(sid=None),
    "201 with an empty SID": created(sid=""),
    "201 with a number for a SID": created(sid=7),
    "201 with a SID of another resource": created(sid="CA" + "a" * 32),
    "201 with a list": http(201, []),
    "201 with null": http(201, "null"),
    "201 with a bad date": created(date_created=5),
    "status 999": refused(999, 20429),
    "status 600": http(600, "?"),
}


@pytest.mark.parametrize("response", UNKNOWN.values(), ids=UNKNOWN.keys())
def test_the_outcome_is_unknown_if_twilio_may_have_accepted_the_message(
    sends: TwilioSends, fake_twilio: FakeTwilio, response: bytes | str
) -> None:
    """The error is not retried, and there is exactly one POST."""
    fake_twilio.responses = [response]

    error, detail = failed_attempt(sends)

    assert FailureClass.OUTCOME_UNKNOWN == error.type
    assert error.type in TERMINAL_ERROR_TYPES
    assert error.next_retry_delay is None
    assert 1 == detail.attempts
    assert 1 == len(fake_twilio.requests)


def _closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.mark.parametrize("url", ["http://127.0.0.1:{closed}", "http://nosuchhost.invalid"])
def test_failing_to_connect_is_retried_soon(make_sends: MakeSends, url: str) -> None:
    """A refused connection or an unknown host name proves that nothing was sent."""
    error, detail = failed_attempt(make_sends(url.format(closed=_closed_port())))

    assert FailureClass.TEMPORARILY_UNAVAILABLE == error.type
    assert error.type not in TERMINAL_ERROR_TYPES
    assert not error.non_retryable
    assert ApplicationErrorCategory.BENIGN == error.category
    assert error.next_retry_delay is not None
    assert timedelta(seconds=0.4) <= error.next_retry_delay <= timedelta(seconds=0.6)
    assert error.next_retry_delay == detail.retry_after


def test_a_connect_timeout_is_retried(make_sends: MakeSends) -> None:
    """It proves that nothing was sent."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        waiting = [socket.socket() for _ in range(4)]
        for each in waiting:  # with a full backlog the kernel does not answer further connects
            each.setblocking(False)
            each.connect_ex(("127.0.0.1", port))
        sends = make_sends(f"http://127.0.0.1:{port}", connect_timeout=timedelta(seconds=0.3))

        error, _ = failed_attempt(sends)

        for each in waiting:
            each.close()
    assert FailureClass.TEMPORARILY_UNAVAILABLE == error.type


@pytest.mark.parametrize(
    ("response", "code", "minimum", "maximum"),
    [
        (refused(429, 20429), 20429, 0.4, 0.6),
        (refused(429, 20429, {"Retry-After": "7"}), 20429, 7, 8.4),
        (refused(429, 20429, {"Retry-After": "0"}), 20429, 0.4, 0.6),
        (refused(429, 20429, {"Retry-After": "soon"}), 20429, 0.4, 0.6),
        (refused(429, 20429, {"Retry-After": "-3"}), 20429, 0.4, 0.6),
        (refused(429, 20429, {"Retry-After": "9" * 30}), 20429, 0.4, 0.6),
        (refused(429, 20429, {"Retry-After": "999999"}), 20429, 86_400, 1.2 * 86_400),
        (refused(429, 21611), 21611, 60, 1.2 * delay_for(21611)),
        (refused(429, 63038), 63038, 3600, 1.2 * delay_for(63038)),
        (http(429, "<html>Slow down</html>"), None, 0.4, 0.6),
        (problem_details(429, code=20429), 20429, 0.4, 0.6),
        (http(425, "early"), None, 0.4, 0.6),
    ],
    ids=lambda value: "" if isinstance(value, bytes) else str(value),
)
def test_a_request_that_twilio_did_not_process_is_retried(  # noqa: PLR0917 - pytest passes them by name
    sends: TwilioSends,
    fake_twilio: FakeTwilio,
    response: bytes,
    code: int | None,
    minimum: float,
    maximum: float,
) -> None:
    """The wait is the minimum of the code or of the Retry-After header, plus jitter."""
    fake_twilio.responses = [response]

    error, detail = failed_attempt(sends)

    assert FailureClass.TEMPORARILY_UNAVAILABLE == error.type
    assert not error.non_retryable
    assert code == detail.error_code
    assert error.next_retry_delay is not None
    assert minimum <= error.next_retry_delay.total_seconds() <= maximum
    assert 1 == len(fake_twilio.requests)


@pytest.mark.parametrize(
    ("response", "failure_class", "code", "status"),
    [
        (refused(403, 21408), FailureClass.SENDER_MISCONFIGURED, 21408, 403),
        (http(403, "<html>"), FailureClass.SENDER_MISCONFIGURED, None, 403),
        (refused(404, 20404), FailureClass.SENDER_MISCONFIGURED, 20404, 404),
        (refused(400, 99999), FailureClass.REQUEST_REJECTED, 99999, 400),
        (http(400, "<html>"), FailureClass.REQUEST_REJECTED, None, 400),
        (http(418, {"teapot": True}), FailureClass.REQUEST_REJECTED, None, 418),
        (http(400, {"code": None, "message": "?"}), FailureClass.REQUEST_REJECTED, None, 400),
        (http(400, {"code": True, "message": "?"}), FailureClass.REQUEST_REJECTED, None, 400),
        (http(400, {"code": 10**30, "message": "?"}), FailureClass.REQUEST_REJECTED, None, 400),
        (problem_details(400, code=21610), FailureClass.RECIPIENT_OPTED_OUT, 21610, 400),
        (problem_details(400, code=21211), FailureClass.RECIPIENT_UNREACHABLE, 21211, 400),
        (
            refused(400, 21610, {"Retry-After": "9" * 30}),
            FailureClass.RECIPIENT_OPTED_OUT,
            21610,
            400,
        ),
    ],
    ids=lambda value: "" if isinstance(value, bytes) else str(value),
)
def test_a_refusal_is_not_retried(  # noqa: PLR0917 - pytest passes them by name
    sends: TwilioSends,
    fake_twilio: FakeTwilio,
    response: bytes,
    failure_class: FailureClass,
    code: int | None,
    status: int,
) -> None:
    """The error has the failure class, Twilio's code and the HTTP status."""
    fake_twilio.responses = [response]

    error, detail = failed_attempt(sends)

    assert failure_class == error.type
    assert error.type in TERMINAL_ERROR_TYPES
    assert error.next_retry_delay is None
    assert (code, status, 1) == (detail.error_code, detail.http_status, detail.attempts)
    assert 1 == len(fake_twilio.requests)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(
    sends: TwilioSends, fake_twilio: FakeTwilio, status: int
) -> None:
    """A redirect means a wrong base URL or a proxy: retried, and never a POST elsewhere."""
    fake_twilio.responses = [
        http(status, "", {"Location": f"{fake_twilio.url}/elsewhere"}),
        created(),
    ]

    error, _ = failed_attempt(sends)

    assert FailureClass.TEMPORARILY_UNAVAILABLE == error.type
    assert "check TWILIO_API_BASE_URL" in str(error)
    assert 1 == len(fake_twilio.requests)


def _table() -> list[tuple[int, FailureClass]]:
    path = Path(codes.__file__).with_name("codes.csv")
    with path.open(encoding="utf-8", newline="") as table:
        return [
            (code, FailureClass(row["failure_class"]))
            for row in csv.DictReader(table)
            for code in (int(row["code_from"]), int(row["code_to"]))
        ]


def test_every_code_in_the_table(sends: TwilioSends, fake_twilio: FakeTwilio) -> None:
    """Each code, as the response to a create, leads to one POST and an error with its class.

    Except for those that concern the account (`test_account_hold.py`).
    """
    temporary = {FailureClass.TEMPORARILY_UNAVAILABLE, FailureClass.DELIVERY_DELAYED}
    table = {code: each for code, each in _table() if not codes.concerns_account(400, code)}
    seen = {}
    for number, code in enumerate(table, 1):
        fake_twilio.responses = [refused(400, code)]
        fake_twilio.requests.clear()

        error, detail = failed_attempt(sends, send_request(submission=number))

        assert (code, 1) == (detail.error_code, len(fake_twilio.requests))
        seen[code] = error.type
        assert (error.type in TERMINAL_ERROR_TYPES) == (error.type not in RETRYABLE)
    expected = {
        code: (
            FailureClass.TEMPORARILY_UNAVAILABLE if failure_class in temporary else failure_class
        ).value
        for code, failure_class in table.items()
    }
    assert expected == seen
    assert len(seen) > 150


def test_attempts_of_earlier_activities_count(make_sends: MakeSends) -> None:
    """The attempts of the retry policy are added to those of an earlier activity."""
    sends = make_sends(f"http://127.0.0.1:{_closed_port()}")

    error, detail = failed_attempt(sends, send_request(earlier_attempts=4), number=3)

    assert 7 == detail.attempts
    assert error.next_retry_delay is not None
    assert 0.8 * 32 <= error.next_retry_delay.total_seconds() <= 1.2 * 32


def test_the_wait_is_limited_after_many_attempts(make_sends: MakeSends) -> None:
    """An attempt with a very high number has the maximum wait."""
    error, _ = failed_attempt(make_sends(f"http://127.0.0.1:{_closed_port()}"), number=5000)

    assert error.next_retry_delay is not None
    assert 96 <= error.next_retry_delay.total_seconds() <= 144


@pytest.mark.parametrize(("code", "left_to_workflow"), [(20429, False), (21611, True)])
def test_a_wait_longer_than_allowed_is_left_to_the_workflow(
    sends: TwilioSends, fake_twilio: FakeTwilio, code: int, left_to_workflow: bool
) -> None:
    """The error is then not retryable, and its detail has the wait."""
    fake_twilio.responses = [refused(429, code)]

    error, detail = failed_attempt(sends, send_request(max_retry_wait=timedelta(seconds=5)))

    assert (FailureClass.TEMPORARILY_UNAVAILABLE, left_to_workflow) == (
        error.type,
        error.non_retryable,
    )
    assert detail.retry_after == error.next_retry_delay


@pytest.mark.parametrize(
    ("requested_ago", "left_to_workflow"),
    [(timedelta(0), False), (MAX_QUICK_TIME, True)],
)
def test_quick_attempts_end_in_time(
    make_sends: MakeSends, requested_ago: timedelta, left_to_workflow: bool
) -> None:
    """Connecting may take seconds; the workflow task that the attempts are made in has ten."""
    request = send_request(
        requested_at=datetime.now(UTC) - requested_ago, max_retry_wait=MAX_QUICK_WAIT
    )
    sends = make_sends(f"http://127.0.0.1:{_closed_port()}")

    error, detail = failed_attempt(sends, request, is_local=True)

    assert FailureClass.TEMPORARILY_UNAVAILABLE == error.type
    assert left_to_workflow == error.non_retryable
    assert detail.retry_after is not None


def test_a_patient_attempt_may_follow_long_after_the_first(make_sends: MakeSends) -> None:
    """Only the retry budget ends them."""
    request = send_request(requested_at=datetime.now(UTC) - timedelta(minutes=50))

    error, _ = failed_attempt(make_sends(f"http://127.0.0.1:{_closed_port()}"), request)

    assert not error.non_retryable
