"""Campaigns: their rows, which must be complete before one runs, and their states."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest
from sqlalchemy import Engine

from signedfor.contract import CampaignMessage, CampaignState
from signedfor.store.campaigns import CampaignRow, Campaigns, NoSuchCampaign, RowsMissing

MESSAGE = CampaignMessage(sender="+15005550006", body="Hi {name}", tags={"year": "2026"})
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


def _row(number: int, *, name: str = "Zoë 🦊\u0000") -> CampaignRow:
    return CampaignRow(
        number=number, to=f"+1555867{number:04}", fields={"name": name}, segments=number
    )


def _campaigns(engine: Engine) -> Campaigns:
    minutes = count()
    return Campaigns(engine, now=lambda: NOW + timedelta(minutes=next(minutes)))


def _loaded(engine: Engine, *, rows: int = 3) -> Campaigns:
    campaigns = _campaigns(engine)
    campaigns.create("c", MESSAGE)
    campaigns.add_rows("c", [_row(number) for number in range(1, rows + 1)])
    campaigns.finish_loading("c", rows=rows, segments=6)
    return campaigns


def test_creating_a_campaign_twice_changes_nothing(engine: Engine) -> None:
    """The second call returns the first record, even if its message differs."""
    campaigns = _campaigns(engine)
    first = campaigns.create("c", MESSAGE)
    other = MESSAGE.model_copy(update={"body": "Another text"})

    assert campaigns.create("c", other) == first == campaigns.find("c")
    assert (first.state, first.rows, first.created_at) == (CampaignState.LOADING, 0, NOW)
    assert first.message == MESSAGE
    assert campaigns.find("another") is None


def test_rows_are_read_in_pages(engine: Engine) -> None:
    """Fields may contain any text; a page starts after the given number."""
    campaigns = _loaded(engine)
    campaigns.create("other", MESSAGE)
    campaigns.add_rows("other", [_row(1)])

    assert campaigns.page("c", after=0, limit=2) == [_row(1), _row(2)]
    assert campaigns.page("c", after=2, limit=2) == [_row(3)]
    assert campaigns.page("c", after=3, limit=2) == []


def test_the_cells_of_the_file_are_kept(engine: Engine) -> None:
    """With their columns, for the report; dispatching does not read them."""
    campaigns, cells = _campaigns(engine), ("Zoë", "=1+1", "")
    assert ("Name", "to", "") == campaigns.create("c", MESSAGE, ["Name", "to", ""]).columns
    campaigns.add_rows("c", [replace(_row(1), cells=cells)])

    assert [cells] == [row.cells for row in campaigns.page("c", after=0, limit=9, with_cells=True)]
    assert [()] == [row.cells for row in campaigns.page("c", after=0, limit=9)]


def test_a_row_is_written_once(engine: Engine) -> None:
    """An existing row does not change, so a file can be loaded again after a crash."""
    campaigns = _campaigns(engine)
    campaigns.create("c", MESSAGE)
    campaigns.add_rows("c", [_row(1), _row(2)])
    campaigns.add_rows("c", [_row(2, name="Someone else"), _row(3)])
    campaigns.add_rows("c", [])

    assert campaigns.page("c", after=0, limit=9) == [_row(1), _row(2), _row(3)]


def test_nothing_is_added_to_a_loaded_campaign(engine: Engine) -> None:
    """Its rows do not change once it is running."""
    campaigns = _loaded(engine)
    campaigns.add_rows("c", [_row(4)])
    campaigns.finish_loading("c", rows=3, segments=99)
    record = campaigns.find("c")

    assert len(campaigns.page("c", after=0, limit=9)) == 3
    assert record is not None
    assert (record.state, record.rows, record.segments) == (CampaignState.RUNNING, 3, 6)
    assert record.since == NOW + timedelta(minutes=1)


@pytest.mark.parametrize("numbers", [(), (1, 2), (1, 2, 4), (1, 2, 3, 4)])
def test_a_campaign_with_wrong_rows_does_not_start(
    engine: Engine, numbers: tuple[int, ...]
) -> None:
    """If rows are missing or there are too many, it stays in the loading state."""
    campaigns = _campaigns(engine)
    campaigns.create("c", MESSAGE)
    campaigns.add_rows("c", [_row(number) for number in numbers])

    with pytest.raises(RowsMissing):
        campaigns.finish_loading("c", rows=3, segments=6)
    record = campaigns.find("c")
    assert record is not None
    assert record.state is CampaignState.LOADING


def test_the_last_decision_sets_the_state(engine: Engine) -> None:
    """A canceled campaign stays canceled."""
    campaigns = _loaded(engine)
    for state in (CampaignState.PAUSED, CampaignState.RUNNING, CampaignState.CANCELED):
        assert campaigns.set_state("c", state) is state
    canceled = campaigns.find("c")

    assert campaigns.set_state("c", CampaignState.RUNNING) is CampaignState.CANCELED
    assert campaigns.set_state("c", CampaignState.FINISHED) is CampaignState.CANCELED
    assert campaigns.find("c") == canceled


def test_an_outdated_decision_changes_nothing(engine: Engine) -> None:
    """An activity attempt that timed out may still write; newer decisions are kept."""
    campaigns = _loaded(engine)
    paused, resumed = NOW + timedelta(hours=1), NOW + timedelta(hours=2)
    campaigns.set_state("c", CampaignState.PAUSED, since=paused)
    campaigns.set_state("c", CampaignState.RUNNING, since=resumed)

    late = campaigns.set_state("c", CampaignState.PAUSED, since=paused)
    assert late is CampaignState.RUNNING
    record = campaigns.find("c")
    assert record is not None
    assert record.since == resumed


def test_progress_only_increases(engine: Engine) -> None:
    """Recording progress returns the current record; outdated progress changes nothing."""
    campaigns = _loaded(engine, rows=9)
    created = campaigns.find("c")
    further = campaigns.dispatched("c", last_row=6, skipped=2)
    campaigns.set_state("c", CampaignState.PAUSED)
    late = [campaigns.dispatched("c", last_row=row, skipped=1) for row in (0, 4, 6)]
    last = campaigns.dispatched("c", last_row=9, skipped=3)

    assert created is not None
    assert (0, 0) == (created.last_row, created.skipped)
    assert (6, 2, CampaignState.RUNNING) == (further.last_row, further.skipped, further.state)
    assert {(6, 2, CampaignState.PAUSED)} == {
        (each.last_row, each.skipped, each.state) for each in late
    }
    assert (9, 3) == (last.last_row, last.skipped)
    assert last == campaigns.find("c")


def test_the_newest_campaigns_are_listed_first(engine: Engine) -> None:
    """At most `limit` are returned."""
    campaigns = _campaigns(engine)
    for name in ("a", "b", "c"):
        campaigns.create(name, MESSAGE)

    assert [each.campaign_id for each in campaigns.newest(limit=2)] == ["c", "b"]


def test_a_campaign_with_the_same_message_is_found(engine: Engine) -> None:
    """The newest in any state but loading is found, and not the campaign itself."""
    campaigns = _campaigns(engine)
    for name, message in (
        *(("first", MESSAGE), ("second", MESSAGE), ("third", MESSAGE)),
        ("other", MESSAGE.model_copy(update={"category": "news"})),
    ):
        campaigns.create(name, message)
        campaigns.add_rows(name, [_row(1)])
        campaigns.finish_loading(name, rows=1, segments=1)
    campaigns.create("loading", MESSAGE)
    campaigns.set_state("second", CampaignState.CANCELED)

    assert campaigns.find_identical(MESSAGE, other_than="third") == campaigns.find("second")
    assert campaigns.find_identical(MESSAGE, other_than="new") == campaigns.find("third")
    unlike = MESSAGE.model_copy(update={"body": "Another"})
    assert campaigns.find_identical(unlike, other_than="new") is None


def test_a_campaign_that_does_not_exist(engine: Engine) -> None:
    """Changing it raises an error; it has no rows."""
    campaigns = _campaigns(engine)
    with pytest.raises(NoSuchCampaign):
        campaigns.add_rows("c", [_row(1)])
    with pytest.raises(NoSuchCampaign):
        campaigns.finish_loading("c", rows=0, segments=0)
    with pytest.raises(NoSuchCampaign):
        campaigns.set_state("c", CampaignState.PAUSED)
    with pytest.raises(NoSuchCampaign):
        campaigns.dispatched("c", last_row=1, skipped=0)

    assert campaigns.page("c", after=0, limit=1) == []


def test_the_repr_of_records_contains_no_number_and_no_text(engine: Engine) -> None:
    """It may get into a log."""
    record = _loaded(engine).find("c")

    assert "Hi" not in repr(record)
    assert "5558670001" not in repr(_row(1))
    assert "Zoë" not in repr(_row(1))
