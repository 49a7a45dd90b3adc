"""One text to many: rows become messages at the sender's pace, until all of them have ended."""

import asyncio
import contextlib
from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import ApplicationError, FailureError

with workflow.unsafe.imports_passed_through():
    from signedfor.campaign_steps import CAMPAIGN_OVER, CampaignStanding
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
    )
    from workflows import campaign_calls as calls
    from workflows.inputs import checked_campaign_id

_PAGES_A_RUN = 100
"""About a thousand events: replayed in no time, and a quarter of what Temporal suggests at most."""
_FIRST_LOOK = timedelta(seconds=5)
_LONGEST_BETWEEN_LOOKS = timedelta(minutes=10)
_LIST_IS_BELIEVED_AFTER = timedelta(hours=1)
"""Temporal's list lags behind, and forgets what is older than its retention: so long it may know
fewer messages than were handed over, and of none that runs, before that is taken for the truth."""

_OVER = frozenset({CampaignState.CANCELED, CampaignState.FINISHED})
_MOMENT = timedelta(microseconds=1)


@workflow.defn(name=CAMPAIGN)
class Campaign:
    """Hands the rows over page by page, carries out decisions, and reports when all have ended.

    The database holds the rows, the state and how far it came, so that a run may end at any time:
    the next one, or a campaign that is started again, goes on where this one was.
    """

    _standing: CampaignStanding

    def __init__(self) -> None:
        self._campaign_id = ""
        self._begun = False
        self._cancel_is_wanted = False
        self._refused: FailureError | None = None
        self._deciding = asyncio.Lock()
        self._canceling: asyncio.Task[None] | None = None

    @workflow.run
    async def run(self, _request: CampaignRequest) -> CampaignReport:
        """Carry the campaign to its end; in several runs, if it is long."""
        life = asyncio.create_task(self._live())
        while True:
            try:
                # An update that is under way is answered before the run ends.
                await workflow.wait_condition(
                    lambda: life.done() and workflow.all_handlers_finished() and not self._canceling
                )
                break
            except asyncio.CancelledError:
                # Temporal's own "Request cancellation" means the same as the update.
                self._canceling = asyncio.create_task(self._cancel_if_not_over())
        report = await life
        if report is None:
            workflow.continue_as_new(CampaignRequest())
        return report

    async def _live(self) -> CampaignReport | None:
        """The report; None when another run is to go on."""
        try:
            self._campaign_id = checked_campaign_id()
            self._standing = await self._open()
        except FailureError as error:
            self._refused = error
            raise
        finally:
            self._begun = True
        self._describe()
        pages = 0
        while not self._is_over and self._has_more:
            if pages >= _PAGES_A_RUN or workflow.info().is_continue_as_new_suggested():
                return None
            await workflow.wait_condition(lambda: self._state is not CampaignState.PAUSED)
            if not self._is_over:
                await self._hand_over()
                pages += 1
        return await self._finish() if await self._messages_have_ended() else None

    async def _open(self) -> CampaignStanding:
        """How it stands, once its rows are loaded; or canceled, if that is wanted before."""
        opening = calls.start_opening(self._campaign_id)
        await workflow.wait_condition(lambda: opening.done() or self._cancel_is_wanted)
        if opening.done():
            return await opening
        # Its rows may never be loaded, and the database be away for long.
        opening.cancel()
        return await calls.set_state(
            self._campaign_id, CampaignState.CANCELED, since=workflow.now()
        )

    async def _hand_over(self) -> None:
        """A page of rows; then wait until the sender has use for more, or for a decision."""
        handed = await calls.hand_over(self._campaign_id, after_row=self._standing.last_row)
        self._adopt(handed.standing)
        if handed.come_again and self._has_more:
            await self._change_of_state(within=handed.come_again)

    async def _messages_have_ended(self) -> bool:
        """Wait until all have, as far as can be told; False when the next run is to look on."""
        wait, none_runs_since = _FIRST_LOOK, None
        while True:
            counts = await calls.count_messages(self._campaign_id, last_row=self._standing.last_row)
            if counts.running:
                none_runs_since = None
            elif none_runs_since is None:
                wait, none_runs_since = _FIRST_LOOK, workflow.now()
            if none_runs_since is not None and (
                counts.ended >= self._handed_over
                or workflow.now() - none_runs_since >= _LIST_IS_BELIEVED_AFTER
            ):
                return True
            if workflow.info().is_continue_as_new_suggested():
                return False
            changed = await self._change_of_state(within=wait)
            wait = _FIRST_LOOK if changed else min(wait * 2, _LONGEST_BETWEEN_LOOKS)

    async def _finish(self) -> CampaignReport:
        async with self._deciding:
            if not self._is_over:
                await self._set_state(CampaignState.FINISHED)
        return CampaignReport(
            campaign_id=self._campaign_id,
            state=self._state,
            rows=self._standing.rows,
            dispatched=self._handed_over,
            outcomes=await calls.count_outcomes(self._campaign_id),
            finished_at=workflow.now(),
        )

    @workflow.update(name=PAUSE_UPDATE)
    async def pause(self, _decision: CampaignDecision | None = None) -> CampaignProgress:
        """Let nothing of it be submitted until it is resumed; answer when that holds."""
        return await self._decide(CampaignState.PAUSED)

    @pause.validator
    def _may_be_paused(self, _decision: CampaignDecision | None = None) -> None:
        self._refuse_if_over(CampaignState.PAUSED)

    @workflow.update(name=RESUME_UPDATE)
    async def resume(self, _decision: CampaignDecision | None = None) -> CampaignProgress:
        """Let it go on."""
        return await self._decide(CampaignState.RUNNING)

    @resume.validator
    def _may_be_resumed(self, _decision: CampaignDecision | None = None) -> None:
        self._refuse_if_over(CampaignState.RUNNING)

    @workflow.update(name=CANCEL_UPDATE)
    async def cancel(self, _decision: CampaignDecision | None = None) -> CampaignProgress:
        """Let nothing of it be submitted any more; answer when that holds."""
        return await self._decide(CampaignState.CANCELED)

    @cancel.validator
    def _may_be_canceled(self, _decision: CampaignDecision | None = None) -> None:
        self._refuse_if_over(CampaignState.CANCELED)

    @workflow.query(name=PROGRESS_QUERY)
    def progress(self) -> CampaignProgress:
        """Say where the campaign stands."""
        if not self._begun or self._refused is not None:
            raise ApplicationError("The campaign has not started.", type="CampaignNotStarted")
        return CampaignProgress(
            campaign_id=self._campaign_id,
            state=self._state,
            since=self._standing.since,
            rows=self._standing.rows,
            dispatched=self._handed_over,
        )

    async def _cancel_if_not_over(self) -> None:
        with contextlib.suppress(FailureError):
            await self._decide(CampaignState.CANCELED)
        self._canceling = None

    async def _decide(self, state: CampaignState) -> CampaignProgress:
        """Bring it into this state, after whatever was decided before."""
        # A decision of the first workflow task comes before the campaign is known.
        self._cancel_is_wanted |= state is CampaignState.CANCELED
        await workflow.wait_condition(lambda: self._begun)
        if self._refused is not None:
            raise self._refused
        async with self._deciding:
            self._refuse_if_over(state)
            while self._state is not state:
                await self._set_state(state)
                self._refuse_if_over(state)
        return self.progress()

    def _refuse_if_over(self, wanted: CampaignState) -> None:
        is_known = self._begun and self._refused is None
        if is_known and self._is_over and self._state is not wanted:
            raise ApplicationError(f"The campaign is {self._state}.", type=CAMPAIGN_OVER)

    async def _set_state(self, state: CampaignState) -> None:
        # Later than the last decision, whatever the clocks: the database refuses an older one.
        since = max(workflow.now(), self._standing.since + _MOMENT)
        self._adopt(await calls.set_state(self._campaign_id, state, since=since))

    def _adopt(self, standing: CampaignStanding) -> None:
        """Take in what the database says, as far as nothing newer is known."""
        self._standing = self._standing.updated(standing)
        self._describe()

    async def _change_of_state(self, *, within: timedelta) -> bool:
        """Wait for one, at most so long; whether there was one."""
        state = self._state
        with contextlib.suppress(TimeoutError):
            await workflow.wait_condition(lambda: self._state is not state, timeout=within)
        return self._state is not state

    @property
    def _state(self) -> CampaignState:
        return self._standing.state

    @property
    def _is_over(self) -> bool:
        return self._state in _OVER

    @property
    def _has_more(self) -> bool:
        return self._standing.last_row < self._standing.rows

    @property
    def _handed_over(self) -> int:
        return self._standing.last_row - self._standing.skipped

    def _describe(self) -> None:
        """Markdown for the Temporal UI."""
        workflow.set_current_details(
            f"**{self._state}** since {self._standing.since:%Y-%m-%d %H:%M:%S} UTC\n\n"
            f"{self._handed_over} of {self._standing.rows} rows handed over"
            + (f", {self._standing.skipped} left out" if self._standing.skipped else "")
        )
