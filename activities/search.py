"""Finding out, in Twilio's own list, whether a message was taken."""

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, Final

import requests
from temporalio import activity
from temporalio.client import Client
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode
from twilio.base import values
from twilio.base.exceptions import TwilioException
from twilio.rest.api.v2010.account.message import MessageInstance

from activities.twilio_client import TwilioClient
from messaging.contract import PROGRESS_QUERY, Progress, Stage, message_workflow_id
from messaging.phone import is_messaging_service
from messaging.statuses import MessageStatus
from messaging.steps import SEARCH, Finding, SearchRequest, SearchResult
from store.posts import Posts, fingerprint

_CLOCKS_APART: Final = timedelta(minutes=1)
"""How far Twilio's clock and ours may differ."""
_MOST_ROWS: Final = 1000
"""Rows of one recipient and sender since the POST; more than that is no message, it is a flood."""
_OUTBOUND: Final = "outbound-api"
_REFUSALS: Final = range(10_000, 30_000)
"""Twilio's codes for a create that it refuses; it lists most of those as `failed`, too."""
_UNSETTLED: Final = frozenset({Stage.SENDING, Stage.RETRYING, Stage.RESOLVING})


class TwilioSearch:
    """Looks for messages of unknown fate; never takes a SID that may be another message's."""

    def __init__(self, twilio: TwilioClient, posts: Posts, temporal: Client) -> None:
        self._twilio = twilio
        self._posts = posts
        self._temporal = temporal

    @activity.defn(name=SEARCH)
    async def search(self, request: SearchRequest) -> SearchResult:
        """Say whether Twilio has the message, as far as its list and our other messages tell.

        Raises:
            ApplicationError: `SearchFailed`, retryable, without Twilio's text.
            DatabaseUnavailable: our own notes cannot be read.
        """
        # First the list, then the rivals: what a rival submits later cannot be in the list.
        rows = await asyncio.to_thread(self._rows, request)
        candidates = {row.sid: row for row in rows if row.sid not in request.own_sids}
        if not candidates:
            return SearchResult(finding=Finding.ABSENT)
        rivals = await asyncio.to_thread(
            self._posts.rivals,
            request.message_id,
            fingerprint(request.message, sender=request.sender),
            since=request.since - 2 * _CLOCKS_APART,
        )
        for rival in rivals:
            progress = await self._progress(rival)
            if progress is None:
                continue
            for sid in progress.message_sids:
                candidates.pop(sid, None)
            if progress.status in _UNSETTLED and candidates:
                return SearchResult(finding=Finding.UNDECIDED)
        if not candidates:
            return SearchResult(finding=Finding.ABSENT)
        # One that failed is ours only if no other can be.
        found = min(candidates.values(), key=lambda row: (_has_failed(row), row.date_created))
        return SearchResult(
            finding=Finding.FOUND,
            message_sid=found.sid,
            status=str(found.status),
            error_code=found.error_code,
            created_at=found.date_created,
        )

    def _rows(self, request: SearchRequest) -> list[Any]:
        """Rows that could be this message, whoever's they are."""
        try:
            return list(self._matching(request))
        except (TwilioException, requests.RequestException, ValueError) as error:
            raise ApplicationError(
                f"Twilio could not be asked for its list of messages ({type(error).__name__}).",
                type="SearchFailed",
            ) from None

    def _matching(self, request: SearchRequest) -> Iterator[Any]:
        message, sender = request.message, request.sender
        of_service = is_messaging_service(sender)
        # A service's row names the sender it chose, so there the list is asked by recipient only.
        # By creation time it is not asked at all: Twilio filters by the time of sending, which a
        # fresh message does not have.
        asked_from = values.unset if of_service else sender
        earliest = request.since - _CLOCKS_APART
        for row in self._twilio.messages.stream(to=message.to, from_=asked_from, limit=_MOST_ROWS):
            if row.date_created is None or row.date_created < earliest:
                continue
            if str(row.direction) != _OUTBOUND:
                continue
            if _has_failed(row) and row.error_code in _REFUSALS:
                continue
            if of_service and row.messaging_service_sid != sender:
                continue
            if message.content_sid is None and (
                (row.body or "") != (message.body or "")
                or int(row.num_media or 0) != len(message.media_urls)
            ):
                continue
            yield row

    async def _progress(self, message_id: str) -> Progress | None:
        """Where another message stands, from its workflow itself; None if there is none."""
        handle = self._temporal.get_workflow_handle(message_workflow_id(message_id))
        try:
            progress: Progress = await handle.query(PROGRESS_QUERY, result_type=Progress)
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return None
            raise ApplicationError(
                "Another message with the same text could not be asked for its SID.",
                type="SearchFailed",
            ) from None
        return progress


def _has_failed(row: MessageInstance) -> bool:
    return str(row.status) == MessageStatus.FAILED
