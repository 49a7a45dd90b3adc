"""How a message ended, held against Twilio: its report, and its dead letter. Pure, as the books."""

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime, timedelta

from devtools.bench.trails import Heard, Shown, Trail
from devtools.sandbox.client import AcceptedRow
from signedfor.contract import DeadLetterOutcome, MessageReport, Outcome
from signedfor.contract.failures import FailureClass

DELIVERED = frozenset({"delivered", "read"})
NOT_DELIVERED = frozenset({"failed", "undelivered"})
_RECORDED = frozenset({FailureClass.RECIPIENT_OPTED_OUT, FailureClass.RECIPIENT_UNREACHABLE})
"""Their letters record a suppression and close; all others wait for somebody, and nobody comes."""
_LOOKS_TELL_WITHIN = timedelta(seconds=15)
"""Of Twilio's last word. The last two looks for a receipt are ten seconds apart, and each is tried
four times: no outage of a soak outlasts both."""


def is_parked(report: MessageReport) -> bool:
    """Whether it ended without anybody knowing if Twilio took it."""
    unknown = report.failure_class is FailureClass.OUTCOME_UNKNOWN
    return unknown and report.outcome is Outcome.UNCONFIRMED


def otherwise(
    report: MessageReport, rows: Sequence[AcceptedRow], told: AbstractSet[str]
) -> Iterator[str]:
    """Where the report says otherwise than Twilio."""
    status = next((row["status"] for row in rows if row["sid"] == report.message_sid), None)
    match report.outcome:
        case Outcome.DELIVERED:
            own = {row["sid"] for row in rows}
            agrees = status in DELIVERED or report.message_sid in told & own
        case Outcome.UNDELIVERED:
            agrees = status in NOT_DELIVERED
        case Outcome.UNCONFIRMED:  # more of these in `not_found_out`
            agrees = report.message_sid is None or status is not None
        case _:
            agrees = all(row["status"] in NOT_DELIVERED for row in rows)
    if not agrees:
        yield f"reports {report.outcome} where Twilio says {status or 'accepted'}"


def not_found_out(
    trail: Trail,
    rows: Sequence[AcceptedRow],
    last_words: Mapping[str, datetime],
    *,
    has_twin: bool,
) -> Iterator[str]:
    """Twilio could have said what became of it."""
    report = trail.report
    if report is None:
        return
    if is_parked(report):
        # Nobody can tell the rows of twins apart. For the rest twenty searches are enough,
        # whatever happens in between.
        if not has_twin and any(row["sid"] not in trail.sids for row in rows):
            yield "parked although Twilio has it and lists it"
    elif report.outcome is Outcome.UNCONFIRMED:
        known_by = report.finished_at - _LOOKS_TELL_WITHIN
        for row in rows:
            if row["sid"] != report.message_sid or row["status"] not in DELIVERED | NOT_DELIVERED:
                continue
            if last_words.get(row["sid"], moment(row["created"])) < known_by:
                yield f"unconfirmed although Twilio had long said {row['status']}"


def misfiled(letter: Trail | None, report: MessageReport) -> Iterator[str]:
    """A dead letter that is not there, or not as it should be."""
    if letter is None:
        yield "its dead letter does not exist"
        return
    due: str | None = None
    if report.failure_class in _RECORDED:
        due = DeadLetterOutcome.RECORDED
    elif any(isinstance(step, Heard) and step.status in DELIVERED for step in letter.steps):
        due = DeadLetterOutcome.DELIVERED_LATE
    if letter.closed_at is None:
        if due is not None:
            yield f"its dead letter is open and should be closed as {due}"
        elif not letter.waits:
            yield "its dead letter was started and does not wait for anybody"
        return
    ends = [step.status for step in letter.steps if isinstance(step, Shown)]
    end = ends[-1] if ends and letter.completed else "nothing"
    if end != due:
        yield f"its dead letter was closed as {end} and should be {due or 'open'}"


def moment(epoch: float) -> datetime:
    """The moment of an epoch time."""
    return datetime.fromtimestamp(epoch, UTC)
