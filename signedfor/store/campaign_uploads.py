"""Files that were uploaded for a campaign and checked, until the campaign is started.

They are in the database, where the campaign's rows will be, so that the process that starts it need
not be the one that has checked it. None is used after `LIFETIME`; a worker deletes old ones.
"""

import os
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import IO, Final

from sqlalchemy import Engine, delete, insert, select

from signedfor.contract import CampaignMessage
from signedfor.store.database import transaction
from signedfor.store.tables import campaign_upload_parts, campaign_uploads, utc_now

LIFETIME: Final = timedelta(hours=1)
"""How long a checked file can be started."""
_PART_BYTES: Final = 1 << 20
"""Written and read at a time; each is a transaction of its own."""
_upload = campaign_uploads.c
_part = campaign_upload_parts.c


@dataclass(frozen=True, kw_only=True)
class Upload:
    """A checked file, and what was checked with it."""

    upload_id: str
    message: CampaignMessage = field(repr=False)
    to_column: str
    campaign_id: str | None
    """The id that the person chose."""
    size: int
    """Bytes."""


class CampaignUploads:
    """The uploads in the database of `engine`.

    Raises `signedfor.store.database.DatabaseUnavailable` when the database cannot answer.
    """

    def __init__(self, engine: Engine, *, now: Callable[[], datetime] = utc_now) -> None:
        self._engine = engine
        self._now = now

    def add(
        self,
        file: IO[bytes],
        message: CampaignMessage,
        *,
        to_column: str,
        campaign_id: str | None,
        by: str,
    ) -> str:
        """Keep the file, from its start, and return the upload's id; old ones are deleted."""
        self.purge(before=self._now() - LIFETIME)
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        upload_id = secrets.token_urlsafe(32)
        with transaction(self._engine) as connection:
            connection.execute(
                insert(campaign_uploads).values(
                    upload_id=upload_id,
                    uploaded_by=by,
                    created_at=self._now(),
                    message=message.model_dump_json(),
                    to_column=to_column,
                    campaign_id=campaign_id,
                    size=size,
                )
            )
        number = 0
        while content := file.read(_PART_BYTES):
            number += 1
            with transaction(self._engine) as connection:
                connection.execute(
                    insert(campaign_upload_parts).values(
                        upload_id=upload_id, number=number, content=content
                    )
                )
        return upload_id

    def find(self, upload_id: str, *, by: str) -> Upload | None:
        """The upload, if it is this person's and not too old."""
        query = select(campaign_uploads).where(
            _upload.upload_id == upload_id,
            _upload.uploaded_by == by,
            _upload.created_at > self._now() - LIFETIME,
        )
        with transaction(self._engine, read_only=True) as connection:
            found = connection.execute(query).one_or_none()
        if found is None:
            return None
        return Upload(
            upload_id=found.upload_id,
            message=CampaignMessage.model_validate_json(found.message),
            to_column=found.to_column,
            campaign_id=found.campaign_id,
            size=found.size,
        )

    def copy_to(self, file: IO[bytes], upload: Upload) -> bool:
        """Write its contents; return whether they are complete: it may have been deleted since."""
        written, number = 0, 0
        while written < upload.size:
            number += 1
            query = select(_part.content).where(
                _part.upload_id == upload.upload_id, _part.number == number
            )
            with transaction(self._engine, read_only=True) as connection:
                content = connection.scalar(query)
            if content is None:
                return False
            written += file.write(content)
        return True

    def delete(self, upload_id: str) -> None:
        """Delete it, if it is still there."""
        with transaction(self._engine) as connection:
            connection.execute(delete(campaign_upload_parts).where(_part.upload_id == upload_id))
            connection.execute(delete(campaign_uploads).where(_upload.upload_id == upload_id))

    def purge(self, *, before: datetime, stop: threading.Event | None = None) -> int:
        """Delete those that were uploaded before then, one by one; how many there were."""
        query = select(_upload.upload_id).where(_upload.created_at < before)
        with transaction(self._engine, read_only=True) as connection:
            old = connection.scalars(query).all()
        deleted = 0
        for upload_id in old:
            if stop is not None and stop.is_set():
                break
            self.delete(upload_id)
            deleted += 1
        return deleted
