"""Rows that are put aside on disk."""

import tempfile
from pathlib import Path
from typing import Any

import pytest

from signedfor.cli.campaigns.kept import KeptRows
from signedfor.cli.output import Trouble
from signedfor.store.campaigns import CampaignRow
from tests.signedfor.cli.campaigns.support import number


def _row(index: int, **fields: str) -> CampaignRow:
    return CampaignRow(number=index, to=number(index), fields=fields, segments=index)


def test_they_come_back_as_they_were() -> None:
    """In batches, as often as they are asked for; any text in a field."""
    rows = [_row(index, name="Zoë\n\t\0 😀", code='"') for index in range(1, 1502)]
    with KeptRows() as kept:
        for row in rows:
            kept.add(row)
        batches = list(kept.batches())

        assert [1000, 501] == [len(batch) for batch in batches]
        assert rows == [row for batch in batches for row in batch]
        assert batches == list(kept.batches())


def _all_full(*_: object, **options: Any) -> Any:
    return Path("/dev/full").open("w+", **options)


def _full_at_once(*_: object, **options: Any) -> Any:
    return _all_full(**options, buffering=1)


def test_a_full_disk_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """At once, or when they are read again; leaving them behind is no trouble."""
    monkeypatch.setattr(tempfile, "TemporaryFile", _full_at_once)
    with KeptRows() as kept, pytest.raises(Trouble, match="No space left on device"):
        kept.add(_row(1))

    monkeypatch.setattr(tempfile, "TemporaryFile", _all_full)
    with KeptRows() as kept:
        kept.add(_row(1))
        with pytest.raises(Trouble, match="No space left on device"):
            list(kept.batches())


def test_without_a_folder_for_temporary_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said which one is meant."""

    def none(*_: object, **__: object) -> None:
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(tempfile, "TemporaryFile", none)

    with pytest.raises(Trouble, match="which TMPDIR names"):
        KeptRows()
