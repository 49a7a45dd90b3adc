"""Files that were checked and wait for the start of their campaign."""

import io
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine

from signedfor.store.campaign_uploads import LIFETIME, CampaignUploads
from tests.signedfor.campaigns.support import message

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
CONTENT = b"to,name\n" + b"x" * 2_500_000
MINUTE = timedelta(minutes=1)


def _uploads(engine: Engine, *, at: datetime = NOW) -> CampaignUploads:
    return CampaignUploads(engine, now=lambda: at)


def _added(engine: Engine, *, at: datetime = NOW, by: str = "ann") -> str:
    return _uploads(engine, at=at).add(
        io.BytesIO(CONTENT), message(), to_column="to", campaign_id=None, by=by
    )


def test_a_file_comes_back_as_it_was(engine: Engine) -> None:
    """Whole, however many parts it has, with what was checked."""
    uploads = _uploads(engine)
    upload = uploads.find(_added(engine), by="ann")
    assert upload is not None
    copy = io.BytesIO()

    assert uploads.copy_to(copy, upload)

    assert CONTENT == copy.getvalue()
    assert (message(), "to", None) == (upload.message, upload.to_column, upload.campaign_id)


@pytest.mark.parametrize(
    ("by", "after"), [("ben", timedelta(0)), ("ann", LIFETIME), ("ann", LIFETIME + MINUTE)]
)
def test_it_is_one_persons_for_an_hour(engine: Engine, by: str, after: timedelta) -> None:
    """Nobody else finds it, nor this person later."""
    upload_id = _added(engine)

    assert _uploads(engine, at=NOW + LIFETIME - MINUTE).find(upload_id, by="ann") is not None
    assert _uploads(engine, at=NOW + after).find(upload_id, by=by) is None


def test_what_is_deleted_while_it_is_read_is_not_complete(engine: Engine) -> None:
    """A part of the rows would be another campaign."""
    uploads = _uploads(engine)
    upload = uploads.find(_added(engine), by="ann")
    assert upload is not None

    uploads.delete(upload.upload_id)
    uploads.delete(upload.upload_id)

    assert not uploads.copy_to(io.BytesIO(), upload)
    assert uploads.find(upload.upload_id, by="ann") is None


def test_old_files_are_purged(engine: Engine) -> None:
    """Also whenever another one is added."""
    for minutes in (0, 1, 2):
        _added(engine, at=NOW + minutes * MINUTE)

    assert [1, 0] == [_uploads(engine).purge(before=NOW + MINUTE) for _ in range(2)]
    _added(engine, at=NOW + LIFETIME + 2 * MINUTE)
    assert 1 == _uploads(engine).purge(before=NOW + MINUTE * 3)
