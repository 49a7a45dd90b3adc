"""Breaks of determinism as a change of the workflows could bring them, for the replay to catch."""

from datetime import timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from signedfor.contract import (
        DEAD_LETTER,
        SEND_MESSAGE,
        DeadLetterReport,
        DeadLetterRequest,
        MessageReport,
        MessageRequest,
    )
    from signedfor.message_activities import PolicySnapshot
    from workflows import outcomes
    from workflows.admission import check_opt_outs
    from workflows.dead_letter import DeadLetter
    from workflows.outcomes import Ended
    from workflows.send_message import SendMessage
    from workflows.submission import send


@workflow.defn(name=SEND_MESSAGE)
class Unbroken(SendMessage):
    """The same as `SendMessage`: to be a subclass is no break."""

    @workflow.run
    async def run(self, request: MessageRequest) -> MessageReport:
        """See base class."""
        return await super().run(request)


@workflow.defn(name=SEND_MESSAGE)
class SendsFirst(Unbroken):
    """Two steps in the other order: it sends, and then checks opt-outs."""

    @workflow.run
    async def run(self, request: MessageRequest) -> MessageReport:
        """See base class."""
        return await super().run(request)

    async def _carry(self) -> Ended:
        state, nothing = self._state, timedelta(0)
        state.sender = state.request.sender
        state.policy = PolicySnapshot(
            receipt_checks=(),
            retry_budget=timedelta(hours=4),
            unknown_wait=nothing,
            dead_letter_hold=nothing,
        )
        sent = await send(state)
        if isinstance(sent, Ended):
            return sent
        checked = await check_opt_outs(state)
        return checked if isinstance(checked, Ended) else outcomes.unknown()


@workflow.defn(name=SEND_MESSAGE)
class ChecksTwice(Unbroken):
    """One activity more: opt-outs are checked a second time."""

    @workflow.run
    async def run(self, request: MessageRequest) -> MessageReport:
        """See base class."""
        return await super().run(request)

    async def _carry(self) -> Ended:
        await check_opt_outs(self._state)
        return await super()._carry()


@workflow.defn(name=SEND_MESSAGE)
class WaitsFirst(Unbroken):
    """One timer more: a pause before everything else."""

    @workflow.run
    async def run(self, request: MessageRequest) -> MessageReport:
        """See base class."""
        return await super().run(request)

    async def _carry(self) -> Ended:
        await workflow.sleep(timedelta(seconds=1))
        return await super()._carry()


@workflow.defn(name=SEND_MESSAGE)
class DoesNotWait(Unbroken):
    """One timer less: it ends without waiting for the receipt."""

    @workflow.run
    async def run(self, request: MessageRequest) -> MessageReport:
        """See base class."""
        return await super().run(request)

    async def _carry(self) -> Ended:
        checked = await check_opt_outs(self._state)
        if isinstance(checked, Ended):
            return checked
        sent = await send(self._state)
        return sent if isinstance(sent, Ended) else outcomes.no_receipt(sent.message_sid)


@workflow.defn(name=DEAD_LETTER)
class RecordsNothing(DeadLetter):
    """One activity less: the suppression is not recorded."""

    @workflow.run
    async def run(self, dead_letter: DeadLetterRequest) -> DeadLetterReport:
        """See base class."""
        return await super().run(dead_letter)

    async def _record_suppression(self, _: object) -> None:
        """Do nothing."""
