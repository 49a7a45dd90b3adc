"""Running single attempts of the send activity, as a worker would."""

import dataclasses
import traceback
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine
from temporalio.api.failure.v1 import Failure
from temporalio.converter import DataConverter
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.send import TwilioSends
from signedfor.contract import MessageRequest
from signedfor.message_activities import (
    PolicySnapshot,
    SendFailureDetail,
    SendRequest,
    SendResult,
    Sent,
)
from signedfor.outage_hold import OutageHold
from signedfor.payloads import data_converter
from tests.activities.fake_twilio import BODY, CANARIES, RECIPIENT, SENDER

POLICY = PolicySnapshot(
    receipt_checks=(timedelta(minutes=1),),
    retry_budget=timedelta(hours=1),
    unknown_wait=timedelta(seconds=3),
    dead_letter_hold=timedelta(days=2),
)


def no_hold(engine: Engine) -> OutageHold:
    """The hold of a worker whose database has not been away."""
    hold = OutageHold(engine)
    hold.end(outages=0)
    return hold


def message(**fields: Any) -> MessageRequest:
    """A text message; `fields` replace its fields."""
    return MessageRequest(**{"to": RECIPIENT, "sender": SENDER, "body": BODY, **fields})


def send_request(**fields: Any) -> SendRequest:
    """A message's first attempt, with an hour until its deadline; `fields` replace its fields."""
    return SendRequest(
        **{
            "message_id": "parcel-7",
            "submission": 1,
            "message": message(),
            "sender": SENDER,
            "requested_at": datetime.now(UTC),
            "deadline": datetime.now(UTC) + timedelta(hours=1),
            "segments": 1,
            "is_reserved": False,
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
    is_local: bool = False,
) -> SendResult:
    """Run attempt `number` of the activity, which Temporal started `age` ago."""
    environment = ActivityEnvironment()
    environment.info = dataclasses.replace(
        environment.info,
        attempt=number,
        started_time=datetime.now(UTC) - age,
        is_local=is_local,
    )
    return environment.run(sends.send, send_request() if request is None else request)


def unsent(decision: Any, *, attempts: int = 0) -> SendResult:
    """The result of an attempt that made no POST."""
    return SendResult(attempts=attempts, sender=SENDER, policy=POLICY, decision=decision)


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
    """Neither Temporal's failure nor Python's traceback may contain a number, text or token.

    The sender is in the detail, a payload: unlike the rest it is never logged, and a codec encrypts
    it, as it does the message.
    """
    failure = Failure()
    converter: DataConverter = data_converter
    converter.failure_converter.to_failure(error, converter.payload_converter, failure)
    details = str(failure.application_failure_info.details)
    assert [] == [each for each in CANARIES if each in details and each not in SENDER]
    failure.application_failure_info.ClearField("details")
    text = "".join(traceback.format_exception(error)) + str(failure)
    assert [] == [canary for canary in CANARIES if canary in text]
