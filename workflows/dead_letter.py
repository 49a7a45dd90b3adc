"""A dead letter: a failed message whose cause is recorded, or that waits for an operator."""

import contextlib
from datetime import datetime, timedelta

from pydantic import ValidationError
from temporalio import workflow
from temporalio.common import SearchAttributePair, TypedSearchAttributes, WorkflowIDReusePolicy
from temporalio.exceptions import ApplicationError, FailureError, WorkflowAlreadyStartedError
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
        dead_letter_workflow_id,
        message_workflow_id,
        next_retry_id,
    )
    from signedfor.contract.failures import FailureClass
    from signedfor.contract.fields import problems_in
    from signedfor.masks import masked_sender
    from signedfor.message_activities import SuppressionRecord
    from signedfor.payloads import id_problems, invalid_input
    from signedfor.search_attributes import (
        CAMPAIGN_ID,
        MESSAGE_SENDER,
        MESSAGE_STATUS,
        PRIOR_OUTCOME,
        TENANT,
        TWILIO_ERROR_CODE,
        TWILIO_SID,
        message_attributes,
    )
    from workflows import activity_stubs
    from workflows.receipts import Receipt, Receipts

_RECORDED_AND_CLOSED = frozenset(
    {FailureClass.RECIPIENT_OPTED_OUT, FailureClass.RECIPIENT_UNREACHABLE}
)


@workflow.defn(name=DEAD_LETTER)
class DeadLetter:
    """Records the suppression that its failure class calls for, or waits for a decision."""

    _dead_letter: DeadLetterRequest

    def __init__(self) -> None:
        self._has_started = False
        self._opened_at = workflow.now()
        self._receipts = Receipts()
        self._late_status: str | None = None
        self._deciding = False
        self._report: DeadLetterReport | None = None

    @workflow.run
    async def run(self, dead_letter: DeadLetterRequest) -> DeadLetterReport:
        """Hold the dead letter until it is resolved, its message is delivered, or it expires."""
        self._dead_letter, self._has_started = dead_letter, True
        self._describe("open", dead_letter.advice)
        if dead_letter.report.failure_class in _RECORDED_AND_CLOSED:
            await self._record_suppression(dead_letter.report.failure_class)
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
        """Take in a late receipt; one that says delivered closes it. Nothing is sent again."""
        if not self._receipts.record(
            callback.message_sid, callback.message_status, callback.error_code
        ):
            return
        self._late_status = callback.message_status
        # Signals and updates of the first workflow task come before `run` and its argument.
        if self._has_started and self._receipts.delivered() is not None and not self._deciding:
            self._close(DeadLetterOutcome.DELIVERED_LATE)

    @workflow.update(name=RESOLVE_UPDATE)
    async def resolve(self, resolution: Resolution) -> DeadLetterReport:
        """Carry out the operator's decision; a retry is a new message with its own id."""
        if not self._has_started:
            await workflow.wait_condition(lambda: self._has_started)
            self._may_be_resolved(resolution)
        self._deciding = True
        if resolution.action == "discard":
            return self._close(DeadLetterOutcome.DISCARDED, by=resolution.by, note=resolution.note)
        retried_as = await self._retry(resolution)
        return self._close(
            DeadLetterOutcome.RETRIED, by=resolution.by, note=resolution.note, retried_as=retried_as
        )

    @resolve.validator
    def _may_be_resolved(self, resolution: Resolution) -> None:
        if self._deciding or self._report is not None:
            raise ApplicationError("This dead letter is closed already.", type="DeadLetterClosed")
        if self._has_started and resolution.action == "retry":
            # Refuse now what the retry's workflow would refuse: the operator can still change it.
            request = self._changed_request(resolution)
            if problems := id_problems(self._retry_id(), request):
                raise invalid_input(problems)

    @workflow.query(name=DETAILS_QUERY)
    def details(self) -> DeadLetterDetails:
        """Show the dead letter, and how it was closed if it was."""
        return DeadLetterDetails(
            request=self._dead_letter,
            status=self._report.outcome if self._report else OPEN,
            opened_at=self._opened_at,
            held_until=self._held_until(),
            late_status=self._late_status,
            result=self._report,
        )

    async def _record_suppression(self, failure_class: FailureClass) -> None:
        report, request = self._dead_letter.report, self._dead_letter.message
        await activity_stubs.record_suppression(
            SuppressionRecord(
                message_id=report.message_id,
                to=request.to,
                sender=self._dead_letter.sender,
                category=request.category,
                failure_class=failure_class,
                error_code=report.error_code,
                message_sid=report.message_sid,
            )
        )

    async def _retry(self, resolution: Resolution) -> str:
        retried_as, request = self._retry_id(), self._changed_request(resolution)
        # With these, whoever counts a campaign's rows sees at once which message replaces which.
        prior = SearchAttributePair(PRIOR_OUTCOME, self._dead_letter.report.outcome.value)
        try:
            await workflow.start_child_workflow(
                SEND_MESSAGE,
                request,
                id=message_workflow_id(retried_as),
                parent_close_policy=ParentClosePolicy.ABANDON,
                id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
                search_attributes=message_attributes(request).updated(prior),
            )
        except WorkflowAlreadyStartedError:
            workflow.logger.info("The retry was started already")
        return retried_as

    def _retry_id(self) -> str:
        return next_retry_id(self._dead_letter.report.message_id)

    def _changed_request(self, resolution: Resolution) -> MessageRequest:
        """The message to retry; ApplicationError when the changes do not fit it."""
        changes = resolution.changes or MessageChanges()
        # The first message's send_at has passed; its expires_at still holds unless changed.
        fields = self._dead_letter.message.model_dump(by_alias=False) | {"send_at": None}
        try:
            return MessageRequest.model_validate(
                fields | changes.model_dump(by_alias=False, exclude_none=True)
            )
        except ValidationError as error:
            raise invalid_input(problems_in(error)) from None

    def _held_until(self) -> datetime:
        return self._opened_at + timedelta(days=self._dead_letter.hold_days)

    def _close(
        self,
        outcome: DeadLetterOutcome,
        *,
        by: str | None = None,
        note: str | None = None,
        retried_as: str | None = None,
    ) -> DeadLetterReport:
        self._report = DeadLetterReport(
            message_id=self._dead_letter.report.message_id,
            outcome=outcome,
            by=by,
            note=note,
            retried_as=retried_as,
        )
        workflow.upsert_search_attributes([MESSAGE_STATUS.value_set(outcome.value)])
        self._describe(outcome.value, f"Retried as {retried_as}." if retried_as else "")
        return self._report

    def _describe(self, status: str, what: str) -> None:
        """Markdown for the Temporal UI: what happened and what to do. No recipient, no text."""
        report = self._dead_letter.report
        code = f" (Twilio error {report.error_code})" if report.error_code else ""
        workflow.set_current_details(
            f"**{status}**: {report.failure_class}{code}\n\n{report.reason}\n\n{what}"
        )


async def open_dead_letter(dead_letter: DeadLetterRequest) -> None:
    """Start the dead letter, which outlives the message; one that exists already is kept."""
    report = dead_letter.report
    attributes = [
        SearchAttributePair(MESSAGE_STATUS, OPEN),
        SearchAttributePair(PRIOR_OUTCOME, report.outcome.value),
    ]
    if dead_letter.message.campaign_id is not None:
        attributes.append(SearchAttributePair(CAMPAIGN_ID, dead_letter.message.campaign_id))
    if dead_letter.sender is not None:
        attributes.append(SearchAttributePair(MESSAGE_SENDER, masked_sender(dead_letter.sender)))
    if dead_letter.message.tenant is not None:
        attributes.append(SearchAttributePair(TENANT, dead_letter.message.tenant))
    if report.message_sid is not None:
        attributes.append(SearchAttributePair(TWILIO_SID, report.message_sid))
    typed = TypedSearchAttributes(attributes)
    if report.error_code is not None:
        typed = typed.updated(SearchAttributePair(TWILIO_ERROR_CODE, report.error_code))
    try:
        await workflow.start_child_workflow(
            DEAD_LETTER,
            dead_letter,
            id=dead_letter_workflow_id(report.message_id),
            parent_close_policy=ParentClosePolicy.ABANDON,
            id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
            search_attributes=typed,
            static_summary=f"{report.failure_class}"
            + (f" {report.error_code}" if report.error_code else ""),
        )
    except WorkflowAlreadyStartedError:
        workflow.logger.info("The dead letter exists already")


async def signal_late_delivery(message_id: str, delivered: Receipt) -> None:
    """Signal the dead letter a delivery that its message learned of too late."""
    dead_letter = workflow.get_external_workflow_handle(dead_letter_workflow_id(message_id))
    with contextlib.suppress(FailureError):  # closed already
        await dead_letter.signal(
            DELIVERY_STATUS_SIGNAL,
            DeliveryStatus(message_sid=delivered.message_sid, message_status=delivered.status),
        )
