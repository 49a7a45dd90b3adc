"""What the campaign's workflow makes of words that come in another order than they were said."""

from datetime import UTC, datetime, timedelta

from signedfor.campaign_activities import CampaignStatus
from signedfor.contract import CampaignState

BEFORE = datetime(2026, 11, 21, tzinfo=UTC)


def test_the_newest_state_and_the_furthest_row_stand() -> None:
    """Whichever is heard last: a decision may be read before a page was noted, and heard after."""
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
