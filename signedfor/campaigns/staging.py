"""Checked rows are staged on disk, then loaded into the database as a campaign, exactly once.

What is loaded is what was checked, even if the file changes in between. If the process dies, the
same command continues: rows already in the database stay as they are, and the campaign runs
only when every row is there.
"""

import asyncio
import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from itertools import islice
from types import TracebackType
from typing import Final

from temporalio.client import Client

from signedfor.campaigns.progress import WorkflowState, fetch_workflow_state
from signedfor.contract import (
    CampaignMessage,
    campaign_message_id,
    campaign_workflow_id,
    message_workflow_id,
)
from signedfor.errors import Refused, Unavailable
from signedfor.store.campaigns import CampaignRecord, CampaignRow, Campaigns, RowsMissing
from signedfor.workflow_calls import describe

BATCH: Final = 1000
_LETTERS: Final = str.maketrans("0123456789abcdef", "abcdefghijklmnop")


class StagedRows(AbstractContextManager["StagedRows"]):
    """Rows in a temporary file without a name: numbers and fields, gone with the process.

    Raises `Unavailable` when the disk cannot hold them.
    """

    def __init__(self) -> None:
        self.count = 0
        self.segments = 0
        self.columns: Sequence[str] = ()
        """The names of the file's columns, as written."""
        self._digest = hashlib.sha256()
        try:
            self._file = tempfile.TemporaryFile("w+", encoding="utf-8", newline="\n")  # noqa: SIM115 - closed by __exit__
        except OSError as error:
            raise _disk_error(error) from None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Delete them."""
        with suppress(OSError):  # closing tries again to write what could not be written
            self._file.close()

    @property
    def fingerprint(self) -> str:
        """SHA-256 of recipients and fields, in order; it does not depend on the file's format."""
        return self._digest.hexdigest()

    def add(self, row: CampaignRow) -> None:
        """Stage one more row; rows must come in order."""
        line = json.dumps([row.to, row.fields])
        self._digest.update(f"{line}\n".encode())
        self.count += 1
        self.segments += row.segments
        try:
            self._file.write(f"{row.segments} {line[:-1]}, {json.dumps(row.cells)}]\n")
        except OSError as error:
            raise _disk_error(error) from None

    def batches(self) -> Iterator[list[CampaignRow]]:
        """All rows, in order."""
        rows = self._rows()
        for first in rows:
            yield [first, *islice(rows, BATCH - 1)]  # no name, so that one is in memory at a time

    def _rows(self) -> Iterator[CampaignRow]:
        try:
            self._file.seek(0)
            for number, line in enumerate(self._file, 1):
                segments, _, content = line.partition(" ")
                to, fields, cells = json.loads(content)
                yield CampaignRow(
                    number=number,
                    to=to,
                    fields=fields,
                    segments=int(segments),
                    cells=tuple(cells),
                )
        except OSError as error:
            raise _disk_error(error) from None


def _disk_error(error: OSError) -> Unavailable:
    return Unavailable(
        "The rows cannot be written to the folder for temporary files, which TMPDIR names "
        f"({error.strerror})."
    )


def derived_id(message: CampaignMessage, fingerprint: str) -> str:
    """The id of a campaign by its content: same rows and options, same campaign.

    Fields at their defaults do not count, so that a field added later does not change the id. It
    consists of letters, so that it cannot contain a phone number, not even with a row's number
    appended.
    """
    fields = message.model_dump(mode="json", exclude_defaults=True)
    content = json.dumps([fields, fingerprint], sort_keys=True)
    return f"c-{hashlib.sha256(content.encode()).hexdigest()[:16].translate(_LETTERS)}"


def require_same_message(record: CampaignRecord, message: CampaignMessage) -> CampaignRecord:
    """Return the record if its message is this one.

    Raises:
        Refused: it is not.
    """
    mine, theirs = message.model_dump(by_alias=True), record.message.model_dump(by_alias=True)
    if differing := [name for name in mine if mine[name] != theirs[name]]:
        raise Refused(
            f"Campaign {record.campaign_id} already exists, and differs in "
            f"{', '.join(differing)}. Nothing was done; a new campaign needs an id of its own."
        )
    return record


def require_same_rows(campaigns: Campaigns, record: CampaignRecord, staged: StagedRows) -> None:
    """Return if the rows in the database, as far as they are loaded, are these.

    Raises:
        Refused: they are another file's.
    """
    is_loaded = record.rows > 0  # not if it was canceled before
    is_same = not is_loaded or record.rows == staged.count
    after = 0
    for batch in staged.batches() if is_same else ():
        present = {
            row.number: row for row in campaigns.page(record.campaign_id, after=after, limit=BATCH)
        }
        after = batch[-1].number
        is_same = all(present.get(row.number, row) == row for row in batch)
        if not is_same:
            break
    if is_same and not is_loaded:
        is_same = not campaigns.page(record.campaign_id, after=staged.count, limit=1)
    if not is_same:
        raise Refused(
            f"Campaign {record.campaign_id} already exists, with the rows of another file. "
            "Nothing was done; a new campaign needs an id of its own."
        )


def load(
    campaigns: Campaigns,
    campaign_id: str,
    message: CampaignMessage,
    staged: StagedRows,
    *,
    on_progress: Callable[[int], None] = lambda _: None,
) -> None:
    """Create the campaign, write the rows that are missing, and set it running.

    Raises:
        Refused: another campaign has this id, or rows of another file were written meanwhile.
    """
    record = require_same_message(campaigns.create(campaign_id, message, staged.columns), message)
    for batch in staged.batches():
        campaigns.add_rows(campaign_id, batch)
        on_progress(batch[-1].number)
    require_same_rows(campaigns, record, staged)
    try:
        campaigns.finish_loading(campaign_id, rows=staged.count, segments=staged.segments)
    except RowsMissing as error:
        raise Refused(str(error)) from None


async def require_unused_ids(client: Client, campaign_id: str) -> None:
    """Return if a campaign that is new to the database is new to Temporal too.

    A message is started once for each id: with used ids every row would count as dispatched, and
    nothing would be sent.

    Raises:
        Refused: it ran to its end with another database, or its rows' message ids are in use.
    """
    first_message = message_workflow_id(campaign_message_id(campaign_id, 1))
    workflow, message = await asyncio.gather(
        fetch_workflow_state(client, campaign_id),
        describe(client.get_workflow_handle(first_message)),
    )
    known = campaign_workflow_id(campaign_id) if message is None else first_message
    if message is not None or workflow is WorkflowState.ENDED:
        raise Refused(
            f"Temporal already knows {known}, and this database has no campaign {campaign_id}: "
            "its messages would count as sent. Nothing was done; with another --id all are sent."
        )
