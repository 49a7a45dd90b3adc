"""One outbound message, from hand-in to outcome."""

import asyncio

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from signedfor.contract import (
        CANCEL_UPDATE,
        DELIVERY_STATUS_SIGNAL,
        PROGRESS_QUERY,
        SEND_MESSAGE,
        CancelRequest,
        CancelResult,
        DeliveryStatus,
        MessageReport,
        MessageRequest,
        Outcome,
        Progress,
        Stage,
    )
    from workflows.admitting import check_opt_outs, wait_for_send_at
    from workflows.course import Course
    from workflows.endings import Ending
    from workflows.inputs import checked_message_id
    from workflows.receipt_wait import await_receipt, wait_to_try_again
    from workflows.sending import send
    from workflows.settling import settle


@workflow.defn(name=SEND_MESSAGE)
class SendMessage:
    """Checks opt-outs, sends under the retry policy, awaits the receipt, escalates what is left.

    Every outcome is a result; the workflow fails only on bad input.
    """

    def __init__(self) -> None:
        self._course = Course()
        self._ending: Ending | None = None

    @workflow.run
    async def run(self, request: MessageRequest) -> MessageReport:
        """Carry the message to its outcome."""
        life = asyncio.create_task(self._live(request))
        while True:
            try:
                return await asyncio.shield(life)
            except asyncio.CancelledError:
                if life.done():
                    raise
                # Temporal's own "Request cancellation" means the same as the update.
                self._course.ask_to_cancel()

    async def _live(self, request: MessageRequest) -> MessageReport:
        course = self._course
        course.standing.message_id = checked_message_id(request)
        course.request = request
        course.standing.tenant = request.tenant
        course.standing.campaign_id = request.campaign_id
        ending = await wait_for_send_at(course)
        while ending is None:
            ending = (
                await check_opt_outs(course)
                or await send(course)
                or await await_receipt(course)
                or await wait_to_try_again(course)
            )
        self._ending = ending
        return await settle(course, ending)

    @workflow.signal(name=DELIVERY_STATUS_SIGNAL)
    def delivery_status(self, callback: DeliveryStatus) -> None:
        """Take in a status callback; in any order, any number of times."""
        self._course.note(callback.message_sid, callback.message_status, callback.error_code)

    @workflow.update(name=CANCEL_UPDATE)
    async def cancel(self, _request: CancelRequest | None = None) -> CancelResult:
        """Stop the message if it is not in Twilio's hands; answer when that is certain."""
        self._course.ask_to_cancel()
        standing = self._course.standing
        await workflow.wait_condition(
            lambda: self._ending is not None or standing.status is Stage.AWAITING_RECEIPT
        )
        outcome = self._ending.outcome if self._ending else None
        return CancelResult(canceled=outcome is Outcome.CANCELED, status=outcome or standing.status)

    @workflow.query(name=PROGRESS_QUERY)
    def progress(self) -> Progress:
        """Say where the message stands."""
        return self._course.standing.progress(unknown_statuses=self._course.receipts.unknown)
