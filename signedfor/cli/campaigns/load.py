"""A checked file becomes a campaign in the database, once, however often that is tried.

Killed at any point, the same command goes on where it was: what is there is left as it is, and
only when every row is there does the campaign come into state running.
"""

import hashlib
import json
from collections.abc import Callable
from typing import Final

from signedfor.cli.campaigns.kept import BATCH, KeptRows
from signedfor.cli.campaigns.preview import Tally
from signedfor.cli.output import Refused
from signedfor.contract import CampaignMessage
from signedfor.store.campaigns import CampaignRecord, Campaigns, RowsMissing

_LETTERS: Final = str.maketrans("0123456789abcdef", "abcdefghijklmnop")


def derived_id(message: CampaignMessage, fingerprint: str) -> str:
    """The id of a campaign by what it sends to whom: same rows and options, same campaign.

    What is at its default is left out, so that a field added later makes no other id of it. It is
    made of letters, so that it holds nobody's number, nor makes one with a row's number behind it.
    """
    fields = message.model_dump(mode="json", exclude_defaults=True)
    content = json.dumps([fields, fingerprint], sort_keys=True)
    return f"c-{hashlib.sha256(content.encode()).hexdigest()[:16].translate(_LETTERS)}"


def begun(campaigns: Campaigns, campaign_id: str, message: CampaignMessage) -> CampaignRecord:
    """The campaign, created if it was not there.

    Raises:
        Refused: there is another one by that id.
    """
    return same(campaigns.create(campaign_id, message), message)


def same(record: CampaignRecord, message: CampaignMessage) -> CampaignRecord:
    """The record, if its message is this one.

    Raises:
        Refused: it is not.
    """
    mine, theirs = message.model_dump(by_alias=True), record.message.model_dump(by_alias=True)
    if differing := [name for name in mine if mine[name] != theirs[name]]:
        raise Refused(
            f"Campaign {record.campaign_id} is there already, and differs in "
            f"{', '.join(differing)}. Nothing was done; a new campaign needs an id of its own."
        )
    return record


def require_same_rows(
    campaigns: Campaigns, record: CampaignRecord, kept: KeptRows, tally: Tally
) -> None:
    """See that the rows in the database are this file's, as far as they are there.

    Raises:
        Refused: they are another file's.
    """
    is_loaded = record.rows > 0  # not so if it was canceled before
    is_same = not is_loaded or record.rows == tally.rows
    after = 0
    for batch in kept.batches() if is_same else ():
        there = {
            row.number: row for row in campaigns.page(record.campaign_id, after=after, limit=BATCH)
        }
        after = batch[-1].number
        is_same = all(there.get(row.number, row) == row for row in batch)
        if not is_same:
            break
    if is_same and not is_loaded:
        is_same = not campaigns.page(record.campaign_id, after=tally.rows, limit=1)
    if not is_same:
        raise Refused(
            f"Campaign {record.campaign_id} is there already, with the rows of another file. "
            "Nothing was done; a new campaign needs an id of its own."
        )


def load(
    campaigns: Campaigns,
    record: CampaignRecord,
    kept: KeptRows,
    tally: Tally,
    *,
    on_progress: Callable[[int], None] = lambda _: None,
) -> None:
    """Write the rows that are not there yet, and let the campaign run.

    Raises:
        Refused: somebody else wrote other rows under the same id meanwhile.
    """
    for batch in kept.batches():
        campaigns.add_rows(record.campaign_id, batch)
        on_progress(batch[-1].number)
    require_same_rows(campaigns, record, kept, tally)
    try:
        campaigns.finish_loading(record.campaign_id, rows=tally.rows, segments=tally.segments)
    except RowsMissing as error:
        raise Refused(str(error)) from None
