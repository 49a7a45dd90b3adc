"""`signedfor campaign list`: the campaigns in the database of DATABASE_URL."""

from collections.abc import Sequence
from typing import Any

from signedfor.cli.environment import database
from signedfor.cli.options import JsonOption, LimitOption
from signedfor.cli.output import clock, command_output
from signedfor.masks import masked_sender
from signedfor.store.campaigns import CampaignRecord, Campaigns


def list_(
    *,
    limit: LimitOption = 20,
    as_json: JsonOption = False,
) -> None:
    """List the campaigns in the database, newest first."""
    with command_output(as_json=as_json) as out:
        with database() as engine:
            records = Campaigns(engine).newest(limit=limit + 1)
        columns = ("Campaign", "State", "Since", "Rows", "Segments", "Sender", "Created")
        out.listed(
            "campaigns", columns, list(map(_listed, records)), limit=limit, empty="No campaigns."
        )


def _listed(record: CampaignRecord) -> tuple[dict[str, Any], Sequence[object]]:
    """A campaign in the list, for programs and for people."""
    sender = masked_sender(record.message.sender)
    document = {
        "campaign_id": record.campaign_id,
        "state": record.state.value,
        "since": record.since,
        "rows": record.rows,
        "segments": record.segments,
        "sender": sender,
        "created_at": record.created_at,
    }
    since, created = clock(record.since), clock(record.created_at)
    row = (record.campaign_id, record.state, since, record.rows, record.segments, sender, created)
    return document, row
