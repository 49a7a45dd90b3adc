"""The invariants of a message, checked against Twilio's ledger.

Pure: everything that was observed goes in, every violation comes out. Six invariants:

1. Twilio accepts at most one POST for each intended submission (`submissions.py`), and no
   submission is unintended.
2. No message is lost: each has an outcome, and the dead letter that its outcome requires, open or
   closed as it should be.
3. No POST starts after the recipient's STOP was committed, after `expires_at`, after a cancel was
   confirmed, or long after its own last check. None arrives at Twilio later after the commit of a
   STOP than a frozen worker may send.
4. A status never goes back, a report agrees with Twilio, and repeating any request changes nothing.
5. Everything that the webhook answered with a 2xx has been stored.
6. A message that no fault affects finishes quickly, even while others fail.

The time at which a POST starts is the attempt record that the last check writes to the database
(`signedfor.store.send_attempts`); a POST without one is itself a violation. The
product's limits are repeated here: its own constants would change together with a bug in them.
Only the published one, `LATEST_POST_START`, is not.

A reset message has several runs, and all of them count. A message that a restored Temporal server
has forgotten in part has no complete history. For it, Twilio's own statuses decide whether it was
sent twice, and what Temporal had confirmed after the backup was taken is not expected.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from devtools.sandbox.client import AcceptedRow, CallbackRow, LedgerView, RefusedRow
from devtools.stack.local import row_message_id
from signedfor.contract import DeadLetterOutcome, MessageReport, Outcome, Stage
from signedfor.contract.failures import FailureClass
from signedfor.retry import LATEST_POST_START
from signedfor.twilio.statuses import is_receipt, parse_status
from tests.faults.soak.history import History, StatusReceived, StatusShown
from tests.faults.soak.submissions import IntendedSubmission, Reason, submissions_in, submissions_of

_DELIVERED = frozenset({"delivered", "read"})
_NOT_DELIVERED = frozenset({"failed", "undelivered"})
_WITH_DEAD_LETTER = frozenset({Outcome.UNCONFIRMED, Outcome.UNDELIVERED, Outcome.FAILED})
_RECORDED = frozenset({FailureClass.RECIPIENT_OPTED_OUT, FailureClass.RECIPIENT_UNREACHABLE})
"""Their dead letters record a suppression and close. All others stay open: no operator resolves
them here."""
_OUTCOMES = frozenset(outcome.value for outcome in Outcome)
_POST_WITHIN = timedelta(seconds=10)
"""After its last check: six seconds in which it may start, three to connect, one for a busy CPU."""
_LOOK_UPS_FIND_WITHIN = timedelta(seconds=15)
"""After Twilio's final status. The last two look-ups are ten seconds apart and each is attempted
four times: no outage of a soak outlasts both."""


Period = tuple[datetime, datetime]
"""From the first to the second."""


@dataclass(frozen=True, kw_only=True)
class Violation:
    """A violated invariant: its number, the message, and how; without a number or a text."""

    invariant: int
    message_id: str
    what: str


@dataclass(frozen=True, kw_only=True)
class MessageRecord:
    """One message: what was requested, what was answered, and the histories of its workflows."""

    message_id: str
    to: str
    requested_at: datetime
    expires_at: datetime | None = None
    opted_out_at: datetime | None = None
    """The recipient's STOP was committed by then."""
    canceled_at: datetime | None = None
    """A cancel was answered with `canceled` by then."""
    finishes_within: timedelta | None = None
    """It was requested while all parts ran and has no fault of its own."""
    is_bad_input: bool = False
    is_callback_only: bool = False
    """Twilio's record stays at `sent`; only its callback says delivered."""
    run_ids: frozenset[str] = frozenset()
    """The run id that each start returned."""
    history: History | None = None
    """Of the newest run. None: there is no such workflow."""
    earlier_runs: tuple[History, ...] = ()
    """The runs that were ended by a reset, or had ended before it."""
    reset_run_ids: frozenset[str] = frozenset()
    """The ids of the runs that resets have created."""
    reset_at: tuple[datetime, ...] = ()
    started_again_at: datetime | None = None
    """Its caller started it again, because a restored Temporal server had forgotten it."""
    dead_letter: History | None = None
    report_before: MessageReport | None = None
    """Its report before the same start and the same receipt were repeated."""

    @property
    def runs(self) -> tuple[History, ...]:
        """Every run, the newest last."""
        return self.earlier_runs if self.history is None else (*self.earlier_runs, self.history)


@dataclass(frozen=True, kw_only=True)
class Observations:
    """Everything known once the system is idle."""

    messages: Sequence[MessageRecord]
    ledger: LedgerView
    attempts: Mapping[str, Sequence[datetime]] = field(default_factory=dict)
    """By message id: the times of its attempt records."""
    opted_out: frozenset[str] = frozenset()
    """The recipients for whom our database has a STOP and a suppression."""
    inbox_backlog: int = 0
    final_status_at: Mapping[str, datetime] = field(default_factory=dict)
    """By SID: when Twilio's own record reached its final status."""
    sandbox_frozen: Sequence[Period] = ()
    """The periods in which Twilio was frozen: what arrived then was accepted only afterwards."""
    worker_frozen: Sequence[Period] = ()
    """The periods in which a worker was frozen."""
    forgotten: Sequence[Period] = ()
    """The periods of which a restored Temporal server knows nothing."""
    stopped_at: Mapping[str, datetime] = field(default_factory=dict)
    """By recipient: when the first STOP was committed, by our database."""


def violations_in(observed: Observations) -> list[Violation]:
    """Every violation."""
    accepted = _by_message(observed.ledger["accepted"])
    # A receipt may be more recent than Twilio's own record.
    delivered = {row["sid"] for row in observed.ledger["callbacks"] if row["status"] in _DELIVERED}
    attempted_to = Counter(
        each.to for each in observed.messages if observed.attempts.get(each.message_id)
    )
    found: list[Violation] = []
    for message in observed.messages:
        rows = accepted.get(message.message_id, [])
        attempts = sorted(observed.attempts.get(message.message_id, ()))
        has_duplicate = attempted_to[message.to] > 1
        is_forgotten = forgotten_in_part(message, observed.forgotten)
        for number, problems in (
            (1, _sent_twice(message, rows, is_forgotten=is_forgotten)),
            (2, _lost(message)),
            (3, _too_late(message, rows, attempts, observed)),
            (4, _went_back(message, rows, delivered, is_forgotten=is_forgotten)),
            (4, _not_found(message, rows, observed.final_status_at, has_duplicate=has_duplicate)),
            (6, _slow(message)),
        ):
            found += [
                Violation(invariant=number, message_id=message.message_id, what=what)
                for what in problems
            ]
    found += _after_stop(observed)
    found += _not_requested(observed, accepted)
    found += _not_stored(observed)
    return found


def is_unresolved(report: MessageReport | None) -> bool:
    """Whether it ended without knowing if Twilio had accepted it."""
    return (
        report is not None
        and report.failure_class is FailureClass.OUTCOME_UNKNOWN
        and report.outcome is Outcome.UNCONFIRMED
    )


def forgotten_in_part(message: MessageRecord, forgotten: Sequence[Period]) -> bool:
    """Whether Temporal may have forgotten something that this message did."""
    closed_at = None if message.history is None else message.history.closed_at
    return any(
        (message.requested_at <= end and (closed_at is None or closed_at >= start))
        or any(start <= at <= end for at in message.reset_at)
        for start, end in forgotten
    )


def arrivals_after_stop(observed: Observations) -> Iterator[tuple[AcceptedRow | RefusedRow, float]]:
    """The POSTs to recipients whose STOP was committed, and after how many seconds they arrived.

    What arrived while Twilio was frozen is recorded afterwards: that time is subtracted.
    """
    rows: list[AcceptedRow | RefusedRow] = [*observed.ledger["accepted"]]
    for row in [*rows, *observed.ledger["refused"]]:
        stopped_at, arrived = observed.stopped_at.get(row["to"]), _time(row["arrived"])
        if stopped_at is not None and arrived > stopped_at:
            frozen = overlap((stopped_at, arrived), observed.sandbox_frozen)
            yield row, (arrived - stopped_at - frozen).total_seconds()


def overlap(period: Period, others: Iterable[Period]) -> timedelta:
    """For how long one of the others, which do not overlap, covers the period."""
    start, end = period
    covered = (min(end, until) - max(start, since) for since, until in others)
    return sum((max(each, timedelta(0)) for each in covered), timedelta(0))


def _after_stop(observed: Observations) -> Iterator[Violation]:
    of_recipient = {message.to: message.message_id for message in observed.messages}
    for row, seconds in arrivals_after_stop(observed):
        if seconds > LATEST_POST_START.total_seconds():
            yield Violation(
                invariant=3,
                message_id=of_recipient.get(row["to"], "?"),
                what=f"a POST arrived {seconds:.1f} s after the recipient's STOP",
            )


def _by_message(rows: Iterable[AcceptedRow]) -> dict[str | None, list[AcceptedRow]]:
    grouped: dict[str | None, list[AcceptedRow]] = {}
    for row in sorted(rows, key=lambda row: row["created"]):
        grouped.setdefault(row_message_id(row), []).append(row)
    return grouped


def _sent_twice(
    message: MessageRecord, rows: Sequence[AcceptedRow], *, is_forgotten: bool
) -> Iterator[str]:
    if message.history is None:
        if rows:
            yield "accepted without a workflow"
        return
    if is_forgotten:
        if any(row["status"] not in _NOT_DELIVERED for row in rows[:-1]):
            yield "accepted again although its delivery had not failed"
        return
    if any(
        each.reason is Reason.UNINTENDED for run in message.runs for each in submissions_in(run)
    ):
        yield "sent again without a reason in its history"
    yield from _not_one_for_each(submissions_of(message.runs), rows)


def _not_one_for_each(
    submissions: Sequence[IntendedSubmission], rows: Sequence[AcceptedRow]
) -> Iterator[str]:
    """Where the accepted rows do not belong to one submission each."""
    started = [each.started_at for each in submissions]
    # A row belongs to the newest submission that had started when Twilio accepted it.
    numbers = [sum(at <= _time(row["created"]) for at in started) - 1 for row in rows]
    if -1 in numbers:
        yield "accepted before it was submitted"
    if any(count > 1 for count in Counter(numbers).values()):
        yield "accepted twice for one submission"
    for row, number in zip(rows, numbers, strict=True):
        following = submissions[number + 1].reason if number + 1 < len(submissions) else None
        if following is Reason.RESENT:
            yield "resent although Twilio had accepted it"
        if following is Reason.DELAYED and row["status"] not in _NOT_DELIVERED:
            yield "sent again later although its delivery had not failed"


def _lost(message: MessageRecord) -> Iterator[str]:
    history = message.history
    if history is None:
        yield "lost: it was started and there is no workflow"
    elif history.closed_at is None:
        yield "still running although the system is idle"
    elif message.is_bad_input:
        if history.completed:
            yield "bad input was processed"
    elif history.report is None:
        yield "its workflow ended without a report"
    elif history.report.dead_letter_id is not None:
        yield from _wrong_dead_letter(message.dead_letter, history.report)
    elif history.report.outcome in _WITH_DEAD_LETTER:
        yield f"{history.report.outcome} without a dead letter"


def _wrong_dead_letter(dead_letter: History | None, report: MessageReport) -> Iterator[str]:
    if dead_letter is None:
        yield "its dead letter does not exist"
        return
    expected: str | None = None
    if report.failure_class in _RECORDED:
        expected = DeadLetterOutcome.RECORDED
    elif any(
        isinstance(event, StatusReceived) and event.status in _DELIVERED
        for event in dead_letter.events
    ):
        expected = DeadLetterOutcome.DELIVERED_LATE
    if dead_letter.closed_at is None:
        if expected is not None:
            yield f"its dead letter is open and should be closed as {expected}"
        elif not dead_letter.is_waiting:
            yield "its dead letter was started and is not waiting for a decision"
        return
    shown = [event.status for event in dead_letter.events if isinstance(event, StatusShown)]
    outcome = shown[-1] if shown and dead_letter.completed else "nothing"
    if outcome != expected:
        yield f"its dead letter was closed as {outcome} and should be {expected or 'open'}"


def _too_late(
    message: MessageRecord,
    rows: Sequence[AcceptedRow],
    attempts: Sequence[datetime],
    observed: Observations,
) -> Iterator[str]:
    for row in rows:
        at = _time(row["created"])
        checked_at = max((attempt for attempt in attempts if attempt <= at), default=None)
        if checked_at is None:
            yield "a POST without its last check"
            continue
        frozen = overlap((checked_at, at), observed.sandbox_frozen)
        if at - checked_at - frozen > _POST_WITHIN:
            yield "a POST long after its last check"
        if message.expires_at is not None and checked_at >= message.expires_at:
            yield "a POST after it had expired"
        if message.canceled_at is not None and at > message.canceled_at:
            yield "a POST after it was canceled"
    # A record's time is from before its transaction, and a STOP's from within its own.
    stops = (message.opted_out_at, observed.stopped_at.get(message.to))
    stopped_at = min((each for each in stops if each is not None), default=None)
    if stopped_at is not None and any(at > stopped_at for at in attempts):
        yield "a POST after the recipient's STOP"


def _went_back(
    message: MessageRecord,
    rows: Sequence[AcceptedRow],
    delivered: AbstractSet[str],
    *,
    is_forgotten: bool,
) -> Iterator[str]:
    history = message.history
    if history is None:
        return
    started = (message.run_ids - message.reset_run_ids) | {run.run_id for run in message.runs}
    if len(started) > 1 and not is_forgotten:
        yield "it ran again when it was started again"
    for run in message.runs:
        yield from _statuses_went_back(run)
    shown = [event.status for event in history.events if isinstance(event, StatusShown)]
    if history.report is None:
        return
    if shown and shown[-1] != history.report.outcome:
        yield f"shows {shown[-1]} and reports {history.report.outcome}"
    if message.report_before not in (None, history.report):
        yield "its report changed when the requests were repeated"
    if message.is_callback_only:
        # A sandbox that was killed during a callback has not recorded it.
        received = {
            row["sid"]
            for row in rows
            if any(run.has_callback(row["sid"], "delivered") for run in message.runs)
        }
        delivered = delivered | received
    yield from _disagreement(history.report, rows, delivered)


def _statuses_went_back(run: History) -> Iterator[str]:
    shown = [event.status for event in run.events if isinstance(event, StatusShown)]
    for before, after in pairwise(shown):
        if before in _OUTCOMES:
            yield f"changed from {before} to {after}"
        elif before == Stage.AWAITING_RECEIPT and after not in {*_OUTCOMES, Stage.DELAYED}:
            yield f"went back from {before} to {after}"


def _disagreement(
    report: MessageReport, rows: Sequence[AcceptedRow], delivered: AbstractSet[str]
) -> Iterator[str]:
    """Where the report contradicts Twilio's record."""
    status = next((row["status"] for row in rows if row["sid"] == report.message_sid), None)
    match report.outcome:
        case Outcome.DELIVERED:
            own = {row["sid"] for row in rows}
            agrees = status in _DELIVERED or report.message_sid in delivered & own
        case Outcome.UNDELIVERED:
            agrees = status in _NOT_DELIVERED
        case Outcome.UNCONFIRMED:  # see also `_not_found`
            agrees = report.message_sid is None or status is not None
        case _:
            agrees = all(row["status"] in _NOT_DELIVERED for row in rows)
    if not agrees:
        yield f"reports {report.outcome} where Twilio says {status or 'accepted'}"


def _not_found(
    message: MessageRecord,
    rows: Sequence[AcceptedRow],
    final_status_at: Mapping[str, datetime],
    *,
    has_duplicate: bool,
) -> Iterator[str]:
    """Where searches or look-ups would have found the outcome."""
    history = message.history
    if history is None or history.report is None:
        return
    report = history.report
    if is_unresolved(report):
        # Rows of duplicates cannot be distinguished. For all others twenty searches are enough,
        # whatever fails in between.
        if not has_duplicate and any(row["sid"] not in history.sids for row in rows):
            yield "unresolved although Twilio has accepted and lists it"
    elif report.outcome is Outcome.UNCONFIRMED:
        known_by = report.finished_at - _LOOK_UPS_FIND_WITHIN
        for row in rows:
            if row["sid"] != report.message_sid or row["status"] not in _DELIVERED | _NOT_DELIVERED:
                continue
            if final_status_at.get(row["sid"], _time(row["created"])) < known_by:
                yield f"unconfirmed although Twilio had long reported {row['status']}"


def _slow(message: MessageRecord) -> Iterator[str]:
    history, within = message.history, message.finishes_within
    if within is None or history is None or history.closed_at is None:
        return
    took = history.closed_at - message.requested_at
    if took > within:
        yield f"took {took.total_seconds():.1f} s although no fault affected it"


def _not_requested(
    observed: Observations, accepted: Mapping[str | None, object]
) -> Iterator[Violation]:
    """Creates without a request, and recipients with more creates than last checks."""
    known = {message.message_id for message in observed.messages}
    for unknown in set(accepted) - known:
        yield Violation(
            invariant=1, message_id=str(unknown), what="accepted without being requested"
        )
    creates = Counter(row["to"] for row in observed.ledger["accepted"])
    creates += Counter(row["to"] for row in observed.ledger["refused"])
    checks: Counter[str] = Counter()
    of_recipient: dict[str, str] = {}
    for message in observed.messages:
        checks[message.to] += len(observed.attempts.get(message.message_id, ()))
        of_recipient[message.to] = message.message_id
    for to, count in creates.items():
        if count > checks[to]:
            message_id = of_recipient.get(to, "?")
            yield Violation(invariant=3, message_id=message_id, what="more POSTs than last checks")


def _not_stored(observed: Observations) -> Iterator[Violation]:
    """Receipts and STOPs that were answered with a 2xx and are not stored."""
    if observed.inbox_backlog:
        yield Violation(
            invariant=5, message_id="", what=f"{observed.inbox_backlog} left in the inbox"
        )
    for message in observed.messages:
        if message.opted_out_at is not None and message.to not in observed.opted_out:
            yield Violation(invariant=5, message_id=message.message_id, what="a STOP was lost")
    of_sid = {row["sid"]: row_message_id(row) for row in observed.ledger["accepted"]}
    messages = {message.message_id: message for message in observed.messages}
    for callback in observed.ledger["callbacks"]:
        status, answer = parse_status(callback["status"]), callback["http_status"]
        if answer is None or answer // 100 != 2 or status is None or not is_receipt(status):
            continue
        owner = messages.get(of_sid.get(callback["sid"]) or "")
        if owner is None or _is_forgotten(callback, owner, observed.forgotten):
            continue
        if not _is_known(owner, callback["sid"], callback["status"]):
            yield Violation(
                invariant=5, message_id=owner.message_id, what=f"a receipt {status} was lost"
            )


def _is_forgotten(
    callback: CallbackRow, message: MessageRecord, forgotten: Sequence[Period]
) -> bool:
    """Whether Temporal may have forgotten it, or had forgotten its workflow when it came.

    Until when, not since when: it may have waited in our inbox before Temporal got it.
    """
    at = _time(callback["at"])
    return any(
        at <= max(end, message.started_again_at or end)
        for start, end in forgotten
        if forgotten_in_part(message, [(start, end)])
    )


def _is_known(message: MessageRecord, sid: str, status: str) -> bool:
    """Whether the callback reached the message or its dead letter, or a look-up replaced it."""
    history, dead_letter = message.history, message.dead_letter
    known = (*message.runs, *([] if dead_letter is None else [dead_letter]))
    if any(each.has_callback(sid, status) for each in known):
        return True
    report = history.report if history is not None else None
    if report is None:
        return False
    if report.outcome is Outcome.DELIVERED:
        return True
    expected = Outcome.DELIVERED if status in _DELIVERED else Outcome.UNDELIVERED
    return report.outcome is expected


def _time(epoch: float) -> datetime:
    return datetime.fromtimestamp(epoch, UTC)
