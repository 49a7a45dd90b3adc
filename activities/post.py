"""The one POST of an attempt: what Twilio is sent, and what its answer means."""

import json
import re
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from temporalio import activity
from temporalio.common import MetricHistogramFloat
from temporalio.exceptions import ApplicationError
from twilio.base.exceptions import TwilioException
from twilio.rest.api.v2010.account.message import MessageInstance
from urllib3.exceptions import HTTPError

from activities.attempt import Attempt
from signedfor import tracing
from signedfor.contract import MessageRequest
from signedfor.contract.failures import FailureClass
from signedfor.message_activities import SendRequest, Sent
from signedfor.metrics import CHECK_TO_POST
from signedfor.twilio import codes
from signedfor.twilio.client import Instant, TwilioClient, never_connected
from signedfor.twilio.overrides import OVERRIDES
from signedfor.twilio.phone import is_messaging_service

_MAX_VALIDITY = 36_000
"""Twilio's own limit on ValidityPeriod, in seconds."""
_REFUSALS = range(300, 600)
"""The HTTP statuses of a refusal; any other status proves nothing."""
_HIGHEST_CODE = 999_999


class MessagePost:
    """Creates messages at Twilio; `status_url` is where Twilio posts their statuses."""

    def __init__(self, client: TwilioClient, *, status_url: str) -> None:
        self._client = client
        self._status_url = status_url
        self._window: MetricHistogramFloat | None = None

    def make(self, request: SendRequest, attempt: Attempt, *, latest: Instant) -> Sent:
        """Make the POST, unless `latest` has passed.

        Raises:
            ApplicationError: its type is the failure class.
        """
        parameters = create_parameters(
            request, sender=attempt.sender or "", status_url=self._status_url
        )
        # From here a POST may have been made, so every error needs a class: Temporal would retry
        # one that has none.
        try:
            with self._client.no_request_after(latest):
                created = self._client.messages.create(**parameters)
            return _sent(created, attempt)
        except TwilioException as error:
            raise self._refused(error, attempt) from None
        except ApplicationError:
            raise
        except HTTPError as error:
            raise _not_answered(error, attempt) from None
        except Exception as error:  # noqa: BLE001 - whatever it was, the POST may have been made
            raise attempt.failure(
                FailureClass.OUTCOME_UNKNOWN,
                f"Twilio's answer could not be understood ({type(error).__name__}).",
            ) from None
        finally:
            answer = self._client.last_response()
            tracing.annotate(
                signedfor__attempt=attempt.number,
                http__request__method="POST",
                http__response__status_code=None if answer is None else answer.http_status,
            )
            self._record_window(self._client.first_byte_at() - attempt.checked_at)

    def _record_window(self, seconds: float) -> None:
        """Record the time in which a STOP comes too late: from the check to the first byte."""
        if seconds > 0:  # otherwise nothing was written
            if self._window is None:
                self._window = activity.metric_meter().create_histogram_float(
                    CHECK_TO_POST, "From the commit of the check to the POST's first byte"
                )
            self._window.record(seconds)

    def _refused(self, error: TwilioException, attempt: Attempt) -> ApplicationError:
        """Twilio answered with an error status."""
        answer = self._client.last_response()
        if answer is None or answer.http_status not in _REFUSALS:
            return attempt.failure(
                FailureClass.OUTCOME_UNKNOWN, "The Twilio SDK failed in a way it does not explain."
            )
        # The real status: an RFC 9457 error of the SDK has the one that its body claims.
        status = answer.http_status
        code = _code(error, status)
        failure_class = codes.classify_create(status, code)
        known = codes.find(code)
        what = known.meaning if known else codes.meaning_for(failure_class, code)
        if status < HTTPStatus.BAD_REQUEST:
            what = "Its API uses no redirects: check TWILIO_API_BASE_URL, edge, region and proxies."
        return attempt.failure(
            failure_class,
            f"Twilio answered HTTP {status}" + (f", code {code}: {what}" if code else f". {what}"),
            code=code,
            http_status=status,
            retry_after=answer.retry_after,
        )


def create_parameters(request: SendRequest, *, sender: str, status_url: str) -> dict[str, Any]:
    """The arguments of the SDK's `messages.create` for a message.

    The callback URL carries our message id, signed by Twilio with the rest of the URL: even if the
    create response is lost, a callback tells which message it belongs to. If traces are on, the
    webhook continues this one.
    """
    message: MessageRequest = request.message
    parameters: dict[str, Any] = {
        "to": message.to,
        "status_callback": (
            f"{status_url}?message_id={quote(request.message_id, safe='')}"
            f"{_trace_parameter()}#{OVERRIDES}"
        ),
    }
    if is_messaging_service(sender):
        parameters["messaging_service_sid"] = sender
    else:
        parameters["from_"] = sender
    if message.body is not None:
        parameters["body"] = message.body
    if message.media_urls:
        parameters["media_url"] = list(message.media_urls)
    if message.content_sid is not None:
        parameters["content_sid"] = message.content_sid
    if message.content_variables is not None:
        parameters["content_variables"] = json.dumps(message.content_variables)
    if message.expires_at is not None:
        left = int((message.expires_at - datetime.now(UTC)).total_seconds())
        parameters["validity_period"] = min(max(left, 1), _MAX_VALIDITY)
    return parameters


def _trace_parameter() -> str:
    traceparent = tracing.current_traceparent()
    return "" if traceparent is None else f"&{tracing.TRACEPARENT}={traceparent}"


def _not_answered(error: HTTPError, attempt: Attempt) -> ApplicationError:
    """The connection failed: before anything was sent, or possibly after."""
    if never_connected(error):
        return attempt.not_reached()
    return attempt.failure(
        FailureClass.OUTCOME_UNKNOWN,
        f"The connection failed after the request may have been sent ({type(error).__name__}).",
    )


def _sent(created: MessageInstance, attempt: Attempt) -> Sent:
    """Twilio's answer; without a SID that can be asked for later it does not count as accepted."""
    sid = str(created.sid)
    if not re.fullmatch(r"(SM|MM)[0-9a-fA-F]{32}", sid):
        raise attempt.failure(
            FailureClass.OUTCOME_UNKNOWN, "Twilio accepted it but gave no message SID."
        )
    return Sent(
        message_sid=sid,
        status=str(created.status) if created.status else None,
        segments=_count(created.num_segments),
        submitted_at=datetime.now(UTC),
    )


def _count(num_segments: object) -> int | None:
    """Twilio's `num_segments`, a string; "0" while a Messaging Service has not decided."""
    text = str(num_segments)
    return int(text) if re.fullmatch(r"[1-9][0-9]{0,3}", text) else None


def _code(error: TwilioException, status: int) -> int | None:
    """Twilio's own code in an error of the SDK, if there is one."""
    code = getattr(error, "code", None)
    # Where the body is not Twilio's JSON, the SDK repeats the HTTP status as the code.
    plausible = type(code) is int and code != status and 0 < code <= _HIGHEST_CODE
    return code if plausible else None
