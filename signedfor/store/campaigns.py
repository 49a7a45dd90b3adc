"""Campaigns and their rows: the message, its recipients, and the campaign's state."""

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    Engine,
    Row,
    delete,
    func,
    select,
    update,
)

from signedfor.contract import CampaignMessage, CampaignState
from signedfor.store.database import delete_in_batches, insert_if_new, transaction
from signedfor.store.tables import campaign_rows, campaigns, utc_now

_PAGE = 1000
"""Rows that are read at a time."""
_ENDED = (CampaignState.CANCELED, CampaignState.FINISHED)
_PURGED_AT_ONCE = 2_000
_PURGE_PAUSE = 0.05
"""Between two batches: seconds for other writers."""
_campaign = campaigns.c
_row = campaign_rows.c


class NoSuchCampaign(LookupError):
    """There is no campaign with that id."""


class RowsMissing(Exception):
    """The stored rows are not the expected ones: the campaign must not start."""


@dataclass(frozen=True, kw_only=True)
class CampaignRow:
    """One recipient of a campaign, and the values of its template fields."""

    number: int
    """1, 2, 3 and so on without gaps; not the line number in the file."""
    to: str = field(repr=False)
    """Normalized."""
    fields: dict[str, str] = field(repr=False)
    segments: int
    cells: tuple[str, ...] = field(default=(), repr=False, compare=False)
    """All cells of its line in the file, for the report; they make no other row of it."""


@dataclass(frozen=True, kw_only=True)
class CampaignRecord:
    """A campaign as stored in the database."""

    campaign_id: str
    message: CampaignMessage = field(repr=False)
    state: CampaignState
    since: datetime
    """When it entered this state."""
    rows: int
    """0 while it is loading."""
    segments: int
    columns: tuple[str, ...]
    """The names of the file's columns."""
    last_row: int
    """The messages of all rows up to this one have been started."""
    skipped: int
    """Rows among them for which no message could be started."""
    created_at: datetime


class Campaigns:
    """The campaigns in the database of `engine`.

    Raises `signedfor.store.database.DatabaseUnavailable` when the database cannot answer.
    """

    def __init__(self, engine: Engine, *, now: Callable[[], datetime] = utc_now) -> None:
        self._engine = engine
        self._now = now

    def create(
        self, campaign_id: str, message: CampaignMessage, columns: Sequence[str] = ()
    ) -> CampaignRecord:
        """Create it in state loading, or return the existing one in its state."""
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
                    file_columns=json.dumps(list(columns)),
                    last_row=0,
                    skipped=0,
                    created_at=now,
                )
            )
            return _required(connection, campaign_id)

    def add_rows(self, campaign_id: str, rows: Sequence[CampaignRow]) -> None:
        """Insert rows. An existing row is not changed; once the campaign is loaded, nothing is.

        Raises:
            NoSuchCampaign: there is no such campaign.
        """
        values = [
            {
                "campaign_id": campaign_id,
                "number": row.number,
                "recipient": row.to,
                "fields": json.dumps(row.fields),
                "segments": row.segments,
                "cells": json.dumps(row.cells),
            }
            for row in rows
        ]
        # A shared lock, so that `finish_loading` cannot count while rows are being inserted.
        state = (
            select(_campaign.state)
            .where(_campaign.campaign_id == campaign_id)
            .with_for_update(read=True)
        )
        with transaction(self._engine) as connection:
            found = connection.scalar(state)
            if found is None:
                raise NoSuchCampaign(_not_found(campaign_id))
            if found == CampaignState.LOADING and values:
                connection.execute(insert_if_new(connection, campaign_rows), values)

    def finish_loading(self, campaign_id: str, *, rows: int, segments: int) -> None:
        """Change the state from loading to running; a later state stays.

        Raises:
            NoSuchCampaign: there is no such campaign.
            RowsMissing: the table does not contain exactly the rows 1 to `rows`; it stays loading.
        """
        starting = (
            update(campaigns)
            .where(_campaign.campaign_id == campaign_id, _campaign.state == CampaignState.LOADING)
            .values(
                state=CampaignState.RUNNING,
                state_since=self._now(),
                row_count=rows,
                segments=segments,
            )
        )
        stored = select(func.count(), func.max(_row.number)).where(_row.campaign_id == campaign_id)
        with transaction(self._engine) as connection:
            connection.execute(starting)
            _required(connection, campaign_id)
            count, last = connection.execute(stored).one()
            if count != rows or (last or 0) != rows:
                raise RowsMissing(
                    f"Campaign {campaign_id} should have {rows} rows, but {count} are in the "
                    "database. Run `campaign start` with the same file again."
                )

    def find(self, campaign_id: str) -> CampaignRecord | None:
        """The campaign, or None."""
        with transaction(self._engine, read_only=True) as connection:
            return _find(connection, campaign_id)

    def newest(self, *, limit: int) -> list[CampaignRecord]:
        """The most recently created campaigns, newest first."""
        query = (
            select(campaigns)
            .order_by(_campaign.created_at.desc(), _campaign.campaign_id)
            .limit(limit)
        )
        with transaction(self._engine, read_only=True) as connection:
            return [_record(each) for each in connection.execute(query)]

    def running(self) -> list[CampaignRecord]:
        """The campaigns that are running."""
        query = select(campaigns).where(_campaign.state == CampaignState.RUNNING)
        with transaction(self._engine, read_only=True) as connection:
            return [_record(each) for each in connection.execute(query)]

    def find_identical(self, message: CampaignMessage, *, other_than: str) -> CampaignRecord | None:
        """The newest loaded campaign with an identical message and another id."""
        query = (
            select(campaigns)
            .where(
                _campaign.message == message.model_dump_json(),
                _campaign.campaign_id != other_than,
                _campaign.row_count > 0,
            )
            .order_by(_campaign.created_at.desc())
            .limit(1)
        )
        with transaction(self._engine, read_only=True) as connection:
            found = connection.execute(query).first()
        return None if found is None else _record(found)

    def page(
        self, campaign_id: str, *, after: int, limit: int, with_cells: bool = False
    ) -> list[CampaignRow]:
        """At most `limit` rows with a number above `after`, in order."""
        cells = [_row.cells] if with_cells else []
        query = (
            select(_row.number, _row.recipient, _row.fields, _row.segments, *cells)
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
                    cells=tuple(json.loads(each.cells or "[]")) if with_cells else (),
                )
                for each in connection.execute(query)
            ]

    def recipients(self, campaign_id: str) -> Iterator[str]:
        """Whom it is sent to, read page by page."""
        rows = self.page(campaign_id, after=0, limit=_PAGE)
        while rows:
            yield from (each.to for each in rows)
            rows = self.page(campaign_id, after=rows[-1].number, limit=_PAGE)

    def dispatched(self, campaign_id: str, *, last_row: int, skipped: int) -> CampaignRecord:
        """Record that every message up to this row has been started, except `skipped` of them.

        Returns the resulting campaign. A row at or before the recorded one changes nothing, because
        an activity that timed out may still be running.

        Raises:
            NoSuchCampaign: there is no such campaign.
        """
        recording = (
            update(campaigns)
            .where(_campaign.campaign_id == campaign_id, _campaign.last_row < last_row)
            .values(last_row=last_row, skipped=skipped)
        )
        with transaction(self._engine) as connection:
            connection.execute(recording)
            return _required(connection, campaign_id)

    def set_state(
        self, campaign_id: str, state: CampaignState, *, since: datetime | None = None
    ) -> CampaignState:
        """Set the state; return the resulting state.

        A canceled or finished campaign does not change. `since` is the time of the decision: if it
        is before that of the current state, nothing changes.

        Raises:
            NoSuchCampaign: there is no such campaign.
        """
        setting = update(campaigns).where(
            _campaign.campaign_id == campaign_id, _campaign.state.not_in(_ENDED)
        )
        if since is not None:
            setting = setting.where(_campaign.state_since < since)
        with transaction(self._engine) as connection:
            connection.execute(setting.values(state=state, state_since=since or self._now()))
            return _required(connection, campaign_id).state

    def purge_rows(self, *, before: datetime, stop: threading.Event | None = None) -> int:
        """Delete the rows of campaigns that ended before then, in batches; return how many.

        One whose loading was given up counts as ended.
        """
        stop, deleted = stop or threading.Event(), 0
        query = select(_campaign.campaign_id).where(
            _campaign.state.in_((*_ENDED, CampaignState.LOADING)), _campaign.state_since < before
        )
        with transaction(self._engine, read_only=True) as connection:
            old = connection.scalars(query.order_by(_campaign.created_at)).all()
        for campaign_id in old:
            some = (
                select(_row.number)
                .where(_row.campaign_id == campaign_id)
                .order_by(_row.number)
                .limit(_PURGED_AT_ONCE)
            )
            count = _PURGED_AT_ONCE
            while count == _PURGED_AT_ONCE and not stop.is_set():
                with transaction(self._engine) as connection:
                    numbers = connection.scalars(some).all()
                    connection.execute(
                        delete(campaign_rows).where(
                            _row.campaign_id == campaign_id, _row.number.in_(numbers)
                        )
                    )
                count = len(numbers)
                deleted += count
                stop.wait(_PURGE_PAUSE if count else 0)
        return deleted

    def purge(self, *, before: datetime, stop: threading.Event | None = None) -> int:
        """Delete campaigns that ended before then and have no rows any more; return how many."""
        has_rows = select(_row.number).where(_row.campaign_id == _campaign.campaign_id).exists()
        is_old = _campaign.state.in_(_ENDED) & (_campaign.state_since < before)
        return delete_in_batches(self._engine, campaigns, is_old & ~has_rows, stop=stop)


def _find(connection: Connection, campaign_id: str) -> CampaignRecord | None:
    found = connection.execute(
        select(campaigns).where(_campaign.campaign_id == campaign_id)
    ).first()
    return None if found is None else _record(found)


def _required(connection: Connection, campaign_id: str) -> CampaignRecord:
    found = _find(connection, campaign_id)
    if found is None:
        raise NoSuchCampaign(_not_found(campaign_id))
    return found


def _not_found(campaign_id: str) -> str:
    return f"There is no campaign {campaign_id} in the database; see `campaign list`."


def _record(found: Row[Any]) -> CampaignRecord:
    return CampaignRecord(
        campaign_id=found.campaign_id,
        message=CampaignMessage.model_validate_json(found.message),
        state=CampaignState(found.state),
        since=found.state_since,
        rows=found.row_count,
        segments=found.segments,
        columns=tuple(json.loads(found.file_columns or "[]")),
        last_row=found.last_row,
        skipped=found.skipped,
        created_at=found.created_at,
    )


def campaign_is(state: CampaignState, campaign_id: str | BindParameter[str]) -> ColumnElement[bool]:
    """Whether the campaign is in this state, as a condition."""
    return (
        select(_campaign.campaign_id)
        .where(_campaign.campaign_id == campaign_id, _campaign.state == state.value)
        .exists()
    )
