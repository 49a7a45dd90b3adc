"""The columns of a campaign's report: ours, then the caller's own."""

from datetime import UTC, datetime

from signedfor.campaigns.report import COLUMNS, ReportLine, RowOutcome, header
from signedfor.contract import CampaignState
from signedfor.store.campaigns import CampaignRecord, CampaignRow
from tests.signedfor.campaigns.support import message, number

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


def _record(*columns: str) -> CampaignRecord:
    return CampaignRecord(
        campaign_id="c",
        message=message(),
        state=CampaignState.FINISHED,
        since=NOW,
        rows=1,
        segments=1,
        columns=columns,
        last_row=1,
        skipped=0,
        created_at=NOW,
    )


def test_the_callers_columns_follow_ours_in_their_order() -> None:
    """As they are written, unless one is called like one of ours: then it gets a number."""
    assert [*COLUMNS, "Name", "to_2", "City"] == header(_record("Name", "to", "City"))
    assert [*COLUMNS, "TO_3", "to_2", "Status_2"] == header(_record("TO", "to_2", "Status"))


def test_no_two_columns_have_the_same_name() -> None:
    """Whatever the caller's are called, the report can be read by name, and be started again."""
    names = header(_record(*COLUMNS, *(f"{name}_2" for name in COLUMNS), "row_3"))

    assert len(names) == len({name.lower() for name in names})


def test_a_row_without_stored_cells_is_filled_up() -> None:
    """A campaign of a version before has none: its report has our columns."""
    row = CampaignRow(number=1, to=number(1), fields={}, segments=1)
    line = ReportLine(row=row, outcome=RowOutcome(message_id="c:1", status="delivered"))

    assert ["1", number(1), "c:1", "delivered", "0", "", "", "", ""] == line.cells(0)
    assert ["", ""] == line.cells(2)[len(COLUMNS) :]
