"""The end of a message: its report, and a dead letter where one is called for."""

import contextlib

from temporalio import workflow
from temporalio.exceptions import FailureError

from signedfor.contract import (
    DELIVERY_STATUS_SIGNAL,
    DeadLetterRequest,
    DeliveryStatus,
    MessageReport,
    Outcome,
    dead_letter_workflow_id,
)
from signedfor.twilio import codes
from workflows.course import Course
from workflows.endings import Ending
from workflows.letters import open_letter


async def settle(course: Course, ending: Ending) -> MessageReport:
    """Open the dead letter, if any, show the outcome, and report it."""
    message_id = course.standing.message_id
    report = MessageReport(
        message_id=message_id,
        outcome=ending.outcome,
        message_sid=ending.message_sid or (course.sids[-1] if course.sids else None),
        error_code=ending.error_code,
        failure_class=ending.failure_class,
        reason=ending.reason,
        attempts=course.standing.attempts,
        segments=course.segments,
        submitted_at=course.submitted_at,
        finished_at=workflow.now(),
        dead_letter_id=dead_letter_workflow_id(message_id) if ending.letter else None,
        tags=course.request.tags,
    )
    if ending.letter and ending.failure_class is not None:
        await open_letter(
            DeadLetterRequest(
                message=course.request,
                report=report,
                sender=course.standing.sender,
                advice=codes.action_for(ending.failure_class, ending.error_code),
                hold_days=course.terms.letter_hold.days,
            )
        )
        await _hand_on(course, ending, report)
    course.standing.message_sid = report.message_sid
    course.standing.error_code = ending.error_code
    course.standing.end(ending.outcome, ending.reason)
    await workflow.wait_condition(workflow.all_handlers_finished)
    return report


async def _hand_on(course: Course, ending: Ending, report: MessageReport) -> None:
    """Tell the letter of a delivery that was heard after the ending was decided."""
    late = course.receipts.delivered()
    if late is None or ending.outcome is Outcome.DELIVERED:
        return
    letter = workflow.get_external_workflow_handle(dead_letter_workflow_id(report.message_id))
    with contextlib.suppress(FailureError):  # closed already
        await letter.signal(
            DELIVERY_STATUS_SIGNAL,
            DeliveryStatus(message_sid=late.message_sid, message_status=late.status.value),
        )
