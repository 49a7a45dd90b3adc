"""One text to many recipients: rows become messages at the sender's rate, until all have ended."""

import asyncio
import contextlib
from datetime import timedelta

from pydantic import TypeAdapter, ValidationError
from temporalio import workflow
from temporalio.common import Priority
from temporalio.exceptions import ApplicationError, FailureError
from temporalio.workflow import ActivityHandle

with workflow.unsafe.imports_passed_through():
    from signedfor import advice
    from signedfor.campaign_activities import (
        CAMPAIGN_OVER,
        CampaignActivities,
        CampaignKey,
        CampaignStatus,
        CountRequest,
        DispatchResult,
        MessageCounts,
        OutcomeCounts,
        StateChange,
    )
    from signedfor.contract import (
        CAMPAIGN,
        CANCEL_UPDATE,
        PAUSE_UPDATE,
        PROGRESS_QUERY,
        RESUME_UPDATE,
        CampaignDecision,
        CampaignProgress,
        CampaignReport,
        CampaignRequest,
        CampaignState,
        campaign_workflow_id,
    )
    from signedfor.contract import Priority as MessagePriority
    from signedfor.contract.fields import Label
    from signedfor.payloads import invalid_input
    from signedfor.retry import DATABASE_TIMEOUT, FREQUENT_RETRY, UNLIMITED_RETRY

_PAGES_A_RUN = 100
"""About a thousand events: quickly replayed, and well below Temporal's suggested limit."""
_MIN_COUNT_INTERVAL = timedelta(seconds=5)
_MAX_COUNT_INTERVAL = timedelta(minutes=10)
_VISIBILITY_LAG = timedelta(hours=1)
"""How long visibility may show no running message, and fewer messages than were dispatched, before
the campaign counts as finished: visibility lags, and deletes what is older than its retention."""

_OVER = frozenset({CampaignState.CANCELED, CampaignState.FINISHED})
_MOMENT = timedelta(microseconds=1)

_FIRST = Priority(priority_key=1)
"""A pause must not queue behind the messages that it stops."""
_LAST = Priority(priority_key=MessagePriority.BULK.temporal_key)
"""No caller waits for these. The default would be the workflow's own priority, the highest."""
_DISPATCH_TIMEOUT = timedelta(minutes=3)
_HEARTBEAT_TIMEOUT = timedelta(seconds=10)
"""The activity heartbeats every two seconds."""
_COUNT_TIMEOUT = timedelta(seconds=30)


@workflow.defn(name=CAMPAIGN)
class Campaign:
    """Dispatches the rows page by page, carries out decisions, and reports when all have ended.

    The database holds the rows, the state and the progress, so that a run may end at any time: the
    next one, or a campaign that is started again, continues where this one was.
    """

    _status: CampaignStatus

    def __init__(self) -> None:
        self._campaign_id = ""
        self._waits_for = "its rows to be read"
        self._is_open = False
        self._is_cancel_requested = False
        self._refusal: FailureError | None = None
        self._deciding = asyncio.Lock()
        self._canceling: asyncio.Task[None] | None = None

    @workflow.run
    async def run(self, _request: CampaignRequest) -> CampaignReport:
        """Run the campaign to its end; a long one continues as new."""
        reporting = asyncio.create_task(self._report())
        while True:
            try:
                # An update in progress is answered before the run ends.
                await workflow.wait_condition(
                    lambda: (
                        reporting.done()
                        and workflow.all_handlers_finished()
                        and not self._canceling
                    )
                )
                break
            except asyncio.CancelledError:
                # Temporal's own "Request cancellation" means the same as the update.
                self._canceling = asyncio.create_task(self._cancel_unless_over())
        report = await reporting
        if report is None:
            workflow.continue_as_new(CampaignRequest())
        return report

    async def _report(self) -> CampaignReport | None:
        """The report; None if another run continues."""
        try:
            self._campaign_id = _checked_campaign_id()
            self._status = await self._open()
        except FailureError as error:
            self._refusal = error
            raise
        finally:
            self._is_open = True
        self._describe()
        pages = 0
        while not self._is_over and self._has_more:
            if pages >= _PAGES_A_RUN or workflow.info().is_continue_as_new_suggested():
                return None
            self._describe("its next rows to be dispatched")
            await workflow.wait_condition(lambda: self._state is not CampaignState.PAUSED)
            if not self._is_over:
                await self._dispatch()
                pages += 1
        return await self._finish() if await self._messages_have_ended() else None

    async def _open(self) -> CampaignStatus:
        """Its status once its rows are loaded, or canceled if that is requested first."""
        opening = _start_opening(self._campaign_id)
        await workflow.wait_condition(lambda: opening.done() or self._is_cancel_requested)
        if opening.done():
            return await opening
        # Its rows may never be loaded, or the database may be unavailable for a long time.
        opening.cancel()
        return await _set_state(
            StateChange(
                campaign_id=self._campaign_id, state=CampaignState.CANCELED, since=workflow.now()
            )
        )

    async def _dispatch(self) -> None:
        """Dispatch a page of rows; then wait until the sender needs more, or for a decision."""
        result = await _dispatch_rows(self._campaign_id, after_row=self._status.last_row)
        self._merge(result.status)
        if result.next_in and self._has_more:
            until = advice.moment(workflow.now() + result.next_in)
            waits_for = f"its sender to have sent what it was given, until {until}"
            self._describe(waits_for)
            await self._change_of_state(within=result.next_in, summary=f"waits for {waits_for}")

    async def _messages_have_ended(self) -> bool:
        """Wait until all have, as far as visibility shows; False if the next run continues."""
        wait, none_running_since = _MIN_COUNT_INTERVAL, None
        while True:
            counts = await _count_messages(self._campaign_id, last_row=self._status.last_row)
            if counts.running:
                none_running_since = None
            elif none_running_since is None:
                wait, none_running_since = _MIN_COUNT_INTERVAL, workflow.now()
            if none_running_since is not None and (
                counts.ended >= self._dispatched
                or workflow.now() - none_running_since >= _VISIBILITY_LAG
            ):
                return True
            if workflow.info().is_continue_as_new_suggested():
                return False
            waits_for = f"its messages to end: {counts.running} are under way"
            self._describe(waits_for)
            changed = await self._change_of_state(within=wait, summary=f"waits for {waits_for}")
            wait = _MIN_COUNT_INTERVAL if changed else min(wait * 2, _MAX_COUNT_INTERVAL)

    async def _finish(self) -> CampaignReport:
        async with self._deciding:
            if not self._is_over:
                await self._change_state(CampaignState.FINISHED)
        counts = await _count_outcomes(self._campaign_id)
        return CampaignReport(
            campaign_id=self._campaign_id,
            state=self._state,
            rows=self._status.rows,
            dispatched=self._dispatched,
            outcomes=counts.outcomes,
            finished_at=workflow.now(),
        )

    @workflow.update(name=PAUSE_UPDATE)
    async def pause(self, _decision: CampaignDecision | None = None) -> CampaignProgress:
        """Send none of its messages until it is resumed; return when that is in force."""
        return await self._decide(CampaignState.PAUSED)

    @pause.validator
    def _may_be_paused(self, _decision: CampaignDecision | None = None) -> None:
        self._refuse_if_over(CampaignState.PAUSED)

    @workflow.update(name=RESUME_UPDATE)
    async def resume(self, _decision: CampaignDecision | None = None) -> CampaignProgress:
        """Send its messages again."""
        return await self._decide(CampaignState.RUNNING)

    @resume.validator
    def _may_be_resumed(self, _decision: CampaignDecision | None = None) -> None:
        self._refuse_if_over(CampaignState.RUNNING)

    @workflow.update(name=CANCEL_UPDATE)
    async def cancel(self, _decision: CampaignDecision | None = None) -> CampaignProgress:
        """Send no more of its messages; return when that is in force."""
        return await self._decide(CampaignState.CANCELED)

    @cancel.validator
    def _may_be_canceled(self, _decision: CampaignDecision | None = None) -> None:
        self._refuse_if_over(CampaignState.CANCELED)

    @workflow.query(name=PROGRESS_QUERY)
    def progress(self) -> CampaignProgress:
        """The campaign's state and progress."""
        if not self._is_open or self._refusal is not None:
            raise ApplicationError("The campaign has not started.", type="CampaignNotStarted")
        return CampaignProgress(
            campaign_id=self._campaign_id,
            state=self._state,
            since=self._status.since,
            rows=self._status.rows,
            dispatched=self._dispatched,
        )

    async def _cancel_unless_over(self) -> None:
        with contextlib.suppress(FailureError):
            await self._decide(CampaignState.CANCELED)
        self._canceling = None

    async def _decide(self, state: CampaignState) -> CampaignProgress:
        """Change to this state, after all earlier decisions."""
        # A decision in the first workflow task comes before the campaign has been read.
        self._is_cancel_requested |= state is CampaignState.CANCELED
        await workflow.wait_condition(lambda: self._is_open)
        if self._refusal is not None:
            raise self._refusal
        async with self._deciding:
            self._refuse_if_over(state)
            while self._state is not state:
                await self._change_state(state)
                self._refuse_if_over(state)
        return self.progress()

    def _refuse_if_over(self, wanted: CampaignState) -> None:
        is_known = self._is_open and self._refusal is None
        if is_known and self._is_over and self._state is not wanted:
            raise ApplicationError(f"The campaign is {self._state}.", type=CAMPAIGN_OVER)

    async def _change_state(self, state: CampaignState) -> None:
        # Later than the last decision, whatever the clocks: the database refuses an older one.
        since = max(workflow.now(), self._status.since + _MOMENT)
        change = StateChange(campaign_id=self._campaign_id, state=state, since=since)
        self._merge(await _set_state(change))

    def _merge(self, status: CampaignStatus) -> None:
        """Merge the status in the database with the known one, which may be newer."""
        self._status = self._status.merged(status)
        self._describe()

    async def _change_of_state(self, *, within: timedelta, summary: str) -> bool:
        """Wait for a change of state for at most that long; whether there was one."""
        state = self._state
        with contextlib.suppress(TimeoutError):
            await workflow.wait_condition(
                lambda: self._state is not state, timeout=within, timeout_summary=summary
            )
        return self._state is not state

    @property
    def _state(self) -> CampaignState:
        return self._status.state

    @property
    def _is_over(self) -> bool:
        return self._state in _OVER

    @property
    def _has_more(self) -> bool:
        return self._status.last_row < self._status.rows

    @property
    def _dispatched(self) -> int:
        return self._status.last_row - self._status.skipped

    def _describe(self, waits_for: str | None = None) -> None:
        """Markdown for the Temporal UI; it waits for the same as before unless that is given."""
        self._waits_for = waits_for or self._waits_for
        skipped = f", {self._status.skipped} skipped" if self._status.skipped else ""
        workflow.set_current_details(
            "\n\n".join(
                [
                    f"**{self._state}** since {advice.moment(self._status.since)}",
                    f"{self._dispatched} of {self._status.rows} rows dispatched{skipped}.",
                    *(
                        [f"Waits for {self._waits_for}."]
                        if self._state is CampaignState.RUNNING
                        else []
                    ),
                    f"**What to do:** {advice.what_to_do_about_campaign(self._state)}",
                    advice.as_block(advice.campaign_commands(self._campaign_id, self._state)),
                ]
            )
        )


_label = TypeAdapter(Label)


def _checked_campaign_id() -> str:
    """The campaign's id, taken from the workflow id; `InvalidInput` without one."""
    workflow_id, prefix = workflow.info().workflow_id, campaign_workflow_id("")
    if workflow_id.startswith(prefix):
        with contextlib.suppress(ValidationError):
            return _label.validate_python(workflow_id.removeprefix(prefix))
    raise invalid_input([("workflow id", f"must be {prefix}<campaign_id>")])


def _start_opening(campaign_id: str) -> ActivityHandle[CampaignStatus]:
    """Its status, once its rows are loaded; ActivityError if there is no such campaign."""
    return workflow.start_activity_method(
        CampaignActivities.open_campaign,
        CampaignKey(campaign_id=campaign_id),
        start_to_close_timeout=DATABASE_TIMEOUT,
        retry_policy=FREQUENT_RETRY,
        priority=_FIRST,
        summary="read the campaign",
    )


async def _set_state(change: StateChange) -> CampaignStatus:
    """Write the state, however long the database takes; its status then."""
    return await workflow.execute_activity_method(
        CampaignActivities.set_campaign_state,
        change,
        start_to_close_timeout=DATABASE_TIMEOUT,
        retry_policy=FREQUENT_RETRY,
        priority=_FIRST,
        summary=change.state.value,
    )


async def _dispatch_rows(campaign_id: str, *, after_row: int) -> DispatchResult:
    """Start the messages of the next rows; each once, even if this is retried.

    The database knows which rows are next; `after_row` only appears in the summary.
    """
    return await workflow.execute_activity_method(
        CampaignActivities.dispatch_rows,
        CampaignKey(campaign_id=campaign_id),
        start_to_close_timeout=_DISPATCH_TIMEOUT,
        heartbeat_timeout=_HEARTBEAT_TIMEOUT,
        retry_policy=UNLIMITED_RETRY,
        priority=_LAST,
        summary=f"after row {after_row}",
    )


async def _count_messages(campaign_id: str, *, last_row: int) -> MessageCounts:
    """How many of its messages are running and how many have ended, by visibility."""
    return await workflow.execute_activity_method(
        CampaignActivities.count_messages,
        CountRequest(campaign_id=campaign_id, last_row=last_row),
        start_to_close_timeout=_COUNT_TIMEOUT,
        retry_policy=UNLIMITED_RETRY,
        priority=_LAST,
        summary="count its messages",
    )


async def _count_outcomes(campaign_id: str) -> OutcomeCounts:
    """How its messages ended, by visibility."""
    return await workflow.execute_activity_method(
        CampaignActivities.count_outcomes,
        CampaignKey(campaign_id=campaign_id),
        start_to_close_timeout=_COUNT_TIMEOUT,
        retry_policy=UNLIMITED_RETRY,
        priority=_LAST,
        summary="count the outcomes",
    )
