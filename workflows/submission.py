"""The send: quick attempts, patient attempts, and the resolution of an unknown outcome.

Each attempt checks opt-outs, passes the rate limiter and claims the submission in one transaction,
and posts at once (`activities/send.py`).
"""

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, auto
from typing import assert_never

from temporalio import workflow
from temporalio.exceptions import (
    ActivityError,
    ApplicationError,
    CancelledError,
    TimeoutError,  # noqa: A004 - Temporal's own name for it
    TimeoutType,
)

from signedfor.advice import WaitsFor
from signedfor.contract import OnUnknownOutcome, Outcome, Stage
from signedfor.contract.failures import RETRYABLE, FailureClass
from signedfor.message_activities import (
    Absent,
    AccountHeld,
    AlreadyClaimed,
    Ambiguous,
    CampaignCanceled,
    DatabaseAway,
    Deferred,
    Expired,
    Found,
    InvalidRecipient,
    InvalidWindow,
    Listed,
    NeverSubmitted,
    NoOptIn,
    NoSender,
    NotYet,
    Paused,
    SearchRequest,
    SendFailureDetail,
    SendRequest,
    SendResult,
    Sent,
    Submission,
    Suppressed,
    WindowClosed,
    WrongClock,
)
from signedfor.payloads import invalid_input
from signedfor.retry import (
    ABSENT_SEARCHES_NEEDED,
    MAX_QUICK_WAIT,
    MAX_RESENDS,
    MAX_SEARCHES,
    MAX_WAIT_FACTOR,
    SEND_TIMEOUT,
)
from signedfor.twilio.rates import rate_limited_segments
from signedfor.twilio.segments import count_segments
from workflows import activity_stubs, outcomes
from workflows.message_state import MessageState, Submitted
from workflows.outcomes import Ended, Proceed
from workflows.status_view import after_code, summary_of_wait
from workflows.waits import wait_for_turn


@dataclass(frozen=True, kw_only=True)
class SendFailure:
    """Why a send made no submission."""

    failure_class: FailureClass
    attempts: int
    error_code: int | None = None
    retry_after: timedelta | None = None
    duplicate_of: str | None = None
    """The other message, for a duplicate."""
    is_canceled: bool = False
    """It was canceled before an attempt or between two: none is under way."""

    @property
    def next_attempt_at(self) -> datetime:
        """When it may be tried again, for a retryable class."""
        return workflow.now() + (MAX_QUICK_WAIT if self.retry_after is None else self.retry_after)


@dataclass(frozen=True)
class Unresolved:
    """It is not known whether Twilio has accepted the message."""

    is_posted: bool = True
    """Whether a POST of the newest submission was made, or may have been."""
    posted_by: datetime | None = None
    """When that POST has ended for certain, if another attempt may still be making it."""


class Resolution(Enum):
    """What is known now of an unknown outcome, unless Twilio has the message."""

    NOT_ACCEPTED = auto()
    """Neither a callback nor Twilio's list has it."""
    NEVER_SUBMITTED = auto()
    """Twilio does not have it, by our own record: no POST was made, or it was refused."""
    UNRESOLVED = auto()
    """It could not be found out."""


async def check_opt_outs_and_send(state: MessageState, due: Proceed | Ended) -> Submitted | Ended:
    """Submit the message to Twilio under the retry policy, unless the recipient has opted out.

    It is sent again only if nothing says that Twilio accepted it: never blindly. Nor does it end as
    not sent, now or while it was waiting to be `due`, if an earlier run may have sent it.
    """
    segments = count_segments(state.request.body or "").count
    state.segments = rate_limited_segments(state.request.to, segments)
    state.sender = state.sender or state.request.sender
    state.queue_again()
    while True:
        result = await _send_in_turn(state) if isinstance(due, Proceed) else due
        due = Proceed()
        if isinstance(result, Ended):
            result = await _claimed_by_earlier_run(state, result) or result
        if not isinstance(result, Unresolved):
            return result
        resolution = await _resolve(state, result)
        if isinstance(resolution, Submitted):
            return resolution
        decided = _decide_on_resend(state, resolution, is_posted=result.is_posted)
        if isinstance(decided, Ended):
            return decided


def _decide_on_resend(
    state: MessageState, resolution: Resolution, *, is_posted: bool
) -> Proceed | Ended:
    """Whether a message that was not found is sent again."""
    if resolution is Resolution.UNRESOLVED:
        return outcomes.unknown(resends=state.unconfirmed)
    if resolution is Resolution.NEVER_SUBMITTED:
        state.is_outcome_unknown = state.unconfirmed > 0
    if state.is_cancel_requested:
        return state.canceled()
    if state.expires_by(workflow.now()):
        return state.expired()
    if resolution is Resolution.NOT_ACCEPTED and is_posted:
        policy = state.request.unknown_outcome_policy
        if policy is OnUnknownOutcome.DEAD_LETTER or state.unconfirmed == MAX_RESENDS:
            return outcomes.unknown(resends=state.unconfirmed)
        state.unconfirmed += 1
        state.resends += 1
    return Proceed()


async def _claimed_by_earlier_run(state: MessageState, ended: Ended) -> Unresolved | None:
    """The claim of an earlier run of this workflow, which a reset or a restore has cut off.

    Each attempt finds it. But a message that expires, is canceled or uses up its retry budget ends
    without one.
    """
    if ended.failure_class not in RETRYABLE and ended.outcome not in _WITHOUT_ATTEMPT:
        return None
    submission = Submission(message_id=state.message_id, submission=state.submission)
    claim = await activity_stubs.find_claim(submission)
    return None if claim is None else _already_claimed(state, claim)


_WITHOUT_ATTEMPT = frozenset({Outcome.EXPIRED, Outcome.CANCELED})


def _already_claimed(state: MessageState, claim: AlreadyClaimed) -> Unresolved:
    state.attempts = max(state.attempts, claim.attempts)
    state.set_outcome_unknown(since=claim.claimed_at)
    return Unresolved(posted_by=claim.claimed_at + SEND_TIMEOUT)


async def _send_in_turn(state: MessageState) -> Submitted | Unresolved | Ended:
    """Send it; if the last check says to wait, wait and try again."""
    while True:
        known = state.known_submission()
        if known is not None:
            return known
        # It may have expired during a wait. Without an attempt it is not known whether an earlier
        # run of the workflow has sent it in time.
        if state.has_policy and state.expires_by(workflow.now()):
            return state.expired()
        started_at = workflow.now()
        result = await _send_under_policy(state)
        if isinstance(result, SendResult):
            settled = await _settle(state, result)
            if not isinstance(settled, Proceed):
                return settled
        elif result.failure_class is FailureClass.OUTCOME_UNKNOWN:
            state.set_outcome_unknown(since=started_at)
            if state.sender is not None:
                return Unresolved()
            # The next attempt finds the claim, and reports the sender.
        elif not state.is_with_twilio:
            return _failed(state, result)


async def _settle(
    state: MessageState, result: SendResult
) -> Submitted | Unresolved | Ended | Proceed:
    """Handle a send that did not fail; after a wait it proceeds to another attempt."""
    decision = result.decision
    if isinstance(decision, Sent):
        return _accepted(state, decision)
    if state.is_with_twilio:
        return Proceed()
    match decision:
        case AlreadyClaimed():
            return _already_claimed(state, decision)
        case Listed():
            return Unresolved(is_posted=False)
        case Deferred() | WindowClosed() | Paused() | DatabaseAway() | AccountHeld() | WrongClock():
            return await _wait(state, decision)
        case _:
            return _not_sent(state, decision)


def _not_sent(
    state: MessageState,
    decision: Suppressed
    | NoOptIn
    | Expired
    | NoSender
    | InvalidWindow
    | InvalidRecipient
    | CampaignCanceled,
) -> Ended:
    """The outcome of a message that may not be sent."""
    match decision:
        case Suppressed(reason=reason):
            return outcomes.suppressed(reason)
        case NoOptIn():
            return outcomes.no_opt_in()
        case Expired():
            return state.expired()
        case NoSender() | InvalidWindow() | InvalidRecipient() if (
            state.submitted_sids or state.is_outcome_unknown
        ):
            # Settings, time zones or number ranges have changed since it was submitted.
            return state.expired()
        case NoSender():
            raise invalid_input([("from", "is needed, because no DEFAULT_SENDER is set")])
        case InvalidWindow(problem=problem):
            raise invalid_input([("send_window", problem)])
        case InvalidRecipient(problem=problem):
            raise invalid_input([("to", problem)])
        case CampaignCanceled():
            return state.canceled()
        case _:
            assert_never(decision)


def _accepted(state: MessageState, sent: Sent) -> Submitted:
    state.segments = sent.segments or state.segments
    state.was_unreachable |= sent.was_unreachable
    submitted = state.adopt(sent.message_sid, sent.submitted_at, is_answered=True)
    if sent.status:
        state.record_status(sent.message_sid, sent.status, None)
    return submitted


async def _wait(state: MessageState, not_yet: NotYet) -> Proceed | Ended:
    started_at = workflow.now()
    waited = await wait_for_turn(state, not_yet)
    if state.retry_until is not None:  # waiting does not use up the retry budget
        state.retry_until += workflow.now() - started_at
    return waited


async def _send_under_policy(state: MessageState) -> SendResult | SendFailure:
    """Quick attempts, then patient ones, until the retry budget or the message's time ends."""
    before = state.attempts
    state.enter(Stage.SENDING, WaitsFor.ANSWER, until=_deadline(state))
    result = await _send(state, is_quick=True)
    if isinstance(result, SendResult) or result.is_canceled:
        return result
    if result.failure_class not in RETRYABLE:
        return result
    state.error_code = result.error_code
    next_attempt_at, deadline = result.next_attempt_at, _deadline(state)
    # Without an attempt the worker had no place for it, and the task queue has.
    stage = Stage.RETRYING if result.attempts > before else Stage.SENDING
    if deadline is not None and next_attempt_at >= deadline:
        state.enter(stage, WaitsFor.NEXT_ATTEMPT, until=deadline)
        return result
    if next_attempt_at > workflow.now():
        state.enter(stage, WaitsFor.NEXT_ATTEMPT, until=next_attempt_at)
        await state.pause(next_attempt_at, WaitsFor.NEXT_ATTEMPT, then=after_code(state.error_code))
    if state.is_interrupted:
        return result
    state.enter(stage, WaitsFor.ANSWER, until=deadline)
    return await _send(state, is_quick=False)


def _deadline(state: MessageState) -> datetime | None:
    """End of the retry budget, or of the message's time; None while the budget is not known."""
    if state.retry_until is None and not state.has_policy:
        return None
    deadline = state.retry_until or workflow.now() + state.policy.retry_budget
    expires_at = state.request.expires_at
    return deadline if expires_at is None else min(deadline, expires_at)


async def _send(state: MessageState, *, is_quick: bool) -> SendResult | SendFailure:
    before, deadline, started_at = state.attempts, _deadline(state), workflow.now()
    unavailable = FailureClass.TEMPORARILY_UNAVAILABLE
    if state.is_cancel_requested:
        return SendFailure(failure_class=unavailable, attempts=before, is_canceled=True)
    if deadline is not None and started_at >= deadline:
        # Temporal refuses to schedule an activity whose timeout is not positive.
        return SendFailure(failure_class=unavailable, attempts=before, error_code=state.error_code)
    request = SendRequest(
        message_id=state.message_id,
        submission=state.submission,
        message=state.request,
        sender=state.sender,
        requested_at=started_at,
        deadline=deadline,
        segments=state.segments,
        is_reserved=state.reserved_at is not None,
        is_reserved_by_account=state.is_reserved_by_account,
        is_retry=state.is_retry,
        earlier_attempts=before,
        max_retry_wait=MAX_QUICK_WAIT if is_quick else None,
        # Also after a later submission was accepted: Twilio may list an earlier one by now.
        unresolved_since=state.unknown_since if state.resends else None,
        unresolved_from=state.unresolved_from,
        listed_sids=(*state.submitted_sids, *state.listed_sids),
    )
    scheduled_at = workflow.info().get_current_history_length()
    state.sending = (
        activity_stubs.start_sending_now(request)
        if is_quick
        else activity_stubs.start_sending(
            request, summary=f"attempts from number {before + 1} on{after_code(state.error_code)}"
        )
    )
    try:
        result = await state.sending
    except asyncio.CancelledError:
        # The SDK raises this instead of an ActivityError where an activity is canceled in the very
        # workflow task that started it, and is never scheduled; and where the same task brings its
        # end, which is then lost.
        if not state.is_interrupted:
            raise
        if workflow.info().get_current_history_length() == scheduled_at:
            return SendFailure(failure_class=unavailable, attempts=before, is_canceled=True)
        return SendFailure(failure_class=FailureClass.OUTCOME_UNKNOWN, attempts=before + 1)
    except activity_stubs.LOCAL_FAILURES as error:
        failure, detail = _failure_of(error, attempts_before=before)
        state.attempts = max(state.attempts, failure.attempts)
        if detail is not None:
            state.learn(detail.sender, detail.policy)
        if failure.attempts > before:
            _begin_retries(state, started_at)
        return failure
    finally:
        state.sending = None
    state.learn(result.sender, result.policy)
    if result.attempts > before and isinstance(result.decision, NotYet):
        _begin_retries(state, started_at)
    state.attempts = max(state.attempts, result.attempts)
    return result


def _begin_retries(state: MessageState, started_at: datetime) -> None:
    """An attempt had its turn and failed; its retry budget has begun."""
    state.is_retry = True
    if state.retry_until is None and state.has_policy:
        state.retry_until = started_at + state.policy.retry_budget


def _failure_of(
    error: BaseException, *, attempts_before: int
) -> tuple[SendFailure, SendFailureDetail | None]:
    """The failure class of a send activity that failed, and what it reports.

    Terminal classes and a lost worker arrive here at once, `TemporarilyUnavailable` when the policy
    has ended. The activity gives a class to every error after a POST has started, so an error
    without one comes from before the POST: nothing was sent.
    """
    unavailable = FailureClass.TEMPORARILY_UNAVAILABLE
    cause = error.cause if isinstance(error, ActivityError) else error
    attempts = attempts_before + 1
    if isinstance(cause, CancelledError):
        failure = SendFailure(failure_class=unavailable, attempts=attempts_before, is_canceled=True)
        return failure, None
    if isinstance(cause, TimeoutError):
        if cause.type is TimeoutType.SCHEDULE_TO_START:  # no worker picked it up
            failure = SendFailure(
                failure_class=unavailable, attempts=attempts_before, retry_after=timedelta(0)
            )
            return failure, None
        return SendFailure(failure_class=FailureClass.OUTCOME_UNKNOWN, attempts=attempts), None
    if not isinstance(cause, ApplicationError) or cause.type not in set(FailureClass):
        return SendFailure(failure_class=unavailable, attempts=attempts), None
    failure_class = FailureClass(cause.type)
    if not cause.details:
        return SendFailure(failure_class=failure_class, attempts=attempts), None
    detail = SendFailureDetail.model_validate(cause.details[0])
    failure = SendFailure(
        failure_class=failure_class,
        attempts=detail.attempts,
        error_code=detail.error_code,
        retry_after=detail.retry_after,
        duplicate_of=detail.duplicate_of,
    )
    return failure, detail


def _failed(state: MessageState, failure: SendFailure) -> Ended:
    """The outcome of a send that Twilio refused or that could not be made."""
    state.error_code = failure.error_code
    if failure.failure_class in RETRYABLE:
        if state.is_cancel_requested:
            return state.canceled()
        if state.expires_by(failure.next_attempt_at):
            return outcomes.expired(after=failure.failure_class, error_code=failure.error_code)
    if failure.duplicate_of is not None:
        return outcomes.duplicate(failure.duplicate_of)
    return outcomes.refused(failure.failure_class, failure.error_code)


async def _resolve(state: MessageState, unresolved: Unresolved) -> Submitted | Resolution:
    """Wait for a callback, which names our message and the SID; then search Twilio's list, twice.

    Twilio may list a message some time after the connection of its create call broke, so one search
    does not prove that it is absent.
    """
    absent = 0
    for number in range(MAX_SEARCHES):
        search_at = max(
            workflow.now() + _wait_before(state, number), unresolved.posted_by or workflow.now()
        )
        state.enter(Stage.RESOLVING, WaitsFor.SID, until=search_at)
        if await state.wait_until(
            search_at,
            lambda: state.unexpected_sid() is not None,
            summary=summary_of_wait(
                "a callback", search_at, then=f", then search {number + 1} of Twilio's list"
            ),
        ):
            break
        result = await activity_stubs.find_message(_search_request(state))
        if state.unexpected_sid() is not None:
            break
        if result is None:
            continue
        match result.finding:
            case Found() as found:
                submitted = state.adopt(found.message_sid, found.created_at)
                state.record_status(found.message_sid, found.status, found.error_code)
                return submitted
            case NeverSubmitted():
                return Resolution.NEVER_SUBMITTED
            case Absent(listed_sids=listed_sids):
                state.listed_sids = listed_sids
                absent += 1
                if absent == ABSENT_SEARCHES_NEEDED:
                    return Resolution.NOT_ACCEPTED
            case Ambiguous():
                pass
            case _:
                assert_never(result.finding)
    sid = state.unexpected_sid()
    return Resolution.UNRESOLVED if sid is None else state.adopt(sid, workflow.now())


def _wait_before(state: MessageState, search: int) -> timedelta:
    """The setting's wait before the first searches, then longer ones."""
    wait = state.policy.unknown_wait
    doublings = max(0, search - ABSENT_SEARCHES_NEEDED)
    longer: timedelta = wait * 2**doublings
    return min(longer, wait * MAX_WAIT_FACTOR)


def _search_request(state: MessageState) -> SearchRequest:
    return SearchRequest(
        message_id=state.message_id,
        unresolved_from=state.unresolved_from,
        message=state.request,
        sender=state.sender or "",
        since=state.unknown_since or workflow.now(),
        own_sids=state.submitted_sids,
    )
