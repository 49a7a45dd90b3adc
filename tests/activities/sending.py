"""Running single attempts of the send activity, as a worker would."""

import dataclasses
import traceback
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio.api.failure.v1 import Failure
from temporalio.converter import DataConverter
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.send import TwilioSends
from signedfor.contract import MessageRequest
from signedfor.message_activities import SendFailureDetail, SendRequest, SendResult, Sent
from signedfor.payloads import data_converter
from tests.activities.fake_twilio import BODY, CANARIES, RECIPIENT, SENDER


def message(**fields: Any) -> MessageRequest:
    """A text message; `fields` replace its fields."""
    return MessageRequest(**{"to": RECIPIENT, "sender": SENDER, "body": BODY, **fields})


def send_request(**fields: Any) -> SendRequest:
    """A send request with an hour until its deadline; `fields` replace its fields."""
    return SendRequest(
        **{
            "message_id": "parcel-7",
            "message": message(),
            "sender": SENDER,
            "deadline": datetime.now(UTC) + timedelta(hours=1),
            "segments": 1,
            "is_retry": False,
            "earlier_attempts": 0,
            "max_retry_wait": None,
            **fields,
        }
    )


def attempt(
    sends: TwilioSends,
    request: SendRequest | None = None,
    *,
    number: int = 1,
    age: timedelta = timedelta(0),
) -> SendResult:
    """Run attempt `number` of the activity, which Temporal started `age` ago."""
    environment = ActivityEnvironment()
    environment.info = dataclasses.replace(
        environment.info, attempt=number, started_time=datetime.now(UTC) - age
    )
    return environment.run(sends.send, send_request() if request is None else request)


def sent(sends: TwilioSends, request: SendRequest | None = None, **options: Any) -> Sent:
    """Run an attempt that Twilio must accept."""
    decision = attempt(sends, request, **options).decision
    assert isinstance(decision, Sent)
    return decision


def failed_attempt(
    sends: TwilioSends, request: SendRequest | None = None, **options: Any
) -> tuple[ApplicationError, SendFailureDetail]:
    """Run an attempt that must fail with a class; return the error and its detail."""
    with pytest.raises(ApplicationError) as caught:
        attempt(sends, request, **options)
    assert_no_personal_data(caught.value)
    (detail,) = caught.value.details
    assert isinstance(detail, SendFailureDetail)
    return caught.value, detail


def assert_no_personal_data(error: BaseException) -> None:
    """Neither Temporal's failure nor Python's traceback may contain a number, text or token."""
    failure = Failure()
    converter: DataConverter = data_converter
    converter.failure_converter.to_failure(error, converter.payload_converter, failure)
    text = "".join(traceback.format_exception(error)) + str(failure)
    assert [] == [canary for canary in CANARIES if canary in text]
