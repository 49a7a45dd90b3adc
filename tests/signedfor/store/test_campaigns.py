"""Campaigns and their rows: loaded whole or not begun, and their states."""

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


def _clocked(engine: Engine) -> Campaigns:
    minutes = count()
    return Campaigns(engine, now=lambda: NOW + timedelta(minutes=next(minutes)))


def _loaded(engine: Engine, *, rows: int = 3) -> Campaigns:
    campaigns = _clocked(engine)
    campaigns.create("c", MESSAGE)
    campaigns.add_rows("c", [_row(number) for number in range(1, rows + 1)])
    campaigns.finish_loading("c", rows=rows, segments=6)
    return campaigns


def test_begun_twice_is_one_campaign(engine: Engine) -> None:
    """The second `begin` returns the first one's record, whatever it says itself."""
    campaigns = _clocked(engine)
    first = campaigns.create("c", MESSAGE)
    other = MESSAGE.model_copy(update={"body": "Another text"})

    assert campaigns.create("c", other) == first == campaigns.find("c")
    assert (first.state, first.rows, first.created_at) == (CampaignState.LOADING, 0, NOW)
    assert first.message == MESSAGE
    assert campaigns.find("another") is None


def test_rows_come_back_in_pages_as_they_went_in(engine: Engine) -> None:
    """Any text in a field is kept; a page follows the number it is asked for."""
    campaigns = _loaded(engine)
    campaigns.create("other", MESSAGE)
    campaigns.add_rows("other", [_row(1)])

    assert campaigns.page("c", after=0, limit=2) == [_row(1), _row(2)]
    assert campaigns.page("c", after=2, limit=2) == [_row(3)]
    assert campaigns.page("c", after=3, limit=2) == []


def test_a_row_is_written_once(engine: Engine) -> None:
    """A number that is there stays as it is, so a file may be loaded again after a crash."""
    campaigns = _clocked(engine)
    campaigns.create("c", MESSAGE)
    campaigns.add_rows("c", [_row(1), _row(2)])
    campaigns.add_rows("c", [_row(2, name="Someone else"), _row(3)])
    campaigns.add_rows("c", [])

    assert campaigns.page("c", after=0, limit=9) == [_row(1), _row(2), _row(3)]


def test_nothing_is_added_to_a_loaded_campaign(engine: Engine) -> None:
    """What it sends is settled when it begins to run."""
    campaigns = _loaded(engine)
    campaigns.add_rows("c", [_row(4)])
    campaigns.finish_loading("c", rows=3, segments=99)
    record = campaigns.find("c")

    assert len(campaigns.page("c", after=0, limit=9)) == 3
    assert record is not None
    assert (record.state, record.rows, record.segments) == (CampaignState.RUNNING, 3, 6)
    assert record.since == NOW + timedelta(minutes=1)


@pytest.mark.parametrize("numbers", [(), (1, 2), (1, 2, 4), (1, 2, 3, 4)])
def test_a_campaign_with_other_rows_does_not_begin(
    engine: Engine, numbers: tuple[int, ...]
) -> None:
    """Rows missing, a gap or too many: it goes on loading."""
    campaigns = _clocked(engine)
    campaigns.create("c", MESSAGE)
    campaigns.add_rows("c", [_row(number) for number in numbers])

    with pytest.raises(RowsMissing):
        campaigns.finish_loading("c", rows=3, segments=6)
    record = campaigns.find("c")
    assert record is not None
    assert record.state is CampaignState.LOADING


def test_states_follow_one_another(engine: Engine) -> None:
    """The last decision stands, with its moment; an end is final."""
    campaigns = _loaded(engine)
    for state in (CampaignState.PAUSED, CampaignState.RUNNING, CampaignState.CANCELED):
        assert campaigns.set_state("c", state) is state
    canceled = campaigns.find("c")

    assert campaigns.set_state("c", CampaignState.RUNNING) is CampaignState.CANCELED
    assert campaigns.set_state("c", CampaignState.FINISHED) is CampaignState.CANCELED
    assert campaigns.find("c") == canceled


def test_a_decision_that_comes_late_changes_nothing(engine: Engine) -> None:
    """An activity that was taken for lost may still write: newer decisions stand."""
    campaigns = _loaded(engine)
    paused, resumed = NOW + timedelta(hours=1), NOW + timedelta(hours=2)
    campaigns.set_state("c", CampaignState.PAUSED, since=paused)
    campaigns.set_state("c", CampaignState.RUNNING, since=resumed)

    late = campaigns.set_state("c", CampaignState.PAUSED, since=paused)
    assert late is CampaignState.RUNNING
    record = campaigns.find("c")
    assert record is not None
    assert record.since == resumed


def test_how_far_it_came_is_only_ever_raised(engine: Engine) -> None:
    """Whoever notes it is told how the campaign stands; who comes late changes nothing."""
    campaigns = _loaded(engine, rows=9)
    begun = campaigns.find("c")
    further = campaigns.dispatched("c", last_row=6, skipped=2)
    campaigns.set_state("c", CampaignState.PAUSED)
    late = [campaigns.dispatched("c", last_row=row, skipped=1) for row in (0, 4, 6)]
    last = campaigns.dispatched("c", last_row=9, skipped=3)

    assert begun is not None
    assert (0, 0) == (begun.last_row, begun.skipped)
    assert (6, 2, CampaignState.RUNNING) == (further.last_row, further.skipped, further.state)
    assert {(6, 2, CampaignState.PAUSED)} == {
        (each.last_row, each.skipped, each.state) for each in late
    }
    assert (9, 3) == (last.last_row, last.skipped)
    assert last == campaigns.find("c")


def test_the_newest_are_listed_first(engine: Engine) -> None:
    """`newest` gives the last ones created, and no more than asked for."""
    campaigns = _clocked(engine)
    for name in ("a", "b", "c"):
        campaigns.create(name, MESSAGE)

    assert [each.campaign_id for each in campaigns.newest(limit=2)] == ["c", "b"]


def test_one_with_the_same_message_is_found(engine: Engine) -> None:
    """The newest, whatever became of it; not itself, one without rows or with another message."""
    campaigns = _clocked(engine)
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


def test_a_campaign_that_is_not_there(engine: Engine) -> None:
    """Whoever changes it is told so; paging finds nothing."""
    campaigns = _clocked(engine)
    with pytest.raises(NoSuchCampaign):
        campaigns.add_rows("c", [_row(1)])
    with pytest.raises(NoSuchCampaign):
        campaigns.finish_loading("c", rows=0, segments=0)
    with pytest.raises(NoSuchCampaign):
        campaigns.set_state("c", CampaignState.PAUSED)
    with pytest.raises(NoSuchCampaign):
        campaigns.dispatched("c", last_row=1, skipped=0)

    assert campaigns.page("c", after=0, limit=1) == []


def test_records_show_no_number_and_no_text(engine: Engine) -> None:
    """Their representations may end up in a log."""
    record = _loaded(engine).find("c")

    assert "Hi" not in repr(record)
    assert "5558670001" not in repr(_row(1))
    assert "Zoë" not in repr(_row(1))
