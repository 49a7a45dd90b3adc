"""The send: quick tries, patient tries, and what their end means."""

import asyncio
from datetime import datetime

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError

from signedfor.contract import OnUnknownOutcome, Stage
from signedfor.contract.failures import RETRYABLE, FailureClass
from signedfor.retry import LONGEST_QUICK_WAIT, MOST_RESENDS, PATIENT_SEND, QUICK_SEND
from signedfor.steps import Decision, SendRequest, Submission
from workflows import calls, endings
from workflows.admitting import check_opt_outs
from workflows.course import Course
from workflows.endings import Ending
from workflows.finding_out import Fate, find_out
from workflows.trouble import (
    Trouble,
    canceled_trouble,
    overdue_trouble,
    trouble_in,
    unheard_trouble,
)
from workflows.turns import OUT_OF_TURN, wait_for_turn


async def send(course: Course) -> Ending | None:
    """Submit the message to Twilio; None when Twilio has it.

    It is sent again only when nothing says that Twilio took it: never blindly.
    """
    resends = 0
    while True:
        sent = await _submit_in_turn(course)
        if not isinstance(sent, Trouble):
            return sent if isinstance(sent, Ending) else _submitted(course, sent)
        if sent.failure_class is not FailureClass.OUTCOME_UNKNOWN:
            return _not_submitted(course, sent)
        fate = await find_out(course, since=course.unknown_since or workflow.now())
        if fate is Fate.TAKEN:
            return None
        if fate is Fate.OPEN:
            break
        # As far as anybody can tell Twilio does not have it.
        course.fate_is_open = fate is not Fate.NOT_SUBMITTED
        over = _over(course)
        if over is not None:
            return over
        if fate is Fate.NOT_SUBMITTED:
            continue
        if (
            course.request.unknown_outcome_policy is OnUnknownOutcome.DEAD_LETTER
            or resends == MOST_RESENDS
        ):
            break
        resends += 1
    return endings.unknown()


def _over(course: Course) -> Ending | None:
    if course.cancel_asked:
        return endings.canceled()
    return course.expired() if course.expires_by(workflow.now()) else None


async def _submit_in_turn(course: Course) -> Submission | Trouble | Ending:
    """Submit it as often as the last check finds that it is not its turn."""
    while True:
        after_all = course.after_all()
        if after_all is not None:
            return after_all
        # Time may have passed unseen: while no worker was up, or while its wait lasted.
        if course.expires_by(workflow.now()):
            return course.expired()
        started_at = workflow.now()
        sent = await _submit_under_policy(course)
        if isinstance(sent, Trouble) and sent.failure_class is FailureClass.OUTCOME_UNKNOWN:
            course.unknown_since, course.fate_is_open = course.unknown_since or started_at, True
            return sent
        if isinstance(sent, Submission) and sent.decision is Decision.GO:
            return sent
        if course.has_news:
            continue  # whatever became of this one, Twilio has it
        if isinstance(sent, Trouble) or sent.decision not in OUT_OF_TURN:
            return sent
        ending = await _wait(course, sent)
        if ending is not None:
            return ending


async def _wait(course: Course, refused: Submission) -> Ending | None:
    started_at = workflow.now()
    ending = await wait_for_turn(course, refused)
    if course.retries_end is not None:  # to wait for its turn is no failure
        course.retries_end += workflow.now() - started_at
    if ending is None and refused.decision is Decision.CLOSED and not course.has_news:
        return await check_opt_outs(course)
    return ending


async def _submit_under_policy(course: Course) -> Submission | Trouble:
    """A few quick tries, then patient ones until the budget or the message's time ends."""
    deadline = course.retries_end or workflow.now() + course.terms.retry_budget
    if course.request.expires_at is not None:
        deadline = min(deadline, course.request.expires_at)
    course.standing.enter(Stage.SENDING, "Twilio to take it", until=deadline)
    sent = await _submit(course, QUICK_SEND, deadline)
    if isinstance(sent, Submission) or sent.canceled or sent.failure_class not in RETRYABLE:
        return sent
    course.standing.error_code = sent.detail.error_code
    again_at = workflow.now() + (sent.detail.retry_after or LONGEST_QUICK_WAIT)
    course.standing.enter(Stage.RETRYING, "its next try", until=min(again_at, deadline))
    if again_at >= deadline:
        return sent
    await course.pause(again_at)
    if course.is_interrupted:
        return sent
    course.standing.enter(Stage.RETRYING, "Twilio to take it", until=deadline)
    return await _submit(course, PATIENT_SEND, deadline)


async def _submit(course: Course, policy: RetryPolicy, deadline: datetime) -> Submission | Trouble:
    before = course.standing.attempts
    if course.cancel_asked:
        return canceled_trouble(attempts=before)
    if workflow.now() >= deadline:
        # It may be long ago: Temporal would refuse to schedule what must be over by then.
        return overdue_trouble(attempts=before, error_code=course.standing.error_code)
    request = SendRequest(
        message_id=course.standing.message_id,
        message=course.request,
        sender=course.sender,
        deadline=deadline,
        segments=course.segments,
        is_retry=course.is_retry,
        earlier_attempts=before,
        hand_back_after=LONGEST_QUICK_WAIT if policy is QUICK_SEND else None,
    )
    begun = workflow.info().get_current_history_length()
    course.sending = calls.start_sending(request, policy=policy, within=deadline - workflow.now())
    try:
        submission = await course.sending
    except asyncio.CancelledError:
        # The SDK raises this instead of an ActivityError where an activity is canceled in the very
        # workflow task that started it, and is never scheduled; and where the same task brings its
        # end, which is then not told.
        if not course.is_interrupted:
            raise
        if workflow.info().get_current_history_length() == begun:
            return canceled_trouble(attempts=before)
        return unheard_trouble(attempts=before + 1)
    except ActivityError as error:
        trouble = trouble_in(error, attempts_before=before)
        course.standing.attempts = trouble.detail.attempts
        course.is_retry, course.retries_end = True, deadline
        return trouble
    finally:
        course.sending = None
    if submission.attempts > before and submission.decision in OUT_OF_TURN:
        course.is_retry, course.retries_end = True, deadline
    course.standing.attempts = submission.attempts
    return submission


def _submitted(course: Course, submission: Submission) -> Ending | None:
    match submission.decision:
        case Decision.SUPPRESSED:
            return endings.suppressed(submission.suppressed_by)
        case Decision.EXPIRED:
            return course.expired()
        case Decision.CANCELED:
            return endings.canceled()
        case _:
            sid = submission.message_sid or ""
            course.segments = submission.segments or course.segments
            course.adopt(sid, submission.submitted_at)
            if submission.status:
                course.note(sid, submission.status, None)
            return None


def _not_submitted(course: Course, trouble: Trouble) -> Ending:
    code = trouble.detail.error_code
    course.standing.error_code = code
    if trouble.failure_class in RETRYABLE:
        if course.cancel_asked:
            return endings.canceled()
        again_at = workflow.now() + (trouble.detail.retry_after or LONGEST_QUICK_WAIT)
        if course.expires_by(again_at):
            return endings.expired(after=trouble.failure_class, error_code=code)
    return endings.refused(trouble.failure_class, code)
