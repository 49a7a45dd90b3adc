"""What the campaign's workflow makes of words that come in another order than they were said."""

from datetime import UTC, datetime, timedelta

from signedfor.campaign_steps import CampaignStanding

from signedfor.contract import CampaignState

BEFORE = datetime(2026, 11, 21, tzinfo=UTC)


def test_the_newest_state_and_the_furthest_row_stand() -> None:
    """Whichever is heard last: a decision may be read before a page was noted, and heard after."""
    page = CampaignStanding(
        state=CampaignState.RUNNING, since=BEFORE, rows=9, last_row=6, skipped=2
    )
    decision = CampaignStanding(
        state=CampaignState.PAUSED,
        since=BEFORE + timedelta(seconds=1),
        rows=9,
        last_row=4,
        skipped=1,
    )

    both = {page.updated(decision), decision.updated(page)}
    assert {decision.model_copy(update={"last_row": 6, "skipped": 2})} == both
