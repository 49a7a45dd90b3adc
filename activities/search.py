"""Finding out, in Twilio's own list, whether a message was taken."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import requests
from temporalio import activity
from temporalio.client import Client, WorkflowFailureError, WorkflowQueryFailedError
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode
from twilio.base import values
from twilio.base.exceptions import TwilioException
from twilio.rest.api.v2010.account.message import MessageInstance

from signedfor.contract import (
    PROGRESS_QUERY,
    MessageReport,
    Outcome,
    Progress,
    Stage,
    message_workflow_id,
)
from signedfor.contract.failures import FailureClass
from signedfor.steps import SEARCH, Finding, SearchRequest, SearchResult
from signedfor.store.send_attempts import (
    CandidateDuplicate,
    SendAttempts,
    fingerprint,
    template_fingerprint,
    text_fingerprint,
)
from signedfor.twilio.client import TwilioClient
from signedfor.twilio.codes import REFUSED_CREATES
from signedfor.twilio.phone import is_messaging_service
from signedfor.twilio.statuses import MessageStatus

_CLOCKS_APART: Final = timedelta(minutes=1)
"""How far Twilio's clock, Temporal's and ours may differ, each from each."""
_LONGEST_POST: Final = timedelta(minutes=1)
"""From the note of a POST to the row in the list: far more than its timeouts allow."""
_NOTES_ARE_KEPT: Final = timedelta(days=1)
"""At the least: each is written before its POST, in the transaction of the last check."""
_MOST_ROWS: Final = 1000
"""Rows of one recipient and sender since the POST; more than that is no message, it is a flood."""
_OUTBOUND: Final = "outbound-api"
_UNSETTLED: Final = frozenset({Stage.SENDING, Stage.WAITING, Stage.RETRYING, Stage.RESOLVING})
"""Stages at which a message that was submitted before may have a row that it does not know of."""
_ASKED_AT_ONCE: Final = 8
_ANSWER_SECONDS: Final = 5
"""For another message to say where it stands: one that cannot must not use up the search's time."""


@dataclass(frozen=True, kw_only=True)
class _Claim:
    """What another message of ours has of the list, or may have."""

    fingerprint: str
    sids: tuple[str, ...] = ()
    is_open: bool = True
    """Whether it may have a row besides those, without anybody knowing which."""


class TwilioSearch:
    """Looks for messages of unknown fate; never takes a SID that may be another message's."""

    def __init__(self, twilio: TwilioClient, send_attempts: SendAttempts, temporal: Client) -> None:
        self._twilio = twilio
        self._send_attempts = send_attempts
        self._temporal = temporal

    @activity.defn(name=SEARCH)
    async def search(self, request: SearchRequest) -> SearchResult:
        """Say whether Twilio has the message, as far as its list and our other messages tell.

        Raises:
            ApplicationError: `SearchFailed`, retryable, without Twilio's text.
            DatabaseUnavailable: our own notes cannot be read.
        """
        # First the list, then the candidates: what a rival submits later cannot be in the list.
        rows = await asyncio.to_thread(self._rows, request)
        if await asyncio.to_thread(self._never_began, request):
            return SearchResult(finding=Finding.NOT_SUBMITTED)
        if not rows:
            return SearchResult(finding=Finding.ABSENT)
        notes = await asyncio.to_thread(
            self._send_attempts.around,
            request.message_id,
            request.message,
            sender=request.sender,
            # The oldest row may be a clock's difference older, and its note another, and a POST.
            since=request.since - 2 * _CLOCKS_APART - _LONGEST_POST,
        )
        return _judged(request, rows, await self._claims(notes.candidates), notes.own_since)

    def _never_began(self, request: SearchRequest) -> bool:
        """Whether no POST was made: its worker died before it wrote its note."""
        are_kept = datetime.now(UTC) - request.since < _NOTES_ARE_KEPT
        return are_kept and not self._send_attempts.has_begun(request.message_id, request.message)

    def _rows(self, request: SearchRequest) -> list[MessageInstance]:
        """What Twilio has taken for this recipient and sender since then, whoever's it is."""
        try:
            return list(self._taken(request))
        except (TwilioException, requests.RequestException, ValueError) as error:
            raise ApplicationError(
                f"Twilio could not be asked for its list of messages ({type(error).__name__}).",
                type="SearchFailed",
            ) from None

    def _taken(self, request: SearchRequest) -> Iterator[MessageInstance]:
        sender = request.sender
        service = sender if is_messaging_service(sender) else None
        # A service's row names the sender it chose, so there the list is asked by recipient only.
        # By creation time it is not asked at all: Twilio filters by the time of sending, which a
        # fresh message does not have.
        asked_from = values.unset if service else sender
        earliest = request.since - _CLOCKS_APART
        for row in self._twilio.messages.stream(
            to=request.message.to, from_=asked_from, limit=_MOST_ROWS
        ):
            if row.date_created is None or row.date_created < earliest:
                continue
            if str(row.direction) != _OUTBOUND or row.sid in request.own_sids:
                continue
            if _has_failed(row) and row.error_code in REFUSED_CREATES:
                continue
            # Also a service may have chosen the number that we send from directly.
            if (row.messaging_service_sid or None) != service:
                continue
            yield row

    async def _claims(self, candidates: Sequence[CandidateDuplicate]) -> list[_Claim]:
        some = asyncio.Semaphore(_ASKED_AT_ONCE)

        async def ask(rival: CandidateDuplicate) -> _Claim:
            async with some:
                return await self._claim(rival)

        return await asyncio.gather(*(ask(rival) for rival in candidates))

    async def _claim(self, rival: CandidateDuplicate) -> _Claim:
        """What another message may have, from its workflow itself; nothing if there is none.

        One that cannot say may have anything that looks like it, and holds up no more than that.
        """
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                return await self._asked(rival)
        except RPCError as error:
            is_gone = error.status is RPCStatusCode.NOT_FOUND
            return _Claim(fingerprint=rival.fingerprint, is_open=not is_gone)
        except (TimeoutError, WorkflowQueryFailedError, WorkflowFailureError):
            return _Claim(fingerprint=rival.fingerprint)

    async def _asked(self, rival: CandidateDuplicate) -> _Claim:
        workflow_id = message_workflow_id(rival.message_id)
        handle = self._temporal.get_workflow_handle(workflow_id, result_type=MessageReport)
        progress: Progress = await handle.query(PROGRESS_QUERY, result_type=Progress)
        is_open = progress.status in _UNSETTLED
        if progress.status == Outcome.UNCONFIRMED:
            # It lacks a receipt; or it was parked, and what it may have is no other's for that.
            report = await handle.result()
            is_open = report.failure_class is FailureClass.OUTCOME_UNKNOWN
        return _Claim(fingerprint=rival.fingerprint, sids=progress.message_sids, is_open=is_open)


def _judged(
    request: SearchRequest,
    rows: Sequence[MessageInstance],
    claims: Sequence[_Claim],
    noted_since: datetime | None,
) -> SearchResult:
    """Which of the rows is the message's, if that can be told."""
    owned = {sid for claim in claims for sid in claim.sids}
    rows = [row for row in rows if row.sid not in owned]
    if noted_since is None:
        # So long ago that its notes are gone, and those of others too.
        return SearchResult(finding=Finding.UNDECIDED if rows else Finding.ABSENT)
    # `since` may lie days back, before notes that are gone and whose messages nobody could ask.
    earliest = noted_since - _CLOCKS_APART
    rows = [row for row in rows if row.date_created and row.date_created >= earliest]
    texts = {row.sid: _text(row, request) for row in rows}
    template = template_fingerprint(request.message.to, request.sender)
    mark = fingerprint(request.message, sender=request.sender)
    ours = [row for row in rows if mark in {texts[row.sid], template}]
    if not ours:
        # Twilio may list another text than we sent: it folds some characters and shortens links. A
        # text that is nobody's could be that; one of another message of ours is not.
        strange = set(texts.values()) - {claim.fingerprint for claim in claims}
        return SearchResult(finding=Finding.UNDECIDED if strange else Finding.ABSENT)
    open_marks = {claim.fingerprint for claim in claims if claim.is_open}
    looks = {texts[row.sid] for row in ours}
    # Several texts only where ours is a template's, and then nothing says which it is.
    if open_marks & {*looks, template} or len(looks) > 1:
        return SearchResult(finding=Finding.UNDECIDED)
    # One that failed is ours only if no other can be.
    found = min(ours, key=lambda row: (_has_failed(row), row.date_created))
    return SearchResult(
        finding=Finding.FOUND,
        message_sid=found.sid,
        status=str(found.status),
        error_code=found.error_code,
        created_at=found.date_created,
    )


def _text(row: MessageInstance, request: SearchRequest) -> str:
    """The fingerprint of a message whose text and number of media are the row's."""
    media = int(row.num_media or 0)
    return text_fingerprint(request.message.to, request.sender, row.body or "", media)


def _has_failed(row: MessageInstance) -> bool:
    return str(row.status) == MessageStatus.FAILED
