"""Dead letters: found, grouped by cause, shown, and resolved one by one.

The command line, the operations page and the job on many of them call these functions.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any, Final, Self

from pydantic import AfterValidator
from temporalio.client import (
    Client,
    WorkflowExecution,
    WorkflowExecutionAsyncIterator,
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowUpdateFailedError,
)
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from signedfor.client import bad_input_in
from signedfor.contract import (
    DEAD_LETTER,
    DETAILS_QUERY,
    OPEN,
    RESOLVE_UPDATE,
    ContractModel,
    DeadLetterDetails,
    DeadLetterReport,
    Resolution,
    dead_letter_workflow_id,
    message_id_of,
)
from signedfor.contract.failures import FailureClass
from signedfor.contract.fields import Label, Sender, TwilioErrorCode, problem
from signedfor.dead_letter_activities import CLOSED_ERROR, MAY_HAVE_ARRIVED_ERROR
from signedfor.errors import BadInput, NotFound, Refused, Unavailable, Unconfirmed
from signedfor.masks import check_no_number, has_digits_of_number, masked_sender, named
from signedfor.notes import check_note_on
from signedfor.search_attributes import (
    CAMPAIGN_ID,
    FAILURE_CLASS,
    MAY_HAVE_ARRIVED,
    MESSAGE_SENDER,
    MESSAGE_STATUS,
    SEARCH_ATTRIBUTES,
    TENANT,
    TWILIO_ERROR_CODE,
    TWILIO_SID,
)
from signedfor.twilio import codes
from signedfor.workflow_calls import (
    NO_WORKER,
    RPC_TIMEOUT,
    answer,
    describe,
    is_no_worker,
    is_workflow_missing,
)

ANSWER_SECONDS: Final = 30.0
"""How long to wait for a worker's answer."""
MAX_GROUPED: Final = 10_000
"""How many dead letters are read to group them."""
_ENDED_WITHOUT_REPORT: Final = {
    WorkflowExecutionStatus.TERMINATED: "terminated",
    WorkflowExecutionStatus.CANCELED: "canceled",
    WorkflowExecutionStatus.FAILED: "failed",
    WorkflowExecutionStatus.TIMED_OUT: "timed_out",
}


class InvalidClause(BadInput):
    """Temporal does not understand the filter's `query`."""

    def __init__(self) -> None:
        names = ", ".join(key.name for key in SEARCH_ATTRIBUTES)
        what = (
            "Temporal does not understand it; it must be like TwilioErrorCode = 21408; "
            f"names besides Temporal's own: {names}"
        )
        super().__init__([("query", what)])


class AlreadyClosed(Refused):
    """The dead letter is closed; `report` says how, unless its workflow was ended from outside."""

    def __init__(self, message_id: str, report: DeadLetterReport | None) -> None:
        super().__init__(f"The dead letter of {message_id} is already closed.")
        self.report = report


class MayHaveArrived(Refused):
    """A retry may be a second message, and it was not asked for in spite of that."""


class NoAnswer(Unconfirmed):
    """No worker answered in time, so it is not known whether the dead letter is resolved."""

    def __init__(self, message_id: str, *, within: float) -> None:
        super().__init__(
            f"It is not known whether the dead letter of {message_id} was resolved: no worker "
            f"answered within {within:g} seconds. See `signedfor dead-letters show {message_id}`."
        )


def _closed(clause: str) -> str:
    """The clause, if it cannot end the parentheses that it is put into."""
    depth, quote, is_escaped = 0, "", False
    for character in clause:
        if is_escaped:
            is_escaped = False
        elif quote:
            is_escaped = character == "\\"
            quote = "" if character == quote else quote
        elif character in "'\"`":
            quote = character
        else:
            depth += {"(": 1, ")": -1}.get(character, 0)
        if depth < 0:
            break
    if depth or quote:
        raise problem("has a quote or parenthesis without its counterpart")
    return clause


class DeadLetterFilter(ContractModel):
    """Which dead letters: those that match every field that is given."""

    failure_class: FailureClass | None = None
    error_code: TwilioErrorCode | None = None
    has_no_code: bool = False
    """Only those without a code of Twilio's."""
    sender: Sender | None = None
    tenant: Label | None = None
    campaign_id: Label | None = None
    may_have_arrived: bool | None = None
    query: Annotated[str, AfterValidator(_closed)] | None = None
    """A clause for Temporal's visibility store."""

    def clause(self) -> str | None:
        """The filter as a clause; None if it matches all."""
        parts = []
        if self.has_no_code:
            parts.append(f"{TWILIO_ERROR_CODE.name} IS NULL")
        if self.error_code is not None:
            parts.append(f"{TWILIO_ERROR_CODE.name} = {self.error_code}")
        if self.may_have_arrived is not None:
            parts.append(f"{MAY_HAVE_ARRIVED.name} = {str(self.may_have_arrived).lower()}")
        # None of these can contain a quote.
        texts = {
            FAILURE_CLASS.name: self.failure_class,
            MESSAGE_SENDER.name: None if self.sender is None else masked_sender(self.sender),
            TENANT.name: self.tenant,
            CAMPAIGN_ID.name: self.campaign_id,
        }
        parts += [f"{name} = '{text}'" for name, text in texts.items() if text is not None]
        if self.query is not None:
            parts.append(f"({self.query})")
        return " AND ".join(parts) or None


ALL: Final = DeadLetterFilter()


@dataclass(frozen=True, kw_only=True)
class DeadLetterSummary:
    """A dead letter as lists show it: what Temporal holds in clear, so no recipient and no text."""

    message_id: str
    status: str
    opened_at: datetime
    failure_class: FailureClass | None
    error_code: int | None
    sender: str | None
    """A phone number is masked."""
    tenant: str | None
    campaign_id: str | None
    message_sid: str | None
    may_have_arrived: bool

    @classmethod
    def of(cls, execution: WorkflowExecution) -> Self:
        """From Temporal's visibility store."""
        attributes = execution.typed_search_attributes
        failure_class = attributes.get(FAILURE_CLASS)
        status = attributes.get(MESSAGE_STATUS)
        if status == OPEN and execution.status in _ENDED_WITHOUT_REPORT:
            status = _ENDED_WITHOUT_REPORT[execution.status]
        return cls(
            message_id=message_id_of(execution.id),
            status=status or OPEN,
            opened_at=execution.start_time,
            failure_class=FailureClass(failure_class) if failure_class in _CLASSES else None,
            error_code=attributes.get(TWILIO_ERROR_CODE),
            sender=attributes.get(MESSAGE_SENDER),
            tenant=attributes.get(TENANT),
            campaign_id=attributes.get(CAMPAIGN_ID),
            message_sid=attributes.get(TWILIO_SID),
            may_have_arrived=attributes.get(MAY_HAVE_ARRIVED) is not False,
        )

    @property
    def cause(self) -> "Cause":
        """Why its message failed."""
        return Cause(failure_class=self.failure_class, error_code=self.error_code)


_CLASSES = {each.value for each in FailureClass}


@dataclass(frozen=True, kw_only=True)
class Cause:
    """Why a message failed, and what to do."""

    failure_class: FailureClass | None
    error_code: int | None

    def __str__(self) -> str:
        return " ".join(str(each) for each in (self.failure_class, self.error_code) if each)

    @property
    def meaning(self) -> str | None:
        """What it means, in a sentence."""
        return self.failure_class and codes.meaning_for(self.failure_class, self.error_code)

    @property
    def advice(self) -> str | None:
        """What an operator should do."""
        return self.failure_class and codes.advice_for(self.failure_class, self.error_code)


@dataclass(frozen=True, kw_only=True)
class Group:
    """The open dead letters with one cause."""

    cause: Cause
    count: int
    may_have_arrived: int
    senders: Mapping[str | None, int]
    """How many of each sender, most first; a phone number is masked."""
    oldest: datetime
    newest: datetime


@dataclass(frozen=True, kw_only=True)
class Groups:
    """Dead letters by cause, most first."""

    groups: tuple[Group, ...]
    count: int
    """How many were read."""
    is_all: bool
    """Whether there are no more than these."""


async def find(
    temporal: Client,
    which: DeadLetterFilter = ALL,
    *,
    open_only: bool = True,
    limit: int | None = None,
) -> AsyncIterator[DeadLetterSummary]:
    """The dead letters that match, newest first. A new one appears after about a second.

    Raises:
        InvalidClause: Temporal does not understand the filter's `query`.
    """
    pages = listing(temporal, which.clause(), open_only=open_only, limit=limit)
    try:
        async for execution in pages:
            yield DeadLetterSummary.of(execution)
    except RPCError as error:
        if error.status is not RPCStatusCode.INVALID_ARGUMENT or which.query is None:
            raise
        raise InvalidClause from None


def listing(
    temporal: Client, clause: str | None, *, open_only: bool = True, **options: Any
) -> WorkflowExecutionAsyncIterator:
    """What Temporal's search has for a clause; `options` are those of `list_workflows`."""
    parts = [f"WorkflowType='{DEAD_LETTER}'"]
    if open_only:
        parts.append(f"{MESSAGE_STATUS.name}='{OPEN}' AND ExecutionStatus='Running'")
    if clause is not None:
        parts.append(f"({clause})")
    return temporal.list_workflows(" AND ".join(parts), **options)


async def group(
    temporal: Client, which: DeadLetterFilter = ALL, *, limit: int = MAX_GROUPED
) -> Groups:
    """The open dead letters that match by cause, the newest `limit` of them.

    Raises:
        InvalidClause: Temporal does not understand the filter's `query`.
    """
    found = [each async for each in find(temporal, which, limit=limit + 1)]
    is_all, found = len(found) <= limit, found[:limit]
    by_cause: dict[Cause, list[DeadLetterSummary]] = {}
    for each in found:
        by_cause.setdefault(each.cause, []).append(each)
    groups = [
        Group(
            cause=cause,
            count=len(members),
            may_have_arrived=sum(each.may_have_arrived for each in members),
            senders=dict(Counter(each.sender for each in members).most_common()),
            oldest=members[-1].opened_at,
            newest=members[0].opened_at,
        )
        for cause, members in by_cause.items()
    ]
    groups.sort(key=lambda each: -each.count)
    return Groups(groups=tuple(groups), count=len(found), is_all=is_all)


def handle_of(temporal: Client, message_id: str) -> WorkflowHandle[Any, DeadLetterReport]:
    """The workflow of the message's dead letter. Makes no call to Temporal."""
    return temporal.get_workflow_handle(
        dead_letter_workflow_id(message_id), result_type=DeadLetterReport
    )


async def require(temporal: Client, message_id: str) -> None:
    """Return if the message has a dead letter, open or closed.

    Raises:
        NotFound: it has none, or Temporal has deleted it.
        RPCError: Temporal did not answer.
    """
    if await describe(handle_of(temporal, message_id)) is None:
        raise _not_found(message_id)


async def fetch(
    temporal: Client, message_id: str, *, within: float = ANSWER_SECONDS
) -> DeadLetterDetails:
    """The dead letter, from a worker; its `status` is true even if it was ended from outside.

    Raises:
        NotFound: there is none.
        Unavailable: no worker answered.
        RPCError: Temporal did not answer.
    """
    handle = handle_of(temporal, message_id)
    try:
        details: DeadLetterDetails = await handle.query(
            DETAILS_QUERY, result_type=DeadLetterDetails, rpc_timeout=timedelta(seconds=within)
        )
        if details.result is not None:
            return details
        description = await handle.describe(rpc_timeout=RPC_TIMEOUT)
    except RPCError as error:
        if is_no_worker(error):
            raise Unavailable(NO_WORKER) from None
        if is_workflow_missing(error):
            raise _not_found(message_id) from None
        raise
    # The query's answer comes from the workflow's own code, which a termination does not run.
    ended_as = _ENDED_WITHOUT_REPORT.get(description.status or WorkflowExecutionStatus.RUNNING)
    return details if ended_as is None else details.model_copy(update={"status": ended_as})


async def resolve(
    temporal: Client, message_id: str, resolution: Resolution, *, within: float = ANSWER_SECONDS
) -> DeadLetterReport:
    """Resolve one dead letter. With a `job_id`, doing it again is the same decision.

    Raises:
        NotFound: there is none.
        BadInput: the changes do not fit the message.
        AlreadyClosed: it was closed before.
        MayHaveArrived: a retry may be a second message, and `even_if_taken` is not set.
        Refused: it refused the decision for another reason.
        NoAnswer: no worker answered within `within` seconds.
        RPCError: Temporal did not answer.
    """
    handle = handle_of(temporal, message_id)
    try:
        report: DeadLetterReport = await answer(
            handle.execute_update(
                RESOLVE_UPDATE,
                resolution,
                id=resolution.job_id,
                result_type=DeadLetterReport,
            ),
            within=within,
        )
    except WorkflowUpdateFailedError as error:
        problem = await _refusal(handle, message_id, error.cause)
        raise problem from None
    except TimeoutError:
        raise NoAnswer(message_id, within=within) from None
    except RPCError as error:
        if not is_workflow_missing(error) or await _is_running(handle, message_id):
            raise
        raise AlreadyClosed(message_id, await _report(handle)) from None
    return report


async def check_note(
    temporal: Client, message_id: str, resolution: Resolution, *, field: str
) -> None:
    """Refuse a note with a phone number: all who read the histories and the audit log see it.

    Raises:
        BadInput: names the field.
        NotFound, Unavailable, RPCError: as of `fetch`, which a note with many digits needs.
    """
    note = resolution.note or ""
    check_no_number(note, field=field)
    if has_digits_of_number(note):
        details = await fetch(temporal, message_id)
        changed = resolution.changes.to if resolution.changes else None
        people = [each for each in (details.request.message.to, changed) if each]
        check_note_on(people, note, field=field, whose="the person's")


async def _refusal(
    handle: WorkflowHandle[Any, DeadLetterReport], message_id: str, cause: BaseException
) -> Exception:
    if (bad_input := bad_input_in(cause)) is not None:
        return BadInput([(each.field, each.problem) for each in bad_input.problems])
    kind = cause.type if isinstance(cause, ApplicationError) else None
    if kind == MAY_HAVE_ARRIVED_ERROR:
        return MayHaveArrived(str(cause))
    if kind == CLOSED_ERROR:
        return AlreadyClosed(message_id, await _report(handle))
    if not await _is_running(handle, message_id):  # it was closed while it was being asked
        return AlreadyClosed(message_id, await _report(handle))
    if isinstance(cause, ApplicationError):
        return Refused(cause.message)
    return Refused(f"The workflow refused it ({type(cause).__name__}).")


async def decision_of(
    temporal: Client, message_id: str, job_id: str, *, within: float = ANSWER_SECONDS
) -> DeadLetterReport | None:
    """How the job's decision about it ended; None if it got none, or refused it.

    One that is under way is waited for: it is carried out though its sender may be gone.

    Raises:
        NoAnswer: it is under way, and no worker answered within `within` seconds.
        RPCError: Temporal did not answer.
    """
    decision = handle_of(temporal, message_id).get_update_handle(
        job_id, result_type=DeadLetterReport
    )
    try:
        report: DeadLetterReport = await answer(decision.result(), within=within)
    except WorkflowUpdateFailedError:
        return None
    except TimeoutError:
        raise NoAnswer(message_id, within=within) from None
    except RPCError as error:
        if is_workflow_missing(error):  # said of an update too
            return None
        raise
    return report


async def report_of(temporal: Client, message_id: str) -> DeadLetterReport | None:
    """How it was closed; None if it is open, or was ended from outside.

    Raises:
        NotFound: there is none.
    """
    handle = handle_of(temporal, message_id)
    return None if await _is_running(handle, message_id) else await _report(handle)


async def _is_running(handle: WorkflowHandle[Any, Any], message_id: str) -> bool:
    try:
        description = await handle.describe(rpc_timeout=RPC_TIMEOUT)
    except RPCError as error:
        if is_workflow_missing(error):
            raise _not_found(message_id) from None
        raise
    return description.status is WorkflowExecutionStatus.RUNNING


async def _report(handle: WorkflowHandle[Any, DeadLetterReport]) -> DeadLetterReport | None:
    """How it was closed, once it is: a retry that was decided upon is about to be made."""
    try:
        async with asyncio.timeout(RPC_TIMEOUT.total_seconds()):
            return await handle.result()
    except (WorkflowFailureError, TimeoutError):
        return None


def _not_found(message_id: str) -> NotFound:
    dead_letter = named("dead letter", message_id)
    return NotFound(f"There is no {dead_letter}, or Temporal has deleted it.")
