"""The SQL statements of a claim, each built once: building one costs more than running it.

All take the parameters of `SendAttempts.claim`, or some of them.
"""

import functools
from enum import Enum, auto
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Integer,
    String,
    bindparam,
    exists,
    func,
    or_,
    select,
    update,
)

from signedfor.contract import CampaignState
from signedfor.store import account_hold
from signedfor.store.campaigns import campaign_is
from signedfor.store.database import insert_for
from signedfor.store.duplicates import IS_DUPLICATE
from signedfor.store.opt_ins import HAS_OPTED_IN
from signedfor.store.rate_limiter_statements import paused
from signedfor.store.suppression_checks import APPLIES, UNREACHABLE
from signedfor.store.tables import UNNUMBERED, send_attempts, suppressions


class Blocked(Enum):
    """Why the POST must not be made."""

    SUPPRESSED = auto()
    PAUSED = auto()
    """Its sender or its campaign is paused."""
    NO_OPT_IN = auto()
    """Its category demands an opt-in."""
    CAMPAIGN_CANCELED = auto()
    ACCOUNT_HELD = auto()
    """Twilio refuses the account's requests."""


# Built once, because they are used before each POST and building them costs more CPU than the
# query. A message without a campaign has None for one, which equals nothing.
_BLOCKED_BY: dict[Blocked, ColumnElement[bool]] = {
    Blocked.SUPPRESSED: exists(suppressions.c.id).where(APPLIES),
    Blocked.NO_OPT_IN: ~HAS_OPTED_IN,
    Blocked.PAUSED: paused(bindparam("sender", type_=String))
    | campaign_is(CampaignState.PAUSED, bindparam("campaign_id", type_=String)),
    Blocked.CAMPAIGN_CANCELED: campaign_is(
        CampaignState.CANCELED, bindparam("campaign_id", type_=String)
    ),
    Blocked.ACCOUNT_HELD: account_hold.HELD,
}
_column = send_attempts.c
_COLUMNS = (
    _column.message_id,
    _column.submission,
    _column.attempt,
    _column.is_refused,
    _column.fingerprint,
    _column.started_at,
    _column.recipient_hash,
    _column.sender,
    _column.person_reference,
)
_GUARDED_COLUMNS = (*_COLUMNS, _column.content_hash)
"""With the duplicate guard."""
_IS_SUBMISSION = (
    _column.message_id == bindparam("of_message", type_=String),
    _column.submission == bindparam("of_submission", type_=Integer),
)
# A worker that was frozen may mark its submission as refused after the message was sent again, as
# the next one. A workflow that is reset must then not submit the earlier one.
_IS_SUBMISSION_OR_LATER = (
    _column.message_id == bindparam("of_message", type_=String),
    or_(
        _column.submission >= bindparam("of_submission", type_=Integer),
        _column.submission == UNNUMBERED,
    ),
)
_ALL = send_attempts.alias()
_LATER = send_attempts.alias()
_LATER_IS_HELD = exists(_LATER.c.id).where(
    _LATER.c.message_id == bindparam("of_message", type_=String),
    or_(
        _LATER.c.submission > bindparam("of_submission", type_=Integer),
        _LATER.c.submission == UNNUMBERED,
    ),
    ~_LATER.c.is_refused,
)
IS_RECORDED = select(exists(_column.id).where(*_IS_SUBMISSION))
CLAIM_HELD = (
    select(
        _column.started_at,
        select(func.sum(_ALL.c.attempt))
        .where(_ALL.c.message_id == _column.message_id)
        .label("attempts"),
    )
    .where(*_IS_SUBMISSION_OR_LATER, ~_column.is_refused)
    .order_by(_column.submission)
    .limit(1)
)
REFUSE = (
    update(send_attempts)
    .where(*_IS_SUBMISSION, _column.attempt == bindparam("claimed_attempt", type_=Integer))
    .values(is_refused=True)
)


def blocked_by(*, needs_opt_in: bool) -> dict[Blocked, ColumnElement[bool]]:
    """The conditions under which the POST must not be made."""
    return {
        reason: condition
        for reason, condition in _BLOCKED_BY.items()
        if needs_opt_in or reason is not Blocked.NO_OPT_IN
    }


@functools.cache
def claim(dialect: str, *, needs_opt_in: bool, is_guarded: bool) -> Any:
    """Writes the record unless the message is blocked or the submission is claimed already.

    With `is_guarded`, neither if the message is a duplicate.
    """
    obstacles = [*blocked_by(needs_opt_in=needs_opt_in).values(), _LATER_IS_HELD]
    columns = _GUARDED_COLUMNS if is_guarded else _COLUMNS
    if is_guarded:
        obstacles.append(IS_DUPLICATE)
    statement = insert_for(dialect, send_attempts).from_select(
        [each.name for each in columns],
        select(*(bindparam(each.name, type_=each.type) for each in columns)).where(
            *(~each for each in obstacles)
        ),
    )
    new = statement.excluded
    changed = {
        "attempt": _column.attempt + 1,
        "is_refused": False,
        "fingerprint": new.fingerprint,
        "started_at": new.started_at,
        "sender": new.sender,
        "person_reference": new.person_reference,
    }
    if is_guarded:
        changed["content_hash"] = new.content_hash
    return statement.on_conflict_do_update(
        index_elements=[_column.message_id, _column.submission],
        set_=changed,
        where=_column.is_refused,
    ).returning(
        _column.attempt,
        select(account_hold.EXISTS).scalar_subquery().label("is_held"),
        select(UNREACHABLE).scalar_subquery().label("was_unreachable"),
    )
