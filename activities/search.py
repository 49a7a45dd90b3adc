"""What Twilio knows of a message: its status by SID, or whether it was accepted at all."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Final

from temporalio import activity
from temporalio.client import Client, WorkflowFailureError, WorkflowQueryFailedError
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode
from twilio.base.exceptions import TwilioRestException
from twilio.rest.api.v2010.account.message import MessageInstance

from activities.listing import CLOCK_SKEW, accepted_rows, has_failed
from activities.threads import in_thread
from signedfor.contract import (
    PROGRESS_QUERY,
    MessageReport,
    Outcome,
    Progress,
    Stage,
    message_workflow_id,
)
from signedfor.contract.failures import FailureClass
from signedfor.message_activities import (
    Absent,
    AlreadyClaimed,
    Ambiguous,
    DeliveryFailure,
    FailedDelivery,
    Found,
    NeverSubmitted,
    SearchActivities,
    SearchRequest,
    SearchResult,
    StatusActivities,
    StatusRequest,
    StatusResult,
    Submission,
)
from signedfor.store.fingerprints import fingerprint, template_fingerprint, text_fingerprint
from signedfor.store.send_attempts import CandidateDuplicate, SendAttempts
from signedfor.twilio import codes
from signedfor.twilio.client import TWILIO_ERRORS, TwilioClient

_MAX_POST: Final = timedelta(minutes=1)
"""From the record of a POST to the row in the list: far more than its timeouts allow."""
_MIN_RECORD_RETENTION: Final = timedelta(days=1)
"""Attempt records are kept for longer than this, by any setting."""
_UNRESOLVED_STAGES: Final = frozenset(
    {Stage.SENDING, Stage.WAITING, Stage.RETRYING, Stage.RESOLVING}
)
"""Stages at which a message that was submitted before may have a row that it does not know of."""
_POSSIBLY_UNRESOLVED: Final = frozenset({Outcome.UNCONFIRMED, Outcome.EXPIRED})
"""Outcomes that may follow an unknown outcome; the report's failure class says whether they do."""
_MAX_QUERIES: Final = 8
_QUERY_SECONDS: Final = 5
"""For another message to answer: one that cannot must not use up the search's time."""


@dataclass(frozen=True, kw_only=True)
class _Claim:
    """Which rows of the list another message of ours has, or may have."""

    fingerprint: str
    sids: tuple[str, ...] = ()
    is_open: bool = True
    """Whether it may have another row, not known which."""


class TwilioStatuses(StatusActivities):
    """Reads messages back from Twilio; reading may be repeated freely."""

    def __init__(self, twilio: TwilioClient) -> None:
        self._twilio = twilio

    @in_thread
    def fetch_status(self, request: StatusRequest) -> StatusResult:
        """What Twilio says of the message now.

        Raises:
            ApplicationError: `StatusUnavailable`, retryable, without Twilio's text, which may
                repeat a phone number.
        """
        try:
            message = self._twilio.messages(request.message_sid).fetch()
        except TwilioRestException as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return StatusResult(status=None)
            raise ApplicationError(
                f"Twilio answered HTTP {error.status} when asked for a message.",
                type="StatusUnavailable",
            ) from None
        # The SDK's RFC 9457 error is no TwilioRestException.
        except TWILIO_ERRORS as error:
            raise ApplicationError(
                f"Twilio could not be asked for a message ({type(error).__name__}).",
                type="StatusUnavailable",
            ) from None
        return StatusResult(
            status=str(message.status) if message.status else None, error_code=message.error_code
        )

    @activity.defn
    async def classify_delivery(self, failed: FailedDelivery) -> DeliveryFailure:
        """What the code means by today's table."""
        return delivery_failure(failed.error_code)


def delivery_failure(code: int | None) -> DeliveryFailure:
    """What a code means for a message that Twilio had accepted."""
    failure_class = codes.classify_delivery(code)
    return DeliveryFailure(
        failure_class=failure_class,
        meaning=codes.meaning_for(failure_class, code),
        resubmissions=codes.resubmissions_for(code),
        delay=timedelta(seconds=codes.delay_for(code)),
    )


class TwilioSearch(SearchActivities):
    """Searches for messages of unknown outcome; never adopts another message's SID."""

    def __init__(self, twilio: TwilioClient, attempts: SendAttempts, temporal: Client) -> None:
        self._twilio = twilio
        self._attempts = attempts
        self._temporal = temporal

    @activity.defn
    async def find_message(self, request: SearchRequest) -> SearchResult:
        """Say whether Twilio has the message, judging by its list and our other messages.

        Raises:
            ApplicationError: `SearchFailed`, retryable, without Twilio's text.
            DatabaseUnavailable: the attempt records cannot be read.
        """
        # The workflow knows of its own attempts only. After a reset, an earlier run may have made
        # the POST, long before an attempt of this run that was lost before it found the claim.
        claimed_since = await asyncio.to_thread(self._claimed_since, request)
        if claimed_since is not None and claimed_since < request.since:
            request = request.model_copy(update={"since": claimed_since})
        # The list first, then the candidates: what a candidate submits later is not in the list.
        rows = await asyncio.to_thread(self._rows, request)
        if await asyncio.to_thread(self._was_never_submitted, request):
            return SearchResult(finding=NeverSubmitted())
        if not rows:
            return SearchResult(finding=Absent())
        records = await asyncio.to_thread(
            self._attempts.around,
            request.message_id,
            request.message,
            # The oldest row may be older by the clock skew, and its record by another, and a POST.
            since=request.since - 2 * CLOCK_SKEW - _MAX_POST,
        )
        return _match(request, rows, await self._claims(records.candidates), records.own_since)

    @in_thread
    def find_claim(self, submission: Submission) -> AlreadyClaimed | None:
        """The attempt after which Twilio may have the submission, by the attempt records.

        Raises:
            DatabaseUnavailable: they cannot be read.
        """
        held = self._attempts.holder(submission.message_id, submission.submission)
        if held is None:
            return None
        return AlreadyClaimed(claimed_at=held.started_at, attempts=held.attempts)

    def _was_never_submitted(self, request: SearchRequest) -> bool:
        """Whether Twilio certainly does not have it.

        Its worker died before it claimed the submission, or after it recorded that Twilio refused.
        """
        are_kept = datetime.now(UTC) - request.since < _MIN_RECORD_RETENTION
        return are_kept and self._claimed_since(request) is None

    def _claimed_since(self, request: SearchRequest) -> datetime | None:
        return self._attempts.claimed_since(
            request.message_id, first_submission=request.unresolved_from
        )

    def _rows(self, request: SearchRequest) -> list[MessageInstance]:
        """What Twilio has accepted for this recipient and sender since then, for any message."""
        try:
            return list(
                accepted_rows(
                    self._twilio,
                    to=request.message.to,
                    sender=request.sender,
                    since=request.since,
                    except_sids=request.own_sids,
                )
            )
        except TWILIO_ERRORS as error:
            raise ApplicationError(
                f"Twilio could not be asked for its list of messages ({type(error).__name__}).",
                type="SearchFailed",
            ) from None

    async def _claims(self, candidates: Sequence[CandidateDuplicate]) -> list[_Claim]:
        limit = asyncio.Semaphore(_MAX_QUERIES)

        async def ask(candidate: CandidateDuplicate) -> _Claim:
            async with limit:
                return await self._claim(candidate)

        return await asyncio.gather(*(ask(candidate) for candidate in candidates))

    async def _claim(self, candidate: CandidateDuplicate) -> _Claim:
        """Ask another message's workflow which rows it has.

        Without a workflow it has none; one that cannot answer may have any with its fingerprint.
        """
        try:
            async with asyncio.timeout(_QUERY_SECONDS):
                return await self._query(candidate)
        except RPCError as error:
            is_gone = error.status is RPCStatusCode.NOT_FOUND
            return _Claim(fingerprint=candidate.fingerprint, is_open=not is_gone)
        except (TimeoutError, WorkflowQueryFailedError, WorkflowFailureError):
            return _Claim(fingerprint=candidate.fingerprint)

    async def _query(self, candidate: CandidateDuplicate) -> _Claim:
        workflow_id = message_workflow_id(candidate.message_id)
        handle = self._temporal.get_workflow_handle(workflow_id, result_type=MessageReport)
        progress: Progress = await handle.query(PROGRESS_QUERY, result_type=Progress)
        is_open = progress.status in _UNRESOLVED_STAGES
        if progress.status in _POSSIBLY_UNRESOLVED:
            report = await handle.result()
            is_open = report.failure_class is FailureClass.OUTCOME_UNKNOWN
        return _Claim(
            fingerprint=candidate.fingerprint, sids=progress.message_sids, is_open=is_open
        )


def _match(
    request: SearchRequest,
    rows: Sequence[MessageInstance],
    claims: Sequence[_Claim],
    recorded_since: datetime | None,
) -> SearchResult:
    """Find the row that is the message's, if only one can be."""
    absent = Absent(listed_sids=tuple(str(row.sid) for row in rows))
    owned = {sid for claim in claims for sid in claim.sids}
    rows = [row for row in rows if row.sid not in owned]
    if recorded_since is None:
        # It was so long ago that its records are gone, and those of other messages too.
        return SearchResult(finding=Ambiguous() if rows else absent)
    # `since` may lie days back, before records that are gone: those messages cannot be asked.
    earliest = recorded_since - CLOCK_SKEW
    rows = [row for row in rows if row.date_created and row.date_created >= earliest]
    texts = {row.sid: _text(row, request) for row in rows}
    template = template_fingerprint(request.message.to, request.sender)
    own = fingerprint(request.message, sender=request.sender)
    ours = [row for row in rows if own in {texts[row.sid], template}]
    if not ours:
        # Twilio may list another text than we sent: it folds some characters and shortens links. A
        # text that belongs to no message could be that; one of another message of ours is not.
        foreign = set(texts.values()) - {claim.fingerprint for claim in claims}
        return SearchResult(finding=Ambiguous() if foreign else absent)
    open_fingerprints = {claim.fingerprint for claim in claims if claim.is_open}
    found_texts = {texts[row.sid] for row in ours}
    # Several texts are possible only for a template, and then nothing says which one is ours.
    if open_fingerprints & {*found_texts, template} or len(found_texts) > 1:
        return SearchResult(finding=Ambiguous())
    # A failed row is ours only if no other row can be.
    found = min(ours, key=lambda row: (has_failed(row), row.date_created))
    return SearchResult(
        finding=Found(
            message_sid=str(found.sid),
            status=str(found.status),
            error_code=found.error_code,
            created_at=found.date_created,
        )
    )


def _text(row: MessageInstance, request: SearchRequest) -> str:
    """The fingerprint of a message whose text and number of media are the row's."""
    media = int(row.num_media or 0)
    return text_fingerprint(request.message.to, request.sender, row.body or "", media)
