"""Opening a dead letter from a message."""

from temporalio import workflow
from temporalio.common import SearchAttributePair, TypedSearchAttributes, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.workflow import ParentClosePolicy

from signedfor.contract import DEAD_LETTER, OPEN, DeadLetterRequest, dead_letter_workflow_id
from signedfor.masks import masked_sender
from signedfor.search_attributes import (
    MESSAGE_SENDER,
    MESSAGE_STATUS,
    TENANT,
    TWILIO_ERROR_CODE,
    TWILIO_SID,
)


async def open_letter(letter: DeadLetterRequest) -> None:
    """Start the dead letter, which outlives the message; do nothing if it is there already."""
    report = letter.report
    attributes = [SearchAttributePair(MESSAGE_STATUS, OPEN)]
    if letter.sender is not None:
        attributes.append(SearchAttributePair(MESSAGE_SENDER, masked_sender(letter.sender)))
    if letter.message.tenant is not None:
        attributes.append(SearchAttributePair(TENANT, letter.message.tenant))
    if report.message_sid is not None:
        attributes.append(SearchAttributePair(TWILIO_SID, report.message_sid))
    typed = TypedSearchAttributes(attributes)
    if report.error_code is not None:
        typed = typed.updated(SearchAttributePair(TWILIO_ERROR_CODE, report.error_code))
    try:
        await workflow.start_child_workflow(
            DEAD_LETTER,
            letter,
            id=dead_letter_workflow_id(report.message_id),
            parent_close_policy=ParentClosePolicy.ABANDON,
            id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
            search_attributes=typed,
            static_summary=f"{report.failure_class}"
            + (f" {report.error_code}" if report.error_code else ""),
        )
    except WorkflowAlreadyStartedError:
        workflow.logger.info("The dead letter exists already")
