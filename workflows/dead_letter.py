"""A dead letter: a failed message whose cause is recorded, or that waits for an operator."""

import asyncio
import contextlib
import shlex
from collections.abc import Iterator
from datetime import datetime, timedelta

from pydantic import ValidationError
from temporalio import workflow
from temporalio.common import SearchAttributePair, TypedSearchAttributes, WorkflowIDReusePolicy
from temporalio.exceptions import ApplicationError, FailureError, WorkflowAlreadyStartedError
from temporalio.workflow import ParentClosePolicy

with workflow.unsafe.imports_passed_through():
    from signedfor.arrival import Arrival, arrival
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
        MessageReport,
        MessageRequest,
        Resolution,
        dead_letter_workflow_id,
        message_workflow_id,
        next_retry_id,
    )
    from signedfor.contract.failures import FailureClass
    from signedfor.contract.fields import problems_in
    from signedfor.dead_letter_activities import CLOSED_ERROR, MAY_HAVE_ARRIVED_ERROR
    from signedfor.masks import masked_sender
    from signedfor.message_activities import SuppressionRecord
    from signedfor.payloads import id_problems, invalid_input
    from signedfor.search_attributes import (
        CAMPAIGN_ID,
        FAILURE_CLASS,
        MAY_HAVE_ARRIVED,
        MESSAGE_SENDER,
        MESSAGE_STATUS,
        PRIOR_OUTCOME,
        TENANT,
        TWILIO_ERROR_CODE,
        TWILIO_SID,
        message_attributes,
    )
    from workflows import activity_stubs, metrics
    from workflows.receipts import Receipt, Receipts

_RECORDED_AND_CLOSED = frozenset(
    {FailureClass.RECIPIENT_OPTED_OUT, FailureClass.RECIPIENT_UNREACHABLE}
)


@workflow.defn(name=DEAD_LETTER)
class DeadLetter:
    """Records the suppression that its failure class calls for, or waits for a decision."""

    _dead_letter: DeadLetterRequest
    _shown_as_arrived: bool

    def __init__(self) -> None:
        self._has_started = False
        self._opened_at = workflow.now()
        self._receipts = Receipts()
        self._late: Receipt | None = None
        self._cancel_requested_at: datetime | None = None
        self._deciding = False
        self._report: DeadLetterReport | None = None

    @workflow.run
    async def run(self, dead_letter: DeadLetterRequest) -> DeadLetterReport:
        """Hold the dead letter until it is resolved, its message is delivered, or it expires."""
        self._dead_letter, self._has_started = dead_letter, True
        self._shown_as_arrived = _may_have_arrived(dead_letter.report)
        self._show_arrival()
        self._describe()
        metrics.count_opened(dead_letter.report.failure_class)
        holding = asyncio.create_task(self._hold())
        while True:
            try:
                return await asyncio.shield(holding)
            except asyncio.CancelledError:
                if holding.done():
                    raise
                # Temporal's own "Request cancellation". A dead letter is a decision that someone
                # must make, so it stays open, and says how to make it.
                self._cancel_requested_at = workflow.now()
                self._describe()

    async def _hold(self) -> DeadLetterReport:
        failure_class = self._dead_letter.report.failure_class
        if failure_class in _RECORDED_AND_CLOSED:
            await self._record_suppression(failure_class)
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
        self._late = self._receipts.of(callback.message_sid)
        # Signals and updates of the first workflow task come before `run` and its argument.
        if not self._has_started or self._report is not None:
            return
        if self._receipts.delivered() is not None and not self._deciding:
            self._close(DeadLetterOutcome.DELIVERED_LATE)
            return
        self._show_arrival()
        self._describe()

    @workflow.update(name=RESOLVE_UPDATE)
    async def resolve(self, resolution: Resolution) -> DeadLetterReport:
        """Carry out the operator's decision; a retry is a new message with its own id."""
        if not self._has_started:
            await workflow.wait_condition(lambda: self._has_started)
            self._may_be_resolved(resolution)
        self._deciding = True
        if resolution.action == "discard":
            return self._close(DeadLetterOutcome.DISCARDED, by=resolution)
        retried_as = await self._retry(resolution)
        return self._close(DeadLetterOutcome.RETRIED, by=resolution, retried_as=retried_as)

    @resolve.validator
    def _may_be_resolved(self, resolution: Resolution) -> None:
        if self._deciding or self._report is not None:
            raise ApplicationError("This dead letter is closed already.", type=CLOSED_ERROR)
        if self._has_started and resolution.action == "retry":
            if self._may_have_arrived() and not resolution.even_if_taken:
                raise ApplicationError(
                    "Twilio took this message, or may have, and it may have arrived: a retry may "
                    "be a second one. Retry it only with even_if_taken, or discard it.",
                    type=MAY_HAVE_ARRIVED_ERROR,
                )
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
            late_status=self._late.status if self._late else None,
            late_error_code=self._late.error_code if self._late else None,
            may_have_arrived=self._may_have_arrived(),
            cancel_requested_at=self._cancel_requested_at,
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
        try:
            return changes.applied_to(self._dead_letter.message)
        except ValidationError as error:
            raise invalid_input(problems_in(error)) from None

    def _held_until(self) -> datetime:
        return self._opened_at + timedelta(days=self._dead_letter.hold_days)

    def _close(
        self,
        outcome: DeadLetterOutcome,
        *,
        by: Resolution | None = None,
        retried_as: str | None = None,
    ) -> DeadLetterReport:
        self._report = DeadLetterReport(
            message_id=self._dead_letter.report.message_id,
            outcome=outcome,
            by=by.by if by else None,
            note=by.note if by else None,
            retried_as=retried_as,
            job_id=by.job_id if by else None,
        )
        workflow.upsert_search_attributes([MESSAGE_STATUS.value_set(outcome.value)])
        metrics.count_closed(outcome, self._dead_letter.report.failure_class)
        self._describe()
        return self._report

    def _may_have_arrived(self) -> bool:
        return _may_have_arrived(self._dead_letter.report, self._receipts)

    def _show_arrival(self) -> None:
        """Keep the search attribute true: what Twilio says later may change it."""
        now = self._may_have_arrived()
        if now is not self._shown_as_arrived:
            self._shown_as_arrived = now
            workflow.upsert_search_attributes([MAY_HAVE_ARRIVED.value_set(now)])

    def _describe(self) -> None:
        """Markdown for the Temporal UI: what happened and what to do. No recipient, no text."""
        workflow.set_current_details("\n\n".join(self._details_text()))

    def _details_text(self) -> Iterator[str]:
        report = self._dead_letter.report
        code = f" (Twilio error {report.error_code})" if report.error_code else ""
        status = self._report.outcome if self._report else OPEN
        yield f"**{status}**: {report.failure_class}{code}"
        yield report.reason
        if self._late is not None:
            late_code = f" with error {self._late.error_code}" if self._late.error_code else ""
            yield f"Later, Twilio said that it is {self._late.status}{late_code}."
        if self._report is None:
            yield from self._how_to_act()
            return
        match self._report.outcome:
            case DeadLetterOutcome.RETRIED:
                yield f"Retried as message {self._report.retried_as}."
            case DeadLetterOutcome.DISCARDED:
                yield "Closed without sending anything."
            case DeadLetterOutcome.RECORDED:
                yield "A suppression is recorded, so there is nothing to decide."
            case DeadLetterOutcome.DELIVERED_LATE:
                yield "It was delivered after all, so there is nothing to decide."
            case DeadLetterOutcome.EXPIRED:
                yield "Nobody decided in time. Nothing was sent again."
        if self._report.by is not None:
            yield f"By {self._report.by}."

    def _how_to_act(self) -> Iterator[str]:
        report = self._dead_letter.report
        if report.failure_class in _RECORDED_AND_CLOSED:
            yield "It closes by itself as soon as the suppression is recorded."
            return
        yield self._dead_letter.advice
        message_id, taken = shlex.quote(report.message_id), self._may_have_arrived()
        if taken:
            yield "It may have arrived: a retry may be a second one."
        retry = f"signedfor dead-letters retry {message_id}{' --even-if-taken' if taken else ''}"
        yield (
            "Send it again, or close it without sending:\n\n"
            f"```\n{retry}\nsignedfor dead-letters discard {message_id}\n```"
        )
        even = ', "even_if_taken": true' if taken else ""
        yield (
            f'Or send the update `{RESOLVE_UPDATE}` with `{{"action": "retry"{even}}}` or '
            '`{"action": "discard"}`.'
        )
        yield f"It expires at {self._held_until():%Y-%m-%d %H:%M} UTC."
        if self._cancel_requested_at is not None:
            yield (
                f"Its cancellation was requested at {self._cancel_requested_at:%Y-%m-%d %H:%M} "
                "UTC. **That does not close a dead letter.** To close it, discard it as above."
            )


def _may_have_arrived(report: MessageReport, later: Receipts | None = None) -> bool:
    """Whether the message may be with its recipient, by its report and what Twilio said later."""
    for each in later.all if later else ():
        if each.is_delivered:
            return True
        if each.message_sid != report.message_sid and not each.is_final:
            return True  # a submission that was not known, and that Twilio is sending
        is_what_it_waited_for = report.failure_class is FailureClass.NO_RECEIPT and each.is_final
        if each.message_sid == report.message_sid and is_what_it_waited_for:
            return False
    return arrival(report) is not Arrival.NONE


async def open_dead_letter(dead_letter: DeadLetterRequest) -> None:
    """Start the dead letter, which outlives the message; one that exists already is kept."""
    report = dead_letter.report
    attributes = [
        SearchAttributePair(MESSAGE_STATUS, OPEN),
        SearchAttributePair(FAILURE_CLASS, str(report.failure_class)),
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
    typed = TypedSearchAttributes(attributes).updated(
        SearchAttributePair(MAY_HAVE_ARRIVED, _may_have_arrived(report))
    )
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
