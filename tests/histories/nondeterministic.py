"""Workflows with nondeterministic changes, which the replay tests must detect."""

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
class Unchanged(SendMessage):
    """The same as `SendMessage`: being a subclass is no nondeterministic change."""

    @workflow.run
    async def run(self, request: MessageRequest) -> MessageReport:
        """See base class."""
        return await super().run(request)


@workflow.defn(name=SEND_MESSAGE)
class SendsFirst(Unchanged):
    """Two steps in reverse order: it sends before it checks opt-outs."""

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
class ChecksTwice(Unchanged):
    """An additional activity: opt-outs are checked twice."""

    @workflow.run
    async def run(self, request: MessageRequest) -> MessageReport:
        """See base class."""
        return await super().run(request)

    async def _carry(self) -> Ended:
        await check_opt_outs(self._state)
        return await super()._carry()


@workflow.defn(name=SEND_MESSAGE)
class WaitsFirst(Unchanged):
    """An additional timer at the start."""

    @workflow.run
    async def run(self, request: MessageRequest) -> MessageReport:
        """See base class."""
        return await super().run(request)

    async def _carry(self) -> Ended:
        await workflow.sleep(timedelta(seconds=1))
        return await super()._carry()


@workflow.defn(name=SEND_MESSAGE)
class DoesNotWait(Unchanged):
    """A timer removed: it ends without waiting for the receipt."""

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
    """An activity removed: the suppression is not recorded."""

    @workflow.run
    async def run(self, dead_letter: DeadLetterRequest) -> DeadLetterReport:
        """See base class."""
        return await super().run(dead_letter)

    async def _record_suppression(self, _: object) -> None:
        """Do nothing."""
