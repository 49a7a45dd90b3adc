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
    from workflows import outcomes
    from workflows.dead_letter import DeadLetter
    from workflows.outcomes import Ended, Proceed
    from workflows.send_message import SendMessage
    from workflows.submission import _send, check_opt_outs_and_send


@workflow.defn(name=SEND_MESSAGE)
class Unchanged(SendMessage):
    """The same as `SendMessage`: being a subclass is no nondeterministic change."""

    @workflow.run
    async def run(self, request: MessageRequest) -> MessageReport:
        """See base class."""
        return await super().run(request)


@workflow.defn(name=SEND_MESSAGE)
class SendsOnTheQueue(Unchanged):
    """A regular activity in place of a local one."""

    @workflow.run
    async def run(self, request: MessageRequest) -> MessageReport:
        """See base class."""
        return await super().run(request)

    async def _carry(self) -> Ended:
        await _send(self._state, is_quick=False)
        return outcomes.unknown()


@workflow.defn(name=SEND_MESSAGE)
class SendsTwice(Unchanged):
    """An additional activity."""

    @workflow.run
    async def run(self, request: MessageRequest) -> MessageReport:
        """See base class."""
        return await super().run(request)

    async def _carry(self) -> Ended:
        await check_opt_outs_and_send(self._state, Proceed())
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
        sent = await check_opt_outs_and_send(self._state, Proceed())
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
