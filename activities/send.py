"""The send activity: the checks, then one POST, then the name of what happened."""

import contextlib
import json
import logging
import re
import time
from collections.abc import Callable, Collection, Container, Mapping
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, assert_never
from urllib.parse import quote

import requests
from temporalio import activity
from temporalio.common import MetricHistogramFloat
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory
from twilio.base.exceptions import TwilioException
from twilio.rest.api.v2010.account.message import MessageInstance

from activities.listing import accepted_rows
from activities.threads import in_thread
from signedfor import tracing
from signedfor.clock import MAX_SKEW
from signedfor.consent import Suppression
from signedfor.contract import STATUS_PATH, MessageRequest, SendWindow
from signedfor.contract.failures import RETRYABLE, FailureClass
from signedfor.destinations import EVERYWHERE, Destinations
from signedfor.masks import masked_sender
from signedfor.message_activities import (
    AccountHeld,
    AlreadyClaimed,
    AttemptFailed,
    CampaignCanceled,
    DatabaseAway,
    Deferred,
    Expired,
    InvalidRecipient,
    InvalidWindow,
    LimitReached,
    Listed,
    NoOptIn,
    NoSender,
    NotSent,
    Paused,
    PolicySnapshot,
    SendActivities,
    SendFailureDetail,
    SendRequest,
    SendResult,
    Sent,
    Suppressed,
    WindowClosed,
    WrongClock,
)
from signedfor.metrics import CHECK_TO_POST
from signedfor.outage_hold import OutageHold
from signedfor.quiet_hours import with_quiet_hours
from signedfor.recipient_rules import recipient_problem
from signedfor.retry import LATEST_POST_START, MAX_QUICK_TIME, SEND_BACKOFF
from signedfor.send_windows import NeverOpens, opening, window_problem
from signedfor.store.account_hold import AccountHold
from signedfor.store.database import DatabaseUnavailable
from signedfor.store.duplicates import DuplicateOf
from signedfor.store.held_back_messages import HeldBackMessages
from signedfor.store.limit_usage import LimitUsed
from signedfor.store.send_attempts import (
    Blocked,
    Claimed,
    ClaimHeld,
    NotBefore,
    NotClaimed,
    SendAttempts,
)
from signedfor.store.suppressions import Suppressions
from signedfor.twilio import codes
from signedfor.twilio.client import Instant, TwilioClient, never_connected
from signedfor.twilio.overrides import OVERRIDES
from signedfor.twilio.phone import is_messaging_service
from signedfor.worker_metrics import ACCEPTED, ClaimResult, WorkerMetrics

_logger = logging.getLogger("signedfor.send")

_MAX_VALIDITY = 36_000
"""Twilio's own limit on ValidityPeriod, in seconds."""
_REFUSALS = range(300, 600)
"""The HTTP statuses of a refusal; any other status proves nothing."""
_HIGHEST_CODE = 999_999


class TwilioSends(SendActivities):
    """Submits messages to Twilio. One POST an attempt, never one after its time."""

    def __init__(
        self,
        client: TwilioClient,
        suppressions: Suppressions,
        attempts: SendAttempts,
        account_hold: AccountHold,
        *,
        outage_hold: OutageHold,
        held_back: HeldBackMessages,
        require_opt_in: Collection[str] = (),
        quiet_hours: Mapping[str, Collection[str]] = MappingProxyType({}),
        own_senders: Container[str] = (),
        destinations: Destinations = EVERYWHERE,
        public_base_url: str,
        default_sender: str | None,
        policy: PolicySnapshot,
        report: Callable[[AttemptFailed], None],
        metrics: WorkerMetrics,
    ) -> None:
        """`report` signals the workflow of the activity that calls it.

        `require_opt_in` are the categories that are sent only to people who agreed to them, and
        `quiet_hours` names the quiet hours of categories. Nothing is sent to `own_senders`
        or beyond `destinations`.
        """
        self._client = client
        self._suppressions = suppressions
        self._attempts = attempts
        self._account_hold = account_hold
        self._outage_hold = outage_hold
        self._held_back = held_back
        self._require_opt_in = frozenset(require_opt_in)
        self._quiet_hours = quiet_hours
        self._own_senders = own_senders
        self._destinations = destinations
        self._status_url = public_base_url + STATUS_PATH
        self._default_sender = default_sender
        self._policy = policy
        self._report = report
        self._metrics = metrics
        self._window: MetricHistogramFloat | None = None

    @in_thread
    def send(self, request: SendRequest) -> SendResult:
        """Send the message unless it must wait, is suppressed, or has expired.

        Raises:
            ApplicationError: its type is the failure class, its detail a `SendFailureDetail`. Only
                `TemporarilyUnavailable` may be retried; it sets the wait itself.
        """
        attempt = _Attempt(request, request.sender or self._default_sender, self._policy)
        try:
            return self._send(request, attempt)
        except ApplicationError as error:
            if not error.non_retryable and error.type in RETRYABLE:
                attempt.report_to(self._report, error)
            raise

    def _send(self, request: SendRequest, attempt: "_Attempt") -> SendResult:
        attempt.check_clock()
        if attempt.is_clock_wrong():
            return attempt.result(WrongClock())
        attempt.latest_start()
        if not self._outage_hold.wait_until_over():
            return attempt.result(DatabaseAway())
        try:
            if self._is_listed(request, attempt):
                return attempt.result(Listed())
            # Connecting may take seconds, in which a STOP can come: so it is done before the check.
            with self._client.connected() as is_connected:
                with tracing.span("claim", request.message_id):
                    decision = self._decide(request, attempt)
                attempt.checked_at = time.perf_counter()
                if not isinstance(decision, Claimed):
                    return attempt.result(decision)
                # The claim itself may have found that the database had been away.
                if not self._outage_hold.is_over:
                    self._record_refusal(request, decision)
                    return attempt.result(DatabaseAway())
                return self._post(request, attempt, decision, is_connected=is_connected)
        except DatabaseUnavailable:
            return attempt.result(DatabaseAway())

    def _decide(self, request: SendRequest, attempt: "_Attempt") -> Claimed | NotSent:
        """Whether the POST may be made, and if so, claim its submission for this attempt."""
        if attempt.sender is None:
            return NoSender()
        window = self._window_of(request.message)
        problem = recipient_problem(
            request.message.to,
            sender=attempt.sender,
            own=self._own_senders,
            destinations=self._destinations,
        )
        obstacle = (
            _out_of_time(request.message, window, datetime.now(UTC))
            if problem is None
            else InvalidRecipient(problem=problem)
        )
        if obstacle is not None:
            # An earlier run may have sent it in time.
            held = self._attempts.holder(request.message_id, request.submission)
            return obstacle if held is None else _already_claimed(held)
        return self._claim(request, attempt.sender, window, attempt)

    def _window_of(self, message: MessageRequest) -> SendWindow | None:
        """Its send window, with the quiet hours of its category."""
        return with_quiet_hours(
            message.send_window, self._quiet_hours.get(message.category or "", ())
        )

    def _is_listed(self, request: SendRequest, attempt: "_Attempt") -> bool:
        """Whether Twilio lists, by now, what may be an earlier POST of unknown outcome.

        The searches that found nothing may be long ago: the message may have waited for its
        sender, for an attempt or for a worker.
        """
        if request.unresolved_since is None or attempt.sender is None:
            return False
        # As the searches do, from the first POST that this or an earlier run of the workflow made.
        claimed_since = self._attempts.claimed_since(
            request.message_id, first_submission=request.unresolved_from
        )
        rows = accepted_rows(
            self._client,
            to=request.message.to,
            sender=attempt.sender,
            since=min(request.unresolved_since, claimed_since or request.unresolved_since),
            except_sids=request.listed_sids,
        )
        try:
            return any(True for _ in rows)
        except (TwilioException, requests.RequestException, ValueError) as error:
            raise attempt.failure(
                FailureClass.TEMPORARILY_UNAVAILABLE,
                f"Twilio could not be asked for its list of messages ({type(error).__name__}); "
                "nothing was sent.",
            ) from None

    def _record_refusal(self, request: SendRequest, claim: Claimed) -> None:
        """Let the next attempt claim the submission: Twilio does not have the message."""
        # If this fails, the next attempt treats the outcome as unknown, and it is resolved.
        with contextlib.suppress(DatabaseUnavailable):
            self._attempts.refuse(request.message_id, request.submission, claim.attempt)

    def _claim(
        self, request: SendRequest, sender: str, window: SendWindow | None, attempt: "_Attempt"
    ) -> Claimed | NotSent:
        message = request.message
        claim = self._attempts.claim(
            request.message_id,
            message,
            sender=sender,
            submission=request.submission,
            segments=request.segments,
            is_reserved=request.is_reserved,
            is_reserved_by_account=request.is_reserved_by_account,
            is_retry=request.is_retry or attempt.is_repeated,
            needs_opt_in=message.category in self._require_opt_in,
            fits=lambda moment: _out_of_time(message, window, moment) is None,
        )
        self._measure_claim(claim, request, sender, attempt)
        match claim:
            case Claimed():
                return claim
            case ClaimHeld():
                return _already_claimed(claim)
            case NotBefore(moment, by_account=by_account):
                return _out_of_time(message, window, moment) or Deferred(
                    reserved_at=moment, by_account=by_account
                )
            case LimitUsed(rule=rule, until=until, max_wait=max_wait):
                limit = LimitReached(rule=rule, max_wait=max_wait)
                return WindowClosed(opens_at=until, limit=limit)
            case DuplicateOf():
                raise attempt.duplicate(claim)
            case Blocked():
                return self._blocked(claim, request, sender, attempt)
            case _:
                assert_never(claim)

    def _blocked(
        self, by: Blocked, request: SendRequest, sender: str, attempt: "_Attempt"
    ) -> NotSent:
        match by:
            case Blocked.PAUSED:
                return Paused()
            case Blocked.CAMPAIGN_CANCELED:
                return CampaignCanceled()
            case Blocked.ACCOUNT_HELD:
                hold = self._account_hold.find()
                return AccountHeld(error_code=None if hold is None else hold.error_code)
            case Blocked.NO_OPT_IN:
                self._hold_back(request, sender, None)
                return NoOptIn()
            case Blocked.SUPPRESSED:
                return self._suppressed(request, sender, attempt)
            case _:
                assert_never(by)

    def _measure_claim(
        self,
        claim: Claimed | NotClaimed,
        request: SendRequest,
        sender: str,
        attempt: "_Attempt",
    ) -> None:
        """Count what became of the claim, and at a message's first one, how long it must wait."""
        has_reservation = request.is_reserved or request.is_reserved_by_account
        wait: timedelta | None = None
        match claim:
            case Claimed():
                result, wait = ClaimResult.CLAIMED, timedelta(0)
            case NotBefore(moment):
                result = ClaimResult.REQUEUED if has_reservation else ClaimResult.DEFERRED
                wait = max(moment - datetime.now(UTC), timedelta(0))
            case ClaimHeld():
                result = ClaimResult.ALREADY_CLAIMED
            case LimitUsed():
                result = ClaimResult.LIMIT_REACHED
            case DuplicateOf():
                result = ClaimResult.DUPLICATE
            case Blocked():
                result = ClaimResult[claim.name]
            case _:
                assert_never(claim)
        self._metrics.count_claim(result)
        is_first = not (has_reservation or request.is_retry or attempt.is_repeated)
        if wait is not None and is_first:
            self._metrics.record_pacing_wait(sender, wait)

    def _suppressed(self, request: SendRequest, sender: str, attempt: "_Attempt") -> Suppressed:
        message = request.message
        found = self._suppressions.find(message.to, sender=sender, category=message.category)
        if found is None:
            raise attempt.failure(
                FailureClass.TEMPORARILY_UNAVAILABLE,
                "Consent changed while it was being read; nothing was sent.",
            )
        self._hold_back(request, sender, found)
        return Suppressed(reason=found.reason)

    def _hold_back(self, request: SendRequest, sender: str, because: Suppression | None) -> None:
        """Keep as evidence that it was not sent, unless a submission of it may have been."""
        if request.submission == 1:
            self._held_back.record(
                request.message_id, request.message, sender=sender, because=because
            )

    def _post(
        self, request: SendRequest, attempt: "_Attempt", claim: Claimed, *, is_connected: bool
    ) -> SendResult:
        """Make the POST; if Twilio does not have the message, return the claim."""
        sender = attempt.sender or ""
        try:
            if not is_connected:
                raise attempt.not_reached()
            latest = attempt.latest_start()
            with tracing.span("POST to Twilio", request.message_id, kind="client"):
                sent = self._create(request, attempt, latest=latest)
                tracing.annotate(twilio__message_sid=sent.message_sid)
        except ApplicationError as error:
            self._metrics.count_submission(error.type, sender)
            if error.type != FailureClass.OUTCOME_UNKNOWN:
                self._record_refusal(request, claim)
            detail: SendFailureDetail = error.details[0]
            if detail.http_status is not None:
                self._metrics.count_error(detail.error_code)
                if codes.concerns_account(detail.http_status, detail.error_code):
                    return attempt.result(self._hold_account(detail.error_code), is_made=True)
                # A 429 or a 5xx does not show that Twilio takes the account's requests.
                if error.type not in {*RETRYABLE, FailureClass.OUTCOME_UNKNOWN}:
                    self._end_hold(claim)
            raise
        self._metrics.count_submission(ACCEPTED, sender)
        _logger.info(
            "Sent",
            extra={
                "message_id": request.message_id,
                "twilio_sid": sent.message_sid,
                "attempt": attempt.number,
                "sender": masked_sender(attempt.sender or ""),
            },
        )
        self._end_hold(claim)
        if claim.was_unreachable:
            sent = sent.model_copy(update={"was_unreachable": True})
        return attempt.result(sent, is_made=True)

    def _hold_account(self, error_code: int | None) -> AccountHeld:
        # If this fails, each message is refused by Twilio and begins the hold.
        with contextlib.suppress(DatabaseUnavailable):
            if self._account_hold.begin(error_code):
                _logger.error(
                    "Twilio refuses this account's requests (code %s): messages wait. %s",
                    error_code,
                    codes.advice_for(FailureClass.SENDER_MISCONFIGURED, error_code),
                )
        return AccountHeld(error_code=error_code)

    def _end_hold(self, claim: Claimed) -> None:
        if claim.is_account_try:
            # If this fails, the next try ends the hold.
            with contextlib.suppress(DatabaseUnavailable):
                self._account_hold.end()
                _logger.warning("Twilio takes this account's requests again: messages are sent.")

    def _create(self, request: SendRequest, attempt: "_Attempt", *, latest: Instant) -> Sent:
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
        except requests.RequestException as error:
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

    def _refused(self, error: TwilioException, attempt: "_Attempt") -> ApplicationError:
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


class _Attempt:
    """This attempt of the activity: its number, its own deadline, and how it fails."""

    def __init__(self, request: SendRequest, sender: str | None, policy: PolicySnapshot) -> None:
        self.sender = sender
        self._info = activity.info()
        self._started = Instant.now()
        self._request = request
        self._policy = policy
        self._deadline = request.deadline or request.requested_at + policy.retry_budget
        self._before = request.earlier_attempts + self._info.attempt - 1
        self.number = self._before + 1
        self.is_repeated = self._info.attempt > 1
        self.checked_at = 0.0
        """When consent was checked, by `time.perf_counter`."""

    def check_clock(self) -> None:
        """Fail if this worker's clock differs from Temporal's; its sender's time is not used."""
        # A regular activity has the server's own time: see `is_clock_wrong`.
        if not self._info.is_local or self.is_repeated:
            return
        if abs(datetime.now(UTC) - self._request.requested_at) > MAX_SKEW:
            raise self.failure(
                FailureClass.TEMPORARILY_UNAVAILABLE,
                "The worker's clock differs from Temporal's, or it was too slow to start; nothing "
                "was sent.",
                final=True,  # the task queue may find another worker
                is_made=False,
            )

    def is_clock_wrong(self) -> bool:
        """Whether Temporal started this attempt at a time that cannot be right by our clock.

        Then it is no attempt, and a worker whose clock is right makes it.
        """
        if self._info.is_local:
            return False
        took = timedelta(seconds=Instant.now().seconds_since(self._started))
        skew = datetime.now(UTC) - self._info.started_time - took
        return not -MAX_SKEW <= skew <= LATEST_POST_START

    def latest_start(self) -> Instant:
        """Return until when the POST may begin; fail if that has passed.

        A frozen worker may thaw in the middle of an attempt that Temporal has given up: the
        workflow would not know of its POST. Or the message expires while the worker is frozen. So
        the connection checks this time again immediately before the first byte.
        """
        # In this order, so that a freeze between the two shortens the time that is left.
        instant, now = Instant.now(), datetime.now(UTC)
        # Two measures: our clock against the start time, which is the server's unless the activity
        # is local, and our own elapsed time.
        age = max(
            now - self._info.started_time, timedelta(seconds=instant.seconds_since(self._started))
        )
        if age > LATEST_POST_START or now - self._info.started_time < -MAX_SKEW:
            raise self.failure(
                FailureClass.TEMPORARILY_UNAVAILABLE,
                "The worker reached this attempt too late to begin its POST, or its clock differs "
                "from Temporal's; nothing was sent.",
            )
        if now >= self._deadline:
            raise self.failure(
                FailureClass.TEMPORARILY_UNAVAILABLE,
                "The retry budget ended before this attempt; nothing was sent.",
                final=True,
            )
        ends = [self._deadline, self._request.message.expires_at]
        left = min(LATEST_POST_START - age, *(end - now for end in ends if end is not None))
        return instant.after(left.total_seconds())

    def result(self, decision: Sent | NotSent, *, is_made: bool = False) -> SendResult:
        """The activity's result; only a POST counts as an attempt, also one of an earlier run."""
        attempts = self.number if is_made else self._before
        if isinstance(decision, AlreadyClaimed):
            attempts = max(attempts, decision.attempts)
        return SendResult(
            attempts=attempts,
            sender=self.sender,
            policy=self._policy,
            decision=decision,
        )

    def report_to(self, report: Callable[[AttemptFailed], None], error: ApplicationError) -> None:
        """Report a failed attempt that Temporal will repeat.

        A local activity cannot: its workflow takes in nothing while the workflow task lasts.
        """
        if not self._info.is_local:
            report(
                AttemptFailed(
                    attempts=self.number,
                    error_code=error.details[0].error_code,
                    next_attempt_at=datetime.now(UTC) + (error.next_retry_delay or timedelta(0)),
                )
            )

    def not_reached(self) -> ApplicationError:
        """There is no connection to Twilio."""
        return self.failure(
            FailureClass.TEMPORARILY_UNAVAILABLE,
            "Twilio could not be reached in time; nothing was sent.",
        )

    def duplicate(self, other: DuplicateOf) -> ApplicationError:
        """The other message has the same content, for the same person."""
        return self.failure(
            FailureClass.DUPLICATE,
            f"Message {other.message_id} with the same content was sent to the same person at "
            f"{other.started_at:%Y-%m-%d %H:%M:%S} UTC; nothing was sent.",
            duplicate_of=other.message_id,
            is_made=False,
        )

    def _is_last_quick_one(self, wait: timedelta) -> bool:
        """Whether the next attempt is for the workflow to begin, after this wait."""
        max_wait = self._request.max_retry_wait
        if max_wait is None:
            return False
        next_after = datetime.now(UTC) + wait - self._request.requested_at
        return wait > max_wait or next_after > MAX_QUICK_TIME

    def failure(
        self,
        failure_class: FailureClass,
        text: str,
        *,
        code: int | None = None,
        http_status: int | None = None,
        retry_after: timedelta | None = None,
        final: bool = False,
        is_made: bool = True,
        duplicate_of: str | None = None,
    ) -> ApplicationError:
        """The activity's error. `text` must be ours: Twilio's own texts repeat numbers."""
        wait = None
        if failure_class in RETRYABLE:
            least = max(timedelta(seconds=codes.delay_for(code)), retry_after or timedelta(0))
            wait = SEND_BACKOFF.wait(self.number, at_least=least)
            final = final or self._is_last_quick_one(wait)
        return ApplicationError(
            text,
            SendFailureDetail(
                error_code=code,
                http_status=http_status,
                attempts=self.number if is_made else self._before,
                retry_after=wait,
                duplicate_of=duplicate_of,
                sender=self.sender,
                policy=self._policy,
            ),
            type=failure_class.value,
            non_retryable=final,
            next_retry_delay=wait,
            # Throttling and outages are expected: the retry policy handles them, and they are no
            # errors of the worker.
            category=ApplicationErrorCategory.BENIGN
            if failure_class in RETRYABLE
            else ApplicationErrorCategory.UNSPECIFIED,
        )


def _already_claimed(held: ClaimHeld) -> AlreadyClaimed:
    return AlreadyClaimed(claimed_at=held.started_at, attempts=held.attempts)


def _out_of_time(
    message: MessageRequest, window: SendWindow | None, now: datetime
) -> Expired | InvalidWindow | WindowClosed | None:
    """Its time may have passed, or its window be closed."""
    problem = None if window is None else window_problem(window, message.to)
    if problem is not None:
        return _invalid(message, window, problem)
    if message.expires_at is not None and now >= message.expires_at:
        return Expired()
    try:
        opens_at = now if window is None else opening(window, message.to, now)
    except NeverOpens as error:
        return _invalid(message, window, str(error))
    if opens_at <= now:
        return None
    if message.expires_at is not None and opens_at >= message.expires_at:
        return Expired()
    return WindowClosed(opens_at=opens_at)


def _invalid(message: MessageRequest, window: SendWindow | None, problem: str) -> InvalidWindow:
    if window != message.send_window:  # the caller may know nothing of the setting
        problem = f"with the quiet hours of its category: {problem}"
    return InvalidWindow(problem=problem)


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


def _not_answered(error: requests.RequestException, attempt: _Attempt) -> ApplicationError:
    """The connection failed: before anything was sent, or possibly after."""
    if never_connected(error):
        return attempt.not_reached()
    return attempt.failure(
        FailureClass.OUTCOME_UNKNOWN,
        f"The connection failed after the request may have been sent ({type(error).__name__}).",
    )


def _sent(created: MessageInstance, attempt: _Attempt) -> Sent:
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
