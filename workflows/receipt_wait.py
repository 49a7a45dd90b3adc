"""After the send: the wait for a receipt, and perhaps for another try."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from temporalio import workflow

from signedfor.contract import Stage
from signedfor.contract.failures import FailureClass
from signedfor.twilio import codes
from workflows import calls, endings
from workflows.course import Course
from workflows.endings import Ending


async def await_receipt(course: Course) -> Ending | None:
    """Wait for the final word; None when the message is worth another try later."""
    timeout_at = workflow.now() + course.request.receipt_timeout
    course.standing.error_code = None
    course.standing.enter(Stage.AWAITING_RECEIPT, "a receipt from Twilio", until=timeout_at)
    for moment in _moments_to_ask(course, timeout_at):
        if await course.until(moment, lambda: course.receipt() is not None):
            break
        await _ask_twilio(course)
        if course.receipt() is not None:
            break
        course.standing.show()  # overdue: it may last
    receipt = course.receipt()
    if receipt is None:
        return endings.no_receipt(course.sids[-1])
    if receipt.says_delivered:
        return endings.delivered(receipt)
    course.standing.error_code = receipt.error_code
    ending = endings.not_delivered(receipt)
    return None if _worth_another_try(course, ending) else ending


async def wait_to_try_again(course: Course) -> Ending | None:
    """A passing trouble at the recipient's end: later, as a new Twilio message."""
    code = course.standing.error_code
    course.later_tries += 1
    again_at = workflow.now() + _delay(code)
    course.standing.enter(Stage.DELAYED, "its next try as a new message", until=again_at)
    return await course.pause(again_at, error_code=code)


def _moments_to_ask(course: Course, timeout_at: datetime) -> Iterator[datetime]:
    begun = workflow.now()
    for after in course.terms.receipt_checks:
        if begun + after < timeout_at:
            yield begun + after
    yield timeout_at


async def _ask_twilio(course: Course) -> None:
    sid = course.sids[-1]
    answer = await calls.look_up(sid)
    if answer is not None and answer.status is not None:
        course.note(sid, answer.status, answer.error_code)


def _worth_another_try(course: Course, ending: Ending) -> bool:
    if ending.failure_class is not FailureClass.DELIVERY_DELAYED:
        return False
    in_time = not course.expires_by(workflow.now() + _delay(ending.error_code))
    return in_time and course.later_tries < codes.later_tries_for(ending.error_code)


def _delay(code: int | None) -> timedelta:
    return timedelta(seconds=codes.delay_for(code))
