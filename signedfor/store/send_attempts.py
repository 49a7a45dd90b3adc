"""The attempt records: each POST to Twilio is claimed here before it starts.

A submission is one intended Twilio message. Its attempts share one record, and only the attempt
that has claimed it may make the POST. The record can be claimed again only after it was marked as
refused: when Twilio certainly does not have the message, and no later submission of it either. So a
submission is accepted at most once, whatever happens to workers and to Temporal's history.
"""

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NoReturn

from sqlalchemy import (
    Connection,
    Engine,
    Row,
    bindparam,
    func,
    or_,
    select,
)

from signedfor.contract import MessageRequest, Priority
from signedfor.message_limits import Limit, LimitRule, limits_of
from signedfor.store import account_hold, claim_statements, duplicates
from signedfor.store.claim_statements import CLAIM_HELD, IS_RECORDED, REFUSE, Blocked, blocked_by
from signedfor.store.database import delete_in_batches, lock_person, transaction
from signedfor.store.duplicates import FIND_DUPLICATE, DuplicateOf
from signedfor.store.fingerprints import fingerprint, recipient_hash
from signedfor.store.limit_usage import LimitUsed, count_message, used_limit
from signedfor.store.people import People
from signedfor.store.rate_limiter import Fits, RateLimiter, always
from signedfor.store.restored_attempts import number_restored
from signedfor.store.suppression_checks import applying_to
from signedfor.store.tables import ERASED, UNNUMBERED, send_attempts, utc_now


@dataclass(frozen=True, kw_only=True)
class CandidateDuplicate:
    """Another message of ours to the same recipient, with an attempt record of its own."""

    message_id: str
    fingerprint: str


@dataclass(frozen=True, kw_only=True)
class AttemptRecords:
    """The attempt records of one message, and of others to its recipient in the same time."""

    own_since: datetime | None
    """Start of its first POST on record in that time; None: there is no record."""
    candidates: list[CandidateDuplicate]


@dataclass(frozen=True)
class Claimed:
    """The POST may be made; its record is written."""

    attempt: int = 1
    """How often the submission has been claimed."""
    is_account_try: bool = False
    """The account is held; this POST shows whether Twilio takes its requests again."""
    was_unreachable: bool = False
    """Twilio called the recipient unreachable, for another sender or a time that is over."""


@dataclass(frozen=True)
class ClaimHeld:
    """Another attempt holds the claim: Twilio may have the message."""

    started_at: datetime
    attempts: int = 1
    """Of the message so far."""


@dataclass(frozen=True)
class NotBefore:
    """The sender or the account is busy; a later time is reserved for the message."""

    moment: datetime
    by_account: bool = False
    """The account is; the message has had its turn at its sender."""


NotClaimed = ClaimHeld | NotBefore | Blocked | LimitUsed | DuplicateOf
"""Why a claim was not made."""


_column = send_attempts.c
_LAST_MESSAGE = (
    select(_column.message_id)
    .where(
        _column.recipient_hash.in_(bindparam("recipient_hashes", expanding=True)),
        _column.sender.in_(bindparam("senders", expanding=True)),
        _column.started_at <= bindparam("until", type_=_column.started_at.type),
        ~_column.is_refused,
    )
    .order_by(_column.started_at.desc(), _column.id.desc())
    .limit(1)
)


class SendAttempts:
    """The attempt records in the database of `engine`.

    Twilio's list of messages does not show our message ids. These records show which of our
    messages a row of that list may belong to, and which of them cannot be distinguished there.
    """

    def __init__(
        self,
        engine: Engine,
        rate_limiter: RateLimiter,
        *,
        limits: Sequence[LimitRule] = (),
        duplicate_window: timedelta = timedelta(0),
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        """Without `limits` and a `duplicate_window`, a claim does nothing for them."""
        self._engine = engine
        self._rate_limiter = rate_limiter
        self._limits = limits
        self._duplicate_window = duplicate_window
        self._people = People(engine)
        self._now = now

    def claim(
        self,
        message_id: str,
        message: MessageRequest,
        *,
        sender: str,
        submission: int = 1,
        segments: int = 1,
        is_reserved: bool = False,
        is_reserved_by_account: bool = False,
        is_retry: bool = False,
        needs_opt_in: bool = False,
        fits: Fits = always,
    ) -> Claimed | NotClaimed:
        """Pass the rate limiter and claim the submission for one POST; or do neither.

        A message without a reservation passes if its sender is idle; otherwise it gets one. With
        `needs_opt_in` the recipient must have agreed to the message's category.

        One statement checks consent, pause and campaign and writes the record: after a STOP, a
        pause or a cancel is committed, no POST starts. A message is counted in its limits when its
        first submission is claimed, and compared with others by the duplicate guard each time that
        submission is.

        Raises:
            DatabaseUnavailable: nothing may be sent.
        """
        now = self._now()
        record = {
            **account_hold.parameters(now),
            **_key(message_id, submission),
            **applying_to(
                message.to,
                sender=sender,
                category=message.category,
                now=now,
                pseudonym=self._people.pseudonym,
            ),
            "campaign_id": message.campaign_id,
            "message_id": message_id,
            "submission": submission,
            "attempt": 1,
            "is_refused": False,
            "fingerprint": fingerprint(message, sender=sender),
            "started_at": now,
            "recipient_hash": recipient_hash(message.to),
            "person_reference": self._people.reference(message.to),
        }
        limits: Sequence[Limit] = ()
        if submission == 1:  # others continue what was counted and compared
            limits = limits_of(message, self._limits, person_reference=record["person_reference"])
            record |= self._guard(message_id, message, record)
        try:
            with transaction(self._engine) as connection:
                not_before = self._acquire(
                    connection,
                    sender,
                    segments,
                    is_urgent=message.priority is Priority.URGENT,
                    is_reserved=is_reserved,
                    is_reserved_by_account=is_reserved_by_account,
                    is_retry=is_retry,
                    fits=fits,
                )
                if not_before is not None:
                    _require_free(connection, record)
                    if not fits(not_before.moment):
                        _roll_back(not_before)
                    _require_place(connection, record, limits, now=now)
                    return not_before
                claimed = _execute_claim(connection, record, needs_opt_in=needs_opt_in)
                if claimed is None:
                    _deny(connection, record, needs_opt_in=needs_opt_in)
                if claimed.attempt == 1:
                    _count(connection, limits, now=now)
                if claimed.is_held:
                    _take_account_try(connection, now)
        except _DeniedError as error:
            if isinstance(error.reason, ClaimHeld):
                number_restored(self._engine, message_id, submission)
            return error.reason
        return Claimed(
            claimed.attempt,
            is_account_try=bool(claimed.is_held),
            was_unreachable=bool(claimed.was_unreachable),
        )

    def _guard(
        self, message_id: str, message: MessageRequest, record: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """The parameters of the duplicate guard; none if it is off."""
        if not self._duplicate_window:
            return {}
        return duplicates.parameters(
            message_id,
            message,
            person_reference=record["person_reference"],
            within=self._duplicate_window,
            now=record["started_at"],
        )

    def _acquire(
        self,
        connection: Connection,
        sender: str,
        segments: int,
        *,
        is_urgent: bool,
        is_reserved: bool,
        is_reserved_by_account: bool,
        is_retry: bool,
        fits: Fits,
    ) -> NotBefore | None:
        """Pass the sender's rate limiter and the account's, or neither.

        The sender is asked first: what waits for a slow sender takes no time of the account.
        """
        priority = {"is_urgent": is_urgent, "is_retry": is_retry}
        reserved_at = self._rate_limiter.acquire(
            sender,
            segments,
            **priority,
            is_reserved=is_reserved,
            fits=fits,
            joining=connection,
        )
        if reserved_at is not None:
            return NotBefore(reserved_at)
        reserved_at = self._rate_limiter.acquire_account(
            **priority, is_reserved=is_reserved_by_account, fits=fits, joining=connection
        )
        if reserved_at is None:
            return None
        self._rate_limiter.give_back(sender, segments, joining=connection)
        return NotBefore(reserved_at, by_account=True)

    def holder(self, message_id: str, submission: int) -> ClaimHeld | None:
        """The attempt that has claimed the submission; None if Twilio certainly does not have it.

        That is the case without a record, or if the last attempt was refused.
        """
        with transaction(self._engine, read_only=True) as connection:
            held = _holder(connection, _key(message_id, submission))
        if held is not None:
            number_restored(self._engine, message_id, submission)
        return held

    def claimed_since(self, message_id: str, *, first_submission: int) -> datetime | None:
        """Start of the first POST after which Twilio may have this submission, or a later one.

        None: it certainly has none of them.
        """
        query = select(func.min(_column.started_at)).where(
            _column.message_id == message_id,
            or_(_column.submission >= first_submission, _column.submission == UNNUMBERED),
            ~_column.is_refused,
        )
        with transaction(self._engine, read_only=True) as connection:
            since: datetime | None = connection.execute(query).scalar_one()
        return since

    def refuse(self, message_id: str, submission: int, attempt: int) -> None:
        """Record that Twilio does not have it, so that the submission can be claimed again.

        Only for the attempt that holds the claim: a late call does not release a newer one.
        """
        key = _key(message_id, submission)
        with transaction(self._engine) as connection:
            connection.execute(REFUSE, key | {"claimed_attempt": attempt})

    def around(
        self, message_id: str, message: MessageRequest, *, since: datetime
    ) -> AttemptRecords:
        """The records since that time of the message and of other messages to its recipient."""
        query = (
            select(
                send_attempts.c.message_id,
                send_attempts.c.fingerprint,
                func.min(send_attempts.c.started_at).label("started_at"),
            )
            .where(
                send_attempts.c.recipient_hash == recipient_hash(message.to),
                send_attempts.c.started_at >= since,
            )
            .group_by(send_attempts.c.message_id, send_attempts.c.fingerprint)
            .order_by(send_attempts.c.message_id)
        )
        with transaction(self._engine, read_only=True) as connection:
            rows = connection.execute(query).all()
        return AttemptRecords(
            own_since=min(
                (row.started_at for row in rows if row.message_id == message_id), default=None
            ),
            candidates=[
                CandidateDuplicate(message_id=row.message_id, fingerprint=row.fingerprint)
                for row in rows
                if row.message_id != message_id
            ],
        )

    def purge(self, *, before: datetime, stop: threading.Event | None = None) -> int:
        """Delete older records in batches; return how many.

        A message whose record is deleted is no longer protected by it. Other writers wait for one
        batch at most. `stop` ends it early.
        """
        return delete_in_batches(
            self._engine, send_attempts, send_attempts.c.started_at < before, stop=stop
        )


def count_recent_attempts(engine: Engine, prefix: str, *, within: timedelta) -> int:
    """How many submissions were claimed in this time, of messages whose id begins so."""
    query = select(func.count()).where(
        _column.started_at > utc_now() - within,
        _column.message_id.startswith(prefix, autoescape=True),
        _column.submission.not_in((ERASED, UNNUMBERED)),
    )
    with transaction(engine, read_only=True) as connection:
        return connection.scalar(query) or 0


def last_message_id(
    connection: Connection, recipients: Iterable[str], *, senders: Sequence[str], until: datetime
) -> str | None:
    """The last message to one of these addresses from one of these senders that Twilio may have.

    None if no record is left of any.
    """
    found: str | None = connection.scalar(
        _LAST_MESSAGE,
        {
            "recipient_hashes": [recipient_hash(each) for each in recipients],
            "senders": senders,
            "until": until,
        },
    )
    return found


def _holder(connection: Connection, key: Mapping[str, Any]) -> ClaimHeld | None:
    row = connection.execute(CLAIM_HELD, key).first()
    return None if row is None else ClaimHeld(row.started_at, int(row.attempts))


def _key(message_id: str, submission: int) -> dict[str, Any]:
    return {"of_message": message_id, "of_submission": submission}


def _execute_claim(
    connection: Connection, record: Mapping[str, Any], *, needs_opt_in: bool
) -> Row[Any] | None:
    is_guarded = _is_guarded(record)
    if is_guarded:  # of two at once, the second waits, and then sees the first one's record
        lock_person(connection, record["content_hash"])
    claim = claim_statements.claim(
        connection.dialect.name, needs_opt_in=needs_opt_in, is_guarded=is_guarded
    )
    return connection.execute(claim, record).first()


def _is_guarded(record: Mapping[str, Any]) -> bool:
    return "content_hash" in record


def _deny(connection: Connection, record: Mapping[str, Any], *, needs_opt_in: bool) -> NoReturn:
    """Raise why the record was not written; suppressed, if the reason is gone by now."""
    _require_free(connection, record)
    for reason, condition in blocked_by(needs_opt_in=needs_opt_in).items():
        if connection.execute(select(condition), record).scalar_one():
            raise _DeniedError(reason)
    if _is_guarded(record):
        found = connection.execute(FIND_DUPLICATE, record).first()
        if found is not None:
            raise _DeniedError(DuplicateOf(found.message_id, found.started_at))
    raise _DeniedError(Blocked.SUPPRESSED)


def _require_free(connection: Connection, record: Mapping[str, Any]) -> None:
    """Raise if the submission is claimed: the outcome of what Twilio may have must be resolved.

    Before everything else, also before a wait in which the message may expire or be canceled.
    """
    held = _holder(connection, record)
    if held is not None:
        raise _DeniedError(held)


def _count(connection: Connection, limits: Sequence[Limit], *, now: datetime) -> None:
    used = count_message(connection, limits, now=now) if limits else None
    if used is not None:
        raise _DeniedError(used)


def _require_place(
    connection: Connection, record: Mapping[str, Any], limits: Sequence[Limit], *, now: datetime
) -> None:
    """Raise if a limit is used up: the message would use its reserved time for nothing.

    Unless an earlier attempt has been counted.
    """
    used = used_limit(connection, limits, now=now) if limits else None
    if used is not None and not connection.scalar(IS_RECORDED, record):
        raise _DeniedError(used)


def _take_account_try(connection: Connection, now: datetime) -> None:
    if not account_hold.take_try(connection, now):
        raise _DeniedError(Blocked.ACCOUNT_HELD)


def _roll_back(not_before: NotBefore) -> NoReturn:
    """Leave no reservation: the message cannot be sent at its time."""
    raise _DeniedError(not_before)


class _DeniedError(Exception):
    """Rolls the rate limiter back: the message does not use its sender's time."""

    def __init__(self, reason: NotClaimed) -> None:
        super().__init__(reason)
        self.reason = reason
