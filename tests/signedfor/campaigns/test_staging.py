"""Checked rows are staged on disk and become a campaign once, wherever loading was interrupted."""

import re
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from signedfor.campaigns.checks import check_file
from signedfor.campaigns.recipients import opened
from signedfor.campaigns.staging import (
    StagedRows,
    derived_id,
    load,
    require_same_rows,
)
from signedfor.contract import CampaignState
from signedfor.errors import Refused, Unavailable
from signedfor.store.campaigns import CampaignRow, Campaigns
from signedfor.store.suppressions import Suppressions
from tests.signedfor.campaigns.support import good_rows, message, number, written


def _row(index: int, **fields: str) -> CampaignRow:
    return CampaignRow(number=index, to=number(index), fields=fields, segments=index)


def test_rows_are_read_back_unchanged() -> None:
    """They can be read repeatedly, in batches, with any text in a field."""
    rows = [_row(index, name="Zoë\n\t\0 😀", code='"') for index in range(1, 1502)]
    with StagedRows() as staged:
        for row in rows:
            staged.add(row)
        batches = list(staged.batches())

        assert [1000, 501] == [len(batch) for batch in batches]
        assert rows == [row for batch in batches for row in batch]
        assert batches == list(staged.batches())


def _all_full(*_: object, **options: Any) -> Any:
    return Path("/dev/full").open("w+", **options)


def _full_at_once(*_: object, **options: Any) -> Any:
    return _all_full(**options, buffering=1)


def test_a_full_disk_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the rows are written or read again; closing the file raises nothing."""
    monkeypatch.setattr(tempfile, "TemporaryFile", _full_at_once)
    with StagedRows() as staged, pytest.raises(Unavailable, match="No space left on device"):
        staged.add(_row(1))

    monkeypatch.setattr(tempfile, "TemporaryFile", _all_full)
    with StagedRows() as staged:
        staged.add(_row(1))
        with pytest.raises(Unavailable, match="No space left on device"):
            list(staged.batches())


def test_without_a_folder_for_temporary_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the variable."""

    def none(*_: object, **__: object) -> None:
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(tempfile, "TemporaryFile", none)

    with pytest.raises(Unavailable, match="which TMPDIR names"):
        StagedRows()


ROWS = 2100
"""More than two batches."""


class Killed(BaseException):
    """The end of the process."""


class KilledCampaigns(Campaigns):
    """Campaigns in a process that dies before the call with this number."""

    def __init__(self, engine: Engine, *, calls: int) -> None:
        super().__init__(engine)
        self._left = calls

    def create(self, *given: Any) -> Any:
        """See base class."""
        self._count_call()
        return super().create(*given)

    def add_rows(self, campaign_id: str, rows: Sequence[CampaignRow]) -> None:
        """See base class."""
        self._count_call()
        super().add_rows(campaign_id, rows)

    def finish_loading(self, campaign_id: str, *, rows: int, segments: int) -> None:
        """See base class."""
        self._count_call()
        super().finish_loading(campaign_id, rows=rows, segments=segments)

    def _count_call(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise Killed


@pytest.fixture
def staged() -> Iterator[StagedRows]:
    """An empty staging file."""
    with StagedRows() as rows:
        yield rows


def _stage(engine: Engine, path: Path, staged: StagedRows) -> None:
    with opened(path) as file:
        check_file(
            file, message(), to_column="to", suppressions=Suppressions(engine), staged=staged
        )


def _load(campaigns: Campaigns, staged: StagedRows) -> None:
    load(campaigns, "c-1", message(), staged)


@pytest.mark.parametrize("calls", range(5))
def test_a_load_that_was_killed_continues(
    sqlite_engine: Engine, tmp_path: Path, staged: StagedRows, calls: int
) -> None:
    """The campaign runs only when every row is loaded, each once and in order."""
    engine = sqlite_engine
    _stage(engine, written(tmp_path, *good_rows(ROWS)), staged)
    with pytest.raises(Killed):
        _load(KilledCampaigns(engine, calls=calls), staged)
    campaigns = Campaigns(engine)
    before = campaigns.find("c-1")
    assert before is None or before.state is CampaignState.LOADING

    _load(campaigns, staged)

    record = campaigns.find("c-1")
    rows = campaigns.page("c-1", after=0, limit=ROWS + 1)
    assert record is not None
    assert (CampaignState.RUNNING, ROWS, ROWS) == (record.state, record.rows, record.segments)
    assert [(index + 1, number(index)) for index in range(ROWS)] == [
        (row.number, row.to) for row in rows
    ]
    assert {"name": "Ann 7", "code": "C7"} == rows[7].fields


def test_an_id_that_is_in_use_is_refused(
    engine: Engine, tmp_path: Path, staged: StagedRows
) -> None:
    """A campaign with another text or other rows has it; that campaign does not change."""
    campaigns = Campaigns(engine)
    _stage(engine, written(tmp_path, *good_rows(12)), staged)
    _load(campaigns, staged)

    with pytest.raises(Refused, match="differs in body"):
        load(campaigns, "c-1", message("Another"), staged)
    for lines in (
        [*good_rows(11)],
        [*good_rows(13)],
        [*good_rows(11), f"{number(99)},Ann 11,C11"],
        [*good_rows(11), f"{number(11)},Ben,C11"],
    ):
        with StagedRows() as others:
            _stage(engine, written(tmp_path, *lines), others)
            record = campaigns.find("c-1")
            assert record is not None
            with pytest.raises(Refused, match="rows of another file"):
                require_same_rows(campaigns, record, others)

    assert list(staged.batches()) == [campaigns.page("c-1", after=0, limit=100)]


def test_other_rows_under_the_same_id_are_found_while_loading(
    engine: Engine, tmp_path: Path, staged: StagedRows
) -> None:
    """Two files loaded at the same time under one id are never mixed in one campaign."""
    campaigns = Campaigns(engine)
    _stage(engine, written(tmp_path, *good_rows(5)), staged)
    campaigns.create("c-1", message())
    foreign = CampaignRow(number=3, to=number(99), fields={}, segments=1)
    campaigns.add_rows("c-1", [foreign])

    with pytest.raises(Refused, match="rows of another file"):
        _load(campaigns, staged)

    after = campaigns.find("c-1")
    assert after is not None
    assert CampaignState.LOADING is after.state


def test_a_campaign_canceled_while_loading_is_still_the_same(
    engine: Engine, tmp_path: Path, staged: StagedRows
) -> None:
    """The rows that were loaded are this file's, even if some are missing."""
    campaigns = Campaigns(engine)
    _stage(engine, written(tmp_path, *good_rows(5)), staged)
    campaigns.create("c-1", message())
    campaigns.add_rows("c-1", next(staged.batches())[:2])
    campaigns.set_state("c-1", CampaignState.CANCELED)
    record = campaigns.find("c-1")
    assert record is not None

    require_same_rows(campaigns, record, staged)

    with StagedRows() as others:
        _stage(engine, written(tmp_path, *good_rows(1)), others)
        with pytest.raises(Refused, match="rows of another file"):
            require_same_rows(campaigns, record, others)


def test_the_id_is_derived_from_message_and_rows() -> None:
    """Same text, options and rows, same id; explicit defaults make no difference."""

    def made(fingerprint: str = "f", **fields: object) -> str:
        return derived_id(message(**fields), fingerprint)  # type: ignore[arg-type] # fields of any kind

    same = {made(), made(priority="bulk"), made(expires_at=None), made(tags={})}
    others = [made("g"), made(body="Another"), made(category="marketing")]

    assert 1 == len(same)
    assert 4 == len({*same, *others})
    # Fixed for every later version: another id would be another campaign.
    assert {"c-hhodmcedbbgkjgjp"} == same
    # No digit of its own may form a phone number with a row's number appended.
    assert not re.search("[0-9]", "".join([*same, *others]))


def test_the_fingerprint_does_not_depend_on_the_file_format(
    sqlite_engine: Engine, tmp_path: Path
) -> None:
    """It covers recipients and fields, in order."""

    def fingerprint(content: str) -> str:
        path = tmp_path / "file.csv"
        path.write_text(content, newline="")
        with StagedRows() as rows:
            _stage(sqlite_engine, path, rows)
            return rows.fingerprint

    one, two = f"{number(1)},Ann,C1", f"{number(2)},Ben,C2"
    same = [
        f"to,name,code\n{one}\n{two}\n",
        f"\ufeffto,name,code\r\n{one}\r\n\r\n{two}",
        f"To;Name;Code;Other\n{one.replace(',', ';')};x\n{two.replace(',', ';')};y\n",
        f"code,name,to\nC1, Ann ,'{number(1)}\nC2,Ben,+1 555 {number(2)[5:]}\n",
    ]
    others = [
        f"to,name,code\n{two}\n{one}\n",
        f"to,name,code\n{one}\n",
        f"to,name,code\n{one}\n{number(2)},Bea,C2\n",
    ]

    assert 1 == len({fingerprint(content) for content in same})
    assert 4 == len({fingerprint(content) for content in (same[0], *others)})
