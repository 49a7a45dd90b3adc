"""Checked rows become a campaign once, wherever the loading was cut off."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from signedfor.cli.campaigns.check import check_file
from signedfor.cli.campaigns.kept import KeptRows
from signedfor.cli.campaigns.load import begun, derived_id, load, require_same_rows
from signedfor.cli.campaigns.preview import Tally
from signedfor.cli.campaigns.recipients import opened
from signedfor.cli.output import Refused
from signedfor.contract import CampaignState
from signedfor.store.campaigns import CampaignRow, Campaigns
from signedfor.store.database import open_engine
from signedfor.store.suppressions import Suppressions
from tests.signedfor.cli.campaigns.support import good_rows, message, number, written

ROWS = 2100
"""More than two batches."""


class Killed(BaseException):
    """Stands for the end of the process."""


class Mortal(Campaigns):
    """The real thing, which ends before the call with this number."""

    def __init__(self, engine: Engine, *, calls: int) -> None:
        super().__init__(engine)
        self._left = calls

    def create(self, *given: Any) -> Any:
        """See base class."""
        self._live()
        return super().create(*given)

    def add_rows(self, campaign_id: str, rows: Sequence[CampaignRow]) -> None:
        """See base class."""
        self._live()
        super().add_rows(campaign_id, rows)

    def finish_loading(self, campaign_id: str, *, rows: int, segments: int) -> None:
        """See base class."""
        self._live()
        super().finish_loading(campaign_id, rows=rows, segments=segments)

    def _live(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise Killed


@pytest.fixture
def kept() -> Iterator[KeptRows]:
    """Nothing kept yet."""
    with KeptRows() as rows:
        yield rows


@pytest.fixture
def sqlite_engine(sqlite_url: str) -> Iterator[Engine]:
    """A fresh SQLite database; what differs between databases is the store's, and tested there."""
    engine = open_engine(sqlite_url)
    yield engine
    engine.dispose()


def _checked(engine: Engine, path: Path, kept: KeptRows) -> Tally:
    with opened(path) as file:
        return check_file(
            file, message(), to_column="to", suppressed=Suppressions(engine), kept=kept
        )


def _run(campaigns: Campaigns, tally: Tally, kept: KeptRows) -> None:
    load(campaigns, begun(campaigns, "c-1", message()), kept, tally)


@pytest.mark.parametrize("calls", range(5))
def test_cut_off_anywhere_it_goes_on(
    sqlite_engine: Engine, tmp_path: Path, kept: KeptRows, calls: int
) -> None:
    """Until every row is there it does not run; then each row is there once, in order."""
    engine = sqlite_engine
    tally = _checked(engine, written(tmp_path, *good_rows(ROWS)), kept)
    with pytest.raises(Killed):
        _run(Mortal(engine, calls=calls), tally, kept)
    campaigns = Campaigns(engine)
    before = campaigns.find("c-1")
    assert before is None or before.state is CampaignState.LOADING

    _run(campaigns, tally, kept)

    record = campaigns.find("c-1")
    rows = campaigns.page("c-1", after=0, limit=ROWS + 1)
    assert record is not None
    assert (CampaignState.RUNNING, ROWS, ROWS) == (record.state, record.rows, record.segments)
    assert [(index + 1, number(index)) for index in range(ROWS)] == [
        (row.number, row.to) for row in rows
    ]
    assert {"name": "Ann 7", "code": "C7"} == rows[7].fields


def test_an_id_that_is_taken_is_refused(engine: Engine, tmp_path: Path, kept: KeptRows) -> None:
    """By another text, other rows, fewer or more; the campaign that is there stays as it is."""
    campaigns = Campaigns(engine)
    tally = _checked(engine, written(tmp_path, *good_rows(12)), kept)
    _run(campaigns, tally, kept)

    with pytest.raises(Refused, match="differs in body"):
        begun(campaigns, "c-1", message("Another"))
    for lines in (
        [*good_rows(11)],
        [*good_rows(13)],
        [*good_rows(11), f"{number(99)},Ann 11,C11"],
        [*good_rows(11), f"{number(11)},Ben,C11"],
    ):
        with KeptRows() as others:
            other = _checked(engine, written(tmp_path, *lines), others)
            record = campaigns.find("c-1")
            assert record is not None
            with pytest.raises(Refused, match="rows of another file"):
                require_same_rows(campaigns, record, others, other)

    assert list(kept.batches()) == [campaigns.page("c-1", after=0, limit=100)]


def test_other_rows_under_the_same_id_are_found_while_loading(
    engine: Engine, tmp_path: Path, kept: KeptRows
) -> None:
    """Two files at the same time under one id: it does not run with a mixture of them."""
    campaigns = Campaigns(engine)
    tally = _checked(engine, written(tmp_path, *good_rows(5)), kept)
    record = begun(campaigns, "c-1", message())
    stranger = CampaignRow(number=3, to=number(99), fields={}, segments=1)
    campaigns.add_rows("c-1", [stranger])

    with pytest.raises(Refused, match="rows of another file"):
        load(campaigns, record, kept, tally)

    after = campaigns.find("c-1")
    assert after is not None
    assert CampaignState.LOADING is after.state


def test_canceled_while_it_was_loading_it_is_the_same_still(
    engine: Engine, tmp_path: Path, kept: KeptRows
) -> None:
    """The rows that are there are this file's, however many are missing."""
    campaigns = Campaigns(engine)
    tally = _checked(engine, written(tmp_path, *good_rows(5)), kept)
    begun(campaigns, "c-1", message())
    campaigns.add_rows("c-1", next(kept.batches())[:2])
    campaigns.set_state("c-1", CampaignState.CANCELED)
    record = campaigns.find("c-1")
    assert record is not None

    require_same_rows(campaigns, record, kept, tally)

    with KeptRows() as others:
        other = _checked(engine, written(tmp_path, *good_rows(1)), others)
        with pytest.raises(Refused, match="rows of another file"):
            require_same_rows(campaigns, record, others, other)


def test_the_id_is_of_what_is_sent_to_whom() -> None:
    """Same text, options and rows, same id; what is at its default makes no difference."""

    def made(fingerprint: str = "f", **fields: object) -> str:
        return derived_id(message(**fields), fingerprint)  # type: ignore[arg-type] # fields of any kind

    same = {made(), made(priority="bulk"), made(expires_at=None), made(tags={})}
    others = [made("g"), made(body="Another"), made(category="marketing")]

    assert 1 == len(same)
    assert 4 == len({*same, *others})
    # Known, and so the same in every later version: another id would be another campaign.
    assert {"c-hhodmcedbbgkjgjp"} == same
    # With a row's number behind it, no digit of its own could make somebody's number of it.
    assert not re.search("[0-9]", "".join([*same, *others]))


def test_rows_are_the_same_however_they_are_saved(sqlite_engine: Engine, tmp_path: Path) -> None:
    """Their fingerprint is of whom they go to with which fields, and in which order."""

    def fingerprint(content: str) -> str:
        path = tmp_path / "file.csv"
        path.write_text(content, newline="")
        with KeptRows() as rows:
            _checked(sqlite_engine, path, rows)
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
