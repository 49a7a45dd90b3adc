"""The send activity: the checks, then one POST, then the name of what happened."""

import contextlib
import logging
import time
from collections.abc import Callable, Collection, Container, Mapping
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import assert_never

from temporalio.exceptions import ApplicationError

from activities.attempt import Attempt
from activities.listing import accepted_rows
from activities.post import MessagePost
from activities.threads import in_thread
from signedfor import tracing
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
    Suppressed,
    WindowClosed,
    WrongClock,
)
from signedfor.outage_hold import OutageHold
from signedfor.quiet_hours import with_quiet_hours
from signedfor.recipient_rules import recipient_problem
from signedfor.send_windows import NeverOpens, opening, window_problem
from signedfor.store.account_hold import AccountHold
from signedfor.store.claim_statements import Blocked
from signedfor.store.database import DatabaseUnavailable
from signedfor.store.duplicates import DuplicateOf
from signedfor.store.held_back_messages import HeldBackMessages
from signedfor.store.limit_usage import LimitUsed
from signedfor.store.send_attempts import Claimed, ClaimHeld, NotBefore, NotClaimed, SendAttempts
from signedfor.store.suppressions import Suppressions
from signedfor.twilio import codes
from signedfor.twilio.client import TWILIO_ERRORS, TwilioClient
from signedfor.worker_metrics import ACCEPTED, ClaimResult, WorkerMetrics

_logger = logging.getLogger("signedfor.send")

CountAccepted = Callable[[str, str, int], None]
"""Takes in the sender, the recipient and the segments of a submission that Twilio took."""


def count_nothing(_sender: str, _to: str, _segments: int) -> None:
    """Nobody counts."""


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
        count_accepted: CountAccepted = count_nothing,
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
        self._message_post = MessagePost(client, status_url=public_base_url + STATUS_PATH)
        self._default_sender = default_sender
        self._policy = policy
        self._report = report
        self._metrics = metrics
        self._count_accepted = count_accepted

    @in_thread
    def send(self, request: SendRequest) -> SendResult:
        """Send the message unless it must wait, is suppressed, or has expired.

        Raises:
            ApplicationError: its type is the failure class, its detail a `SendFailureDetail`. Only
                `TemporarilyUnavailable` may be retried; it sets the wait itself.
        """
        attempt = Attempt(request, request.sender or self._default_sender, self._policy)
        try:
            return self._send(request, attempt)
        except ApplicationError as error:
            if not error.non_retryable and error.type in RETRYABLE:
                attempt.report_to(self._report, error)
            raise

    def _send(self, request: SendRequest, attempt: Attempt) -> SendResult:
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

    def _decide(self, request: SendRequest, attempt: Attempt) -> Claimed | NotSent:
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

    def _is_listed(self, request: SendRequest, attempt: Attempt) -> bool:
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
        except TWILIO_ERRORS as error:
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
        self, request: SendRequest, sender: str, window: SendWindow | None, attempt: Attempt
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

    def _blocked(self, by: Blocked, request: SendRequest, sender: str, attempt: Attempt) -> NotSent:
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
        attempt: Attempt,
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

    def _suppressed(self, request: SendRequest, sender: str, attempt: Attempt) -> Suppressed:
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
        self, request: SendRequest, attempt: Attempt, claim: Claimed, *, is_connected: bool
    ) -> SendResult:
        """Make the POST; if Twilio does not have the message, return the claim."""
        sender = attempt.sender or ""
        try:
            if not is_connected:
                raise attempt.not_reached()
            latest = attempt.latest_start()
            with tracing.span("POST to Twilio", request.message_id, kind="client"):
                sent = self._message_post.make(request, attempt, latest=latest)
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
        self._count_accepted(sender, request.message.to, sent.segments or request.segments)
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
