"""The books: what was promised of each message, balanced against what Twilio's ledger says.

Pure: everything that is known goes in, every promise that was broken comes out. Six rules:

1. at most one acceptance for each intended submission (`devtools.bench.intended`), and none
   of those submissions unintended;
2. every message has an outcome, and the dead letter that its outcome calls for, as open or closed
   as it should be; none is forgotten;
3. no POST begins after the recipient's STOP was committed, after `expires_at`, after a cancel was
   confirmed, or long after its own last check;
4. a status never goes back, a report says what Twilio says, and doing anything a second time
   changes nothing;
5. what the webhook answered with a 2xx is where it belongs;
6. a message that has nothing to do with a fault settles at once, whatever the others do.

When a POST begins is told by the attempt record that the last check writes in the database
(`signedfor.store.send_attempts`); a POST without one is itself a violation. Figures of the product
are not taken from it but written down here: its own constants would move with a mistake in them.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise
from urllib.parse import parse_qs, urlsplit

from devtools.bench.endings import (
    DELIVERED,
    NOT_DELIVERED,
    misfiled,
    moment,
    not_found_out,
    otherwise,
)
from devtools.bench.intended import Why, submissions_in
from devtools.bench.trails import Shown, Trail
from devtools.sandbox.client import AcceptedRow, LedgerView
from signedfor.contract import MessageReport, Outcome, Stage
from signedfor.twilio.statuses import is_receipt, parse_status

_WITH_A_LETTER = frozenset({Outcome.UNCONFIRMED, Outcome.UNDELIVERED, Outcome.FAILED})
_OUTCOMES = frozenset(outcome.value for outcome in Outcome)
_POST_WITHIN = timedelta(seconds=10)
"""Of its last check: six seconds until it may not begin, three to connect, one to be busy."""


@dataclass(frozen=True, kw_only=True)
class Violation:
    """A broken promise: the rule's number, whose, and what; no number or text of a message."""

    rule: int
    message_id: str
    what: str


@dataclass(frozen=True, kw_only=True)
class Account:
    """One message: what was asked, what was answered, and what its workflows say in the end."""

    message_id: str
    to: str
    handed_in_at: datetime
    expires_at: datetime | None = None
    stopped_at: datetime | None = None
    """The recipient's STOP was answered with a 2xx by then."""
    canceled_at: datetime | None = None
    """A cancel was answered with `canceled` by then."""
    settles_within: timedelta | None = None
    """It was handed in when all parts ran and has no fault of its own."""
    is_bad_input: bool = False
    is_told_once: bool = False
    """Twilio's record stays at `sent`; only its callback says delivered."""
    run_ids: frozenset[str] = frozenset()
    """What each of its starts was answered with."""
    trail: Trail | None = None
    """None: there is no such workflow."""
    letter: Trail | None = None
    report_before: MessageReport | None = None
    """Its report before it was handed in, and its receipt posted, once more."""


@dataclass(frozen=True, kw_only=True)
class Books:
    """Everything known once all is quiet."""

    accounts: Sequence[Account]
    ledger: LedgerView
    notes: Mapping[str, Sequence[datetime]] = field(default_factory=dict)
    """By message id: when each POST was about to be made."""
    stops: frozenset[str] = frozenset()
    """The recipients of whom our database has a STOP, and a suppression."""
    inbox_left: int = 0
    last_words: Mapping[str, datetime] = field(default_factory=dict)
    """By SID: when Twilio's own record came to its last status."""
    twilio_frozen: Sequence[tuple[datetime, datetime]] = ()
    """From when to when Twilio stood still: what came then was taken only afterwards."""


def balance(books: Books) -> list[Violation]:
    """Every promise that was broken."""
    accepted = _by_message(books.ledger["accepted"])
    # A receipt may say more than Twilio's own record.
    told = {row["sid"] for row in books.ledger["callbacks"] if row["status"] in DELIVERED}
    submitted_to = Counter(each.to for each in books.accounts if books.notes.get(each.message_id))
    found: list[Violation] = []
    for account in books.accounts:
        rows = accepted.get(account.message_id, [])
        notes = sorted(books.notes.get(account.message_id, ()))
        found += _said(1, account, _twice(account, rows))
        found += _said(2, account, _forgotten(account))
        found += _said(3, account, _too_late(account, rows, notes, books.twilio_frozen))
        found += _said(4, account, _went_back(account, rows, told))
        if account.trail is not None:
            has_twin = submitted_to[account.to] > 1
            missed = not_found_out(account.trail, rows, books.last_words, has_twin=has_twin)
            found += _said(4, account, missed)
        found += _said(6, account, _slow(account))
    found += _unasked(books, accepted)
    found += _lost(books)
    return found


def message_id_in(row: AcceptedRow) -> str | None:
    """The message that an acceptance belongs to: its callback URL says so."""
    query = urlsplit(row["status_callback"] or "").query
    return next(iter(parse_qs(query).get("message_id", [])), None)


def _by_message(rows: Iterable[AcceptedRow]) -> dict[str | None, list[AcceptedRow]]:
    grouped: dict[str | None, list[AcceptedRow]] = {}
    for row in sorted(rows, key=lambda row: row["created"]):
        grouped.setdefault(message_id_in(row), []).append(row)
    return grouped


def _said(rule: int, account: Account, whats: Iterable[str]) -> list[Violation]:
    return [Violation(rule=rule, message_id=account.message_id, what=what) for what in whats]


def _twice(account: Account, rows: Sequence[AcceptedRow]) -> Iterator[str]:
    if account.trail is None:
        if rows:
            yield "accepted without a workflow"
        return
    submissions = submissions_in(account.trail)
    if any(each.why is Why.UNINTENDED for each in submissions):
        yield "sent again without a reason in its history"
    begun = [each.started_at for each in submissions]
    # A row belongs to the newest submission that had begun when Twilio took it.
    taken_by = [sum(at <= moment(row["created"]) for at in begun) - 1 for row in rows]
    if -1 in taken_by:
        yield "accepted before it was submitted"
    if any(count > 1 for count in Counter(taken_by).values()):
        yield "accepted twice for one submission"
    for row, number in zip(rows, taken_by, strict=True):
        following = submissions[number + 1].why if number + 1 < len(submissions) else None
        if following is Why.ANEW:
            yield "sent anew although Twilio had it"
        if following is Why.LATER and row["status"] not in NOT_DELIVERED:
            yield "sent again later although it was not refused"


def _forgotten(account: Account) -> Iterator[str]:
    trail = account.trail
    if trail is None:
        yield "lost: it was handed in and there is no workflow"
    elif trail.closed_at is None:
        yield "still open after everything had settled"
    elif account.is_bad_input:
        if trail.completed:
            yield "bad input was carried out"
    elif trail.report is None:
        yield "its workflow ended without a report"
    elif trail.report.dead_letter_id is not None:
        yield from misfiled(account.letter, trail.report)
    elif trail.report.outcome in _WITH_A_LETTER:
        yield f"{trail.report.outcome} without a dead letter"


def _too_late(
    account: Account,
    rows: Sequence[AcceptedRow],
    notes: Sequence[datetime],
    twilio_frozen: Sequence[tuple[datetime, datetime]],
) -> Iterator[str]:
    for row in rows:
        at = moment(row["created"])
        note = max((note for note in notes if note <= at), default=None)
        if note is None:
            yield "a POST without its last check"
            continue
        stood_still = sum(
            (max(min(at, end) - max(note, begin), timedelta(0)) for begin, end in twilio_frozen),
            timedelta(0),
        )
        if at - note - stood_still > _POST_WITHIN:
            yield "a POST long after its last check"
        if account.expires_at is not None and note >= account.expires_at:
            yield "a POST after it had expired"
        if account.canceled_at is not None and at > account.canceled_at:
            yield "a POST after it was canceled"
    if account.stopped_at is not None and any(note > account.stopped_at for note in notes):
        yield "a POST after the recipient's STOP"


def _unasked(books: Books, accepted: Mapping[str | None, object]) -> Iterator[Violation]:
    """Creates that belong to nobody, and recipients with more creates than checks."""
    known = {account.message_id for account in books.accounts}
    for stranger in set(accepted) - known:
        yield Violation(rule=1, message_id=str(stranger), what="accepted without being handed in")
    creates = Counter(row["to"] for row in books.ledger["accepted"])
    creates += Counter(row["to"] for row in books.ledger["refused"])
    checks: Counter[str] = Counter()
    of_recipient: dict[str, str] = {}
    for account in books.accounts:
        checks[account.to] += len(books.notes.get(account.message_id, ()))
        of_recipient[account.to] = account.message_id
    for to, count in creates.items():
        if count > checks[to]:
            yield Violation(
                rule=3, message_id=of_recipient.get(to, "?"), what="more POSTs than last checks"
            )


def _went_back(
    account: Account, rows: Sequence[AcceptedRow], told: AbstractSet[str]
) -> Iterator[str]:
    trail = account.trail
    if trail is None:
        return
    if len(account.run_ids | {trail.run_id}) > 1:
        yield "handed in again, it ran again"
    shown = [step.status for step in trail.steps if isinstance(step, Shown)]
    for before, after in pairwise(shown):
        if before in _OUTCOMES:
            yield f"went on from {before} to {after}"
        elif before == Stage.AWAITING_RECEIPT and after not in {*_OUTCOMES, Stage.DELAYED}:
            yield f"went back from {before} to {after}"
    if trail.report is None:
        return
    if shown and shown[-1] != trail.report.outcome:
        yield f"shows {shown[-1]} and reports {trail.report.outcome}"
    if account.report_before not in (None, trail.report):
        yield "its report changed the second time"
    if account.is_told_once:
        # A sandbox killed in the middle of a callback has not noted it.
        told = told | {row["sid"] for row in rows if trail.heard(row["sid"], "delivered")}
    yield from otherwise(trail.report, rows, told)


def _slow(account: Account) -> Iterator[str]:
    trail, within = account.trail, account.settles_within
    if within is None or trail is None or trail.closed_at is None:
        return
    took = trail.closed_at - account.handed_in_at
    if took > within:
        yield f"took {took.total_seconds():.1f} s and had nothing in its way"


def _lost(books: Books) -> Iterator[Violation]:
    """Receipts and STOPs that were answered with a 2xx and are nowhere."""
    if books.inbox_left:
        yield Violation(rule=5, message_id="", what=f"{books.inbox_left} left in the inbox")
    for account in books.accounts:
        if account.stopped_at is not None and account.to not in books.stops:
            yield Violation(rule=5, message_id=account.message_id, what="a STOP was lost")
    of_sid = {row["sid"]: message_id_in(row) for row in books.ledger["accepted"]}
    accounts = {account.message_id: account for account in books.accounts}
    for callback in books.ledger["callbacks"]:
        status, answer = parse_status(callback["status"]), callback["http_status"]
        if answer is None or answer // 100 != 2 or status is None or not is_receipt(status):
            continue
        owner = accounts.get(of_sid.get(callback["sid"]) or "")
        if owner is not None and not _is_kept(owner, callback["sid"], callback["status"]):
            yield Violation(
                rule=5, message_id=owner.message_id, what=f"a receipt {status} was lost"
            )


def _is_kept(account: Account, sid: str, status: str) -> bool:
    """Whether the message or its letter was told, or had come to know it in another way."""
    trail, letter = account.trail, account.letter
    if any(each is not None and each.heard(sid, status) for each in (trail, letter)):
        return True
    report = trail.report if trail is not None else None
    if report is None:
        return False
    if report.outcome is Outcome.DELIVERED:
        return True
    wanted = Outcome.DELIVERED if status in DELIVERED else Outcome.UNDELIVERED
    return report.outcome is wanted
