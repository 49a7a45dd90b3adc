"""Campaigns and their rows: what is to be sent to whom, and whether it may be."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    Engine,
    Row,
    func,
    select,
    update,
)

from signedfor.contract import CampaignMessage, CampaignState
from signedfor.store.database import insert_if_new, transaction
from signedfor.store.tables import campaign_rows, campaigns, utc_now

_ENDED = (CampaignState.CANCELED, CampaignState.FINISHED)
_own = campaigns.c
_row = campaign_rows.c


class NoSuchCampaign(LookupError):
    """There is no campaign by that id."""


class RowsMissing(Exception):
    """Not every row of the campaign is there, or there are others: it must not begin."""


@dataclass(frozen=True, kw_only=True)
class CampaignRow:
    """One recipient of a campaign, and the values for its template's fields."""

    number: int
    """1, 2, 3 and so on without gaps; not the line in the file."""
    to: str = field(repr=False)
    """Normalised."""
    fields: dict[str, str] = field(repr=False)
    segments: int


@dataclass(frozen=True, kw_only=True)
class CampaignRecord:
    """A campaign as the database knows it."""

    campaign_id: str
    message: CampaignMessage = field(repr=False)
    state: CampaignState
    since: datetime
    """When it came into this state."""
    rows: int
    """0 while it is loading."""
    segments: int
    last_row: int
    """Up to which row all messages have been started."""
    skipped: int
    """Rows among them of which no message could be made."""
    created_at: datetime


class Campaigns:
    """The campaigns in the database of `engine`.

    Raises `signedfor.store.database.DatabaseUnavailable` when the database cannot answer.
    """

    def __init__(self, engine: Engine, *, now: Callable[[], datetime] = utc_now) -> None:
        self._engine = engine
        self._now = now

    def begin(self, campaign_id: str, message: CampaignMessage) -> CampaignRecord:
        """Create it in state loading, or return the one that is there, whatever its state."""
        now = self._now()
        with transaction(self._engine) as connection:
            connection.execute(
                insert_if_new(connection, campaigns).values(
                    campaign_id=campaign_id,
                    message=message.model_dump_json(),
                    state=CampaignState.LOADING,
                    state_since=now,
                    row_count=0,
                    segments=0,
                    last_row=0,
                    skipped=0,
                    created_at=now,
                )
            )
            return _required(connection, campaign_id)

    def add(self, campaign_id: str, rows: Sequence[CampaignRow]) -> None:
        """Write rows; a number that is there already is left as it is.

        Nothing is written once the campaign is loaded: what it sends is settled then.

        Raises:
            NoSuchCampaign: there is none.
        """
        values = [
            {
                "campaign_id": campaign_id,
                "number": row.number,
                "recipient": row.to,
                "fields": json.dumps(row.fields),
                "segments": row.segments,
            }
            for row in rows
        ]
        # Shared, so that `loaded` cannot count while rows are on their way.
        state = select(_own.state).where(_own.campaign_id == campaign_id).with_for_update(read=True)
        with transaction(self._engine) as connection:
            found = connection.scalar(state)
            if found is None:
                raise NoSuchCampaign(_none_by(campaign_id))
            if found == CampaignState.LOADING and values:
                connection.execute(insert_if_new(connection, campaign_rows), values)

    def loaded(self, campaign_id: str, *, rows: int, segments: int) -> None:
        """All rows are there: from loading to running. A later state stays as it is.

        Raises:
            NoSuchCampaign: there is none.
            RowsMissing: the table does not hold the rows 1 to `rows`; it goes on loading.
        """
        starting = (
            update(campaigns)
            .where(_own.campaign_id == campaign_id, _own.state == CampaignState.LOADING)
            .values(
                state=CampaignState.RUNNING,
                state_since=self._now(),
                row_count=rows,
                segments=segments,
            )
        )
        held = select(func.count(), func.max(_row.number)).where(_row.campaign_id == campaign_id)
        with transaction(self._engine) as connection:
            connection.execute(starting)
            _required(connection, campaign_id)
            count, last = connection.execute(held).one()
            if count != rows or (last or 0) != rows:
                raise RowsMissing(
                    f"Campaign {campaign_id} should have {rows} rows, and {count} are in the "
                    "database. Run `campaign start` with the same file again."
                )

    def find(self, campaign_id: str) -> CampaignRecord | None:
        """The campaign; None if there is none by that id."""
        with transaction(self._engine, read_only=True) as connection:
            return _find(connection, campaign_id)

    def newest(self, *, limit: int) -> list[CampaignRecord]:
        """The campaigns that were created last, newest first."""
        query = select(campaigns).order_by(_own.created_at.desc(), _own.campaign_id).limit(limit)
        with transaction(self._engine, read_only=True) as connection:
            return [_record(each) for each in connection.execute(query)]

    def alike(self, message: CampaignMessage, *, besides: str) -> CampaignRecord | None:
        """The newest campaign with this very message, but for one id and those not loaded."""
        query = (
            select(campaigns)
            .where(
                _own.message == message.model_dump_json(),
                _own.campaign_id != besides,
                _own.row_count > 0,
            )
            .order_by(_own.created_at.desc())
            .limit(1)
        )
        with transaction(self._engine, read_only=True) as connection:
            found = connection.execute(query).first()
        return None if found is None else _record(found)

    def page(self, campaign_id: str, *, after: int, limit: int) -> list[CampaignRow]:
        """The rows that follow number `after`, in order, at most `limit`."""
        query = (
            select(campaign_rows)
            .where(_row.campaign_id == campaign_id, _row.number > after)
            .order_by(_row.number)
            .limit(limit)
        )
        with transaction(self._engine, read_only=True) as connection:
            return [
                CampaignRow(
                    number=each.number,
                    to=each.recipient,
                    fields=json.loads(each.fields),
                    segments=each.segments,
                )
                for each in connection.execute(query)
            ]

    def dispatched(self, campaign_id: str, *, last_row: int, skipped: int) -> CampaignRecord:
        """All messages up to this row have been started, without `skipped` of them.

        Returns how the campaign then stands. A row that is no further than the last one noted
        changes nothing: an activity that was taken for lost may still write.

        Raises:
            NoSuchCampaign: there is none.
        """
        noting = (
            update(campaigns)
            .where(_own.campaign_id == campaign_id, _own.last_row < last_row)
            .values(last_row=last_row, skipped=skipped)
        )
        with transaction(self._engine) as connection:
            connection.execute(noting)
            return _required(connection, campaign_id)

    def set_state(
        self, campaign_id: str, state: CampaignState, *, since: datetime | None = None
    ) -> CampaignState:
        """Set it, and return the state that then stands.

        A campaign that was canceled or has finished stays so. With `since`, the moment of the
        decision, one that is older than the last changes nothing: it came late.

        Raises:
            NoSuchCampaign: there is none.
        """
        setting = update(campaigns).where(
            _own.campaign_id == campaign_id, _own.state.not_in(_ENDED)
        )
        if since is not None:
            setting = setting.where(_own.state_since < since)
        with transaction(self._engine) as connection:
            connection.execute(setting.values(state=state, state_since=since or self._now()))
            return _required(connection, campaign_id).state


def _find(connection: Connection, campaign_id: str) -> CampaignRecord | None:
    found = connection.execute(select(campaigns).where(_own.campaign_id == campaign_id)).first()
    return None if found is None else _record(found)


def _required(connection: Connection, campaign_id: str) -> CampaignRecord:
    found = _find(connection, campaign_id)
    if found is None:
        raise NoSuchCampaign(_none_by(campaign_id))
    return found


def _none_by(campaign_id: str) -> str:
    return f"There is no campaign {campaign_id} in the database; see `campaign list`."


def _record(found: Row[Any]) -> CampaignRecord:
    return CampaignRecord(
        campaign_id=found.campaign_id,
        message=CampaignMessage.model_validate_json(found.message),
        state=CampaignState(found.state),
        since=found.state_since,
        rows=found.row_count,
        segments=found.segments,
        last_row=found.last_row,
        skipped=found.skipped,
        created_at=found.created_at,
    )


def campaign_is(state: CampaignState, campaign_id: str | BindParameter[str]) -> ColumnElement[bool]:
    """Whether the campaign is in this state, as a condition."""
    return (
        select(_own.campaign_id)
        .where(_own.campaign_id == campaign_id, _own.state == state.value)
        .exists()
    )
