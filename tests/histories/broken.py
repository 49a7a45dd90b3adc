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
    from signedfor.steps import Admission, Decision, Terms
    from workflows import endings
    from workflows.admitting import check_opt_outs
    from workflows.course import Course
    from workflows.dead_letter import DeadLetter
    from workflows.send_message import SendMessage
    from workflows.sending import send
    from workflows.settling import settle


@workflow.defn(name=SEND_MESSAGE)
class Unbroken(SendMessage):
    """The same as `SendMessage`: to be a subclass is no break."""

    @workflow.run
    async def run(self, request: MessageRequest) -> MessageReport:
        """See base class."""
        return await super().run(request)

    def _begin(self, request: MessageRequest) -> Course:
        self._course.standing.message_id = "broken"
        self._course.request = request
        return self._course


@workflow.defn(name=SEND_MESSAGE)
class SendsFirst(Unbroken):
    """Two steps in the other order: it sends, and then checks opt-outs."""

    @workflow.run
    async def run(self, request: MessageRequest) -> MessageReport:
        """See base class."""
        return await super().run(request)

    async def _live(self, request: MessageRequest) -> MessageReport:
        course = self._begin(request)
        nothing = timedelta(0)
        course.admission = Admission(
            decision=Decision.GO,
            terms=Terms(
                receipt_checks=(),
                retry_budget=timedelta(hours=4),
                unknown_wait=nothing,
                letter_hold=nothing,
            ),
            sender=request.sender,
        )
        ending = await send(course) or await check_opt_outs(course)
        return await settle(course, ending or endings.unknown())


@workflow.defn(name=SEND_MESSAGE)
class ChecksTwice(Unbroken):
    """One activity more: opt-outs are checked a second time."""

    @workflow.run
    async def run(self, request: MessageRequest) -> MessageReport:
        """See base class."""
        return await super().run(request)

    async def _live(self, request: MessageRequest) -> MessageReport:
        await check_opt_outs(self._begin(request))
        return await super()._live(request)


@workflow.defn(name=SEND_MESSAGE)
class WaitsFirst(Unbroken):
    """One timer more: a pause before everything else."""

    @workflow.run
    async def run(self, request: MessageRequest) -> MessageReport:
        """See base class."""
        return await super().run(request)

    async def _live(self, request: MessageRequest) -> MessageReport:
        await workflow.sleep(timedelta(seconds=1))
        return await super()._live(request)


@workflow.defn(name=SEND_MESSAGE)
class DoesNotWait(Unbroken):
    """One timer less: it ends without waiting for the receipt."""

    @workflow.run
    async def run(self, request: MessageRequest) -> MessageReport:
        """See base class."""
        return await super().run(request)

    async def _live(self, request: MessageRequest) -> MessageReport:
        course = self._begin(request)
        ending = await check_opt_outs(course) or await send(course)
        return await settle(course, ending or endings.no_receipt(None))


@workflow.defn(name=DEAD_LETTER)
class RecordsNothing(DeadLetter):
    """One activity less: the suppression is not recorded."""

    @workflow.run
    async def run(self, letter: DeadLetterRequest) -> DeadLetterReport:
        """See base class."""
        return await super().run(letter)

    async def _record_suppression(self, _: object) -> None:
        """Do nothing."""
