"""What could not be settled by itself: recorded, or held until somebody decides."""

import re
from datetime import datetime, timedelta

from pydantic import ValidationError
from temporalio import workflow
from temporalio.common import WorkflowIDReusePolicy
from temporalio.exceptions import ApplicationError, WorkflowAlreadyStartedError
from temporalio.workflow import ParentClosePolicy

with workflow.unsafe.imports_passed_through():
    from signedfor.contract import (
        DEAD_LETTER,
        DELIVERY_STATUS_SIGNAL,
        DETAILS_QUERY,
        OPEN,
        RESOLVE_UPDATE,
        SEND_MESSAGE,
        DeadLetterDetails,
        DeadLetterOutcome,
        DeadLetterReport,
        DeadLetterRequest,
        DeliveryStatus,
        MessageChanges,
        MessageRequest,
        Resolution,
        message_workflow_id,
    )
    from signedfor.contract.failures import FailureClass
    from signedfor.payloads import invalid_input, problems_in
    from signedfor.search_attributes import MESSAGE_STATUS
    from signedfor.steps import SuppressionRecord
    from workflows import calls
    from workflows.receipts import Receipts

_RECORDED_AND_CLOSED = frozenset(
    {FailureClass.RECIPIENT_OPTED_OUT, FailureClass.RECIPIENT_UNREACHABLE}
)
_RETRY_SUFFIX = re.compile(r"\.retry-(\d{1,6})$", re.ASCII)


@workflow.defn(name=DEAD_LETTER)
class DeadLetter:
    """Records what the failure class demands, then closes or waits for a decision."""

    _letter: DeadLetterRequest

    def __init__(self) -> None:
        self._begun = False
        self._opened_at = workflow.now()
        self._receipts = Receipts()
        self._late_status: str | None = None
        self._deciding = False
        self._report: DeadLetterReport | None = None

    @workflow.run
    async def run(self, letter: DeadLetterRequest) -> DeadLetterReport:
        """Hold the letter until it is resolved, proved delivered, or its time is over."""
        self._letter, self._begun = letter, True
        self._describe("open", letter.advice)
        if letter.report.failure_class in _RECORDED_AND_CLOSED:
            await self._record_suppression(letter.report.failure_class)
            return self._close(DeadLetterOutcome.RECORDED)
        if self._receipts.delivered() is not None and not self._deciding:
            return self._close(DeadLetterOutcome.DELIVERED_LATE)
        try:
            await workflow.wait_condition(
                lambda: self._report is not None,
                timeout=self._held_until() - workflow.now(),
                timeout_summary="held for a decision",
            )
        except TimeoutError:
            if not self._deciding:
                return self._close(DeadLetterOutcome.EXPIRED)
        await workflow.wait_condition(
            lambda: self._report is not None and workflow.all_handlers_finished()
        )
        assert self._report is not None  # noqa: S101 - just waited for
        return self._report

    @workflow.signal(name=DELIVERY_STATUS_SIGNAL)
    def delivery_status(self, callback: DeliveryStatus) -> None:
        """Take in a late receipt; one that says delivered closes the letter. Nothing is re-sent."""
        if not self._receipts.note(
            callback.message_sid, callback.message_status, callback.error_code
        ):
            return
        self._late_status = callback.message_status
        # Signals and updates of the first workflow task come before `run` and its letter.
        if self._begun and self._receipts.delivered() is not None and not self._deciding:
            self._close(DeadLetterOutcome.DELIVERED_LATE)

    @workflow.update(name=RESOLVE_UPDATE)
    async def resolve(self, resolution: Resolution) -> DeadLetterReport:
        """Carry out what the operator decided; a retry is a new message with an id of its own."""
        if not self._begun:
            await workflow.wait_condition(lambda: self._begun)
            self._still_open(resolution)
        self._deciding = True
        if resolution.action == "discard":
            return self._close(DeadLetterOutcome.DISCARDED, by=resolution.by, note=resolution.note)
        retried_as = await self._retry(resolution)
        return self._close(
            DeadLetterOutcome.RETRIED, by=resolution.by, note=resolution.note, retried_as=retried_as
        )

    @resolve.validator
    def _still_open(self, resolution: Resolution) -> None:
        if self._deciding or self._report is not None:
            raise ApplicationError("This dead letter is closed already.", type="DeadLetterClosed")
        if self._begun:
            self._changed_request(resolution)

    @workflow.query(name=DETAILS_QUERY)
    def letter(self) -> DeadLetterDetails:
        """Show the letter, and how it was closed if it was."""
        return DeadLetterDetails(
            request=self._letter,
            status=self._report.outcome if self._report else OPEN,
            opened_at=self._opened_at,
            held_until=self._held_until(),
            late_status=self._late_status,
            result=self._report,
        )

    async def _record_suppression(self, failure_class: FailureClass) -> None:
        report, request = self._letter.report, self._letter.message
        await calls.record_suppression(
            SuppressionRecord(
                message_id=report.message_id,
                to=request.to,
                sender=self._letter.sender,
                category=request.category,
                failure_class=failure_class,
                error_code=report.error_code,
                message_sid=report.message_sid,
            )
        )

    async def _retry(self, resolution: Resolution) -> str:
        retried_as = next_retry_id(self._letter.report.message_id)
        try:
            await workflow.start_child_workflow(
                SEND_MESSAGE,
                self._changed_request(resolution),
                id=message_workflow_id(retried_as),
                parent_close_policy=ParentClosePolicy.ABANDON,
                id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
            )
        except WorkflowAlreadyStartedError:
            workflow.logger.info("The retry was started already")
        return retried_as

    def _changed_request(self, resolution: Resolution) -> MessageRequest:
        """The message to retry; ApplicationError when the changes do not fit it."""
        changes = resolution.changes or MessageChanges()
        # The first message's send_at has passed; its expires_at still holds unless changed.
        fields = self._letter.message.model_dump(by_alias=False) | {"send_at": None}
        try:
            return MessageRequest.model_validate(
                fields | changes.model_dump(by_alias=False, exclude_none=True)
            )
        except ValidationError as error:
            raise invalid_input(problems_in(error)) from None

    def _held_until(self) -> datetime:
        return self._opened_at + timedelta(days=self._letter.hold_days)

    def _close(
        self,
        end: DeadLetterOutcome,
        *,
        by: str | None = None,
        note: str | None = None,
        retried_as: str | None = None,
    ) -> DeadLetterReport:
        self._report = DeadLetterReport(
            message_id=self._letter.report.message_id,
            outcome=end,
            by=by,
            note=note,
            retried_as=retried_as,
        )
        workflow.upsert_search_attributes([MESSAGE_STATUS.value_set(end.value)])
        self._describe(end.value, f"Retried as {retried_as}." if retried_as else "")
        return self._report

    def _describe(self, status: str, what: str) -> None:
        """Markdown for the Temporal UI: what happened and what to do. No recipient, no text."""
        report = self._letter.report
        code = f" (Twilio error {report.error_code})" if report.error_code else ""
        workflow.set_current_details(
            f"**{status}**: {report.failure_class}{code}\n\n{report.reason}\n\n{what}"
        )


def next_retry_id(message_id: str) -> str:
    """The id of the message that retries this one: `<id>.retry-1`, then `.retry-2` and so on."""
    match = _RETRY_SUFFIX.search(message_id)
    if match is None:
        return f"{message_id}.retry-1"
    return f"{message_id[: match.start()]}.retry-{int(match[1]) + 1}"
