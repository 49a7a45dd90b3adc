"""The end of a message: its report, and a dead letter where one is called for."""

from temporalio import workflow

from messaging import codes
from messaging.contract import Letter, MessageReport, dead_letter_workflow_id
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
        settled_at=workflow.now(),
        dead_letter_id=dead_letter_workflow_id(message_id) if ending.letter else None,
        tags=course.request.tags,
    )
    if ending.letter and ending.failure_class is not None:
        await open_letter(
            Letter(
                request=course.request,
                report=report,
                sender=course.standing.sender,
                action=codes.action_for(ending.failure_class, ending.error_code),
                hold_days=course.terms.letter_hold.days,
            )
        )
    course.standing.message_sid = report.message_sid
    course.standing.error_code = ending.error_code
    course.standing.end(ending.outcome, ending.reason)
    await workflow.wait_condition(workflow.all_handlers_finished)
    return report
