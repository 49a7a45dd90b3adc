"""What is known of a campaign at the first look: how fast it is, and how long it still takes."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine

from signedfor.campaigns.progress import CampaignStatus, SenderTime, WorkflowState, sender_time
from signedfor.contract import CampaignState, MessageRequest
from signedfor.store.campaigns import CampaignRecord, CampaignRow, Campaigns
from signedfor.store.rate_limiter import RateLimiter
from signedfor.store.send_attempts import SendAttempts
from tests.signedfor.campaigns.support import message, number
from tests.workflows.fakes import SENDER

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


def _record(
    state: CampaignState = CampaignState.RUNNING, *, last_row: int = 40, skipped: int = 0
) -> CampaignRecord:
    return CampaignRecord(
        campaign_id="c",
        message=message(),
        state=state,
        since=NOW - timedelta(minutes=5),
        rows=100,
        segments=200,
        columns=(),
        last_row=last_row,
        skipped=skipped,
        created_at=NOW - timedelta(hours=1),
    )


def _status(
    counts: Mapping[str, int],
    record: CampaignRecord | None = None,
    *,
    recent: float | None = None,
    backlog: float = 20,
    shared: float = 120,
    is_paused: bool = False,
) -> CampaignStatus:
    return CampaignStatus(
        record=record or _record(),
        workflow=WorkflowState.RUNNING,
        counts=dict(counts),
        sender=SenderTime(
            rate=2,
            backlog=timedelta(seconds=backlog),
            is_paused=is_paused,
            shared_segments=shared,
            recent=recent,
        ),
        at=NOW,
    )


def test_the_time_left_is_known_at_the_first_look() -> None:
    """What is reserved at the sender, and what is not dispatched yet at its rate."""
    status = _status({"delivered": 20, "waiting": 20})

    assert timedelta(seconds=20 + 120 / 2) == status.left
    assert 60 + 20 == status.remaining


def test_what_was_sent_in_the_last_minute_makes_it_longer() -> None:
    """Where something else is slower than the sender, that decides; never the other way round."""
    counts = {"delivered": 20, "waiting": 20}

    assert timedelta(seconds=80 / 0.5) == _status(counts, recent=0.5).left
    assert timedelta(seconds=80) == _status(counts, recent=50).left
    assert timedelta(seconds=80) == _status(counts, recent=0).left


@pytest.mark.parametrize("state", [CampaignState.PAUSED, CampaignState.FINISHED])
def test_there_is_no_time_left_for_what_does_not_run(state: CampaignState) -> None:
    """Nor while its sender is paused: nobody knows for how long."""
    assert _status({"waiting": 40}, _record(state)).left is None
    assert _status({"waiting": 40}, is_paused=True).left is None
    assert timedelta(0) == _status({"delivered": 100}, _record(last_row=100)).left


def test_a_row_that_temporal_has_forgotten_was_dispatched() -> None:
    """The list forgets messages after the retention; the database knows what was dispatched."""
    status = _status({"delivered": 10}, _record(last_row=90, skipped=5))

    assert (85, 10, 85) == (status.dispatched, status.not_dispatched, status.done)


def _start(engine: Engine, campaign_id: str, *, rows: int, last_row: int) -> None:
    campaigns = Campaigns(engine)
    campaigns.create(campaign_id, message())
    campaigns.add_rows(
        campaign_id,
        [
            CampaignRow(number=index, to=number(index), fields={}, segments=2)
            for index in range(1, rows + 1)
        ],
    )
    campaigns.finish_loading(campaign_id, rows=rows, segments=2 * rows)
    campaigns.dispatched(campaign_id, last_row=last_row, skipped=0)


def test_campaigns_of_one_sender_share_its_time(engine: Engine) -> None:
    """One with less to send takes only what it needs; one of another sender takes nothing."""
    _start(engine, "mine", rows=10, last_row=4)
    _start(engine, "short", rows=3, last_row=2)
    _start(engine, "long", rows=50, last_row=0)
    Campaigns(engine).create("another", message(**{"from": "+15005550009"}))
    limiter = RateLimiter(engine)
    limiter.set_rate(SENDER, 4)
    record = Campaigns(engine).find("mine")
    assert record is not None

    found = sender_time(engine, limiter, record)

    assert (12 + 2 + 12, 4, False) == (found.shared_segments, found.rate, found.is_paused)


def test_the_rate_is_that_of_the_posts_on_record(engine: Engine) -> None:
    """In the last minute, or since the campaign was created; of this campaign only."""
    _start(engine, "a_b", rows=10, last_row=4)
    limiter = RateLimiter(engine)
    attempts = SendAttempts(engine, limiter)
    for message_id in ("a_b:1", "a_b:2", "axb:3", "other:4"):
        request = MessageRequest(to=number(1), body="x")
        attempts.claim(message_id, request, sender=f"+1500555{len(message_id)}00{message_id[-1]}")
    record = Campaigns(engine).find("a_b")
    assert record is not None
    begin = datetime.now(UTC) - timedelta(seconds=30)

    found = sender_time(engine, limiter, replace(record, created_at=begin))

    span = (datetime.now(UTC) - begin).total_seconds()
    assert found.recent is not None
    assert 2 / span <= found.recent <= 2 / 30
