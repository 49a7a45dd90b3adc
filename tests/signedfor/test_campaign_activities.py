"""The campaign's status when activity results arrive out of order."""

from datetime import UTC, datetime, timedelta

from signedfor.campaign_activities import CampaignStatus
from signedfor.contract import CampaignState

BEFORE = datetime(2026, 11, 21, tzinfo=UTC)


def test_merging_keeps_the_newest_state_and_the_most_progress() -> None:
    """A decision may be read before a page is recorded and arrive after it, or the reverse."""
    page = CampaignStatus(state=CampaignState.RUNNING, since=BEFORE, rows=9, last_row=6, skipped=2)
    decision = CampaignStatus(
        state=CampaignState.PAUSED,
        since=BEFORE + timedelta(seconds=1),
        rows=9,
        last_row=4,
        skipped=1,
    )

    both = {page.merged(decision), decision.merged(page)}
    assert {decision.model_copy(update={"last_row": 6, "skipped": 2})} == both
