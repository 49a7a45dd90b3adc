"""A person's consent over time, in sentences: what was said, by whom, on what evidence."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, assert_never

from sqlalchemy import Engine

from signedfor.consent import OptIn, Reason, Scope, Source
from signedfor.masks import masked_recipient, masked_sender
from signedfor.store.held_back_messages import NO_OPT_IN, HeldBackMessage, HeldBackMessages
from signedfor.store.opt_ins import OptIns
from signedfor.store.suppressions import Action, HistoryEntry, Suppressions
from signedfor.twilio.phone import channel_of

_ALL = 10_000
"""More opt-ins than there are of one person."""

_HELD_BACK_BECAUSE: Final = {
    Reason.OPTED_OUT.value: "they had opted out",
    Reason.UNDELIVERABLE.value: "the number was recorded as unreachable",
    Reason.MANUAL.value: "an operator had blocked the number",
    Reason.REVIEW.value: "a message of theirs that may be an opt-out awaited review",
    NO_OPT_IN: "they had not opted in to its category",
}


@dataclass(frozen=True, kw_only=True)
class Line:
    """One thing that happened."""

    at: datetime
    text: str
    by: str
    document: dict[str, Any]


def consent_history(engine: Engine, recipient: str, *, reveal: bool) -> list[Line]:
    """Everything on record about the person's consent, oldest first."""
    lines = [
        *(_change(each, reveal=reveal) for each in Suppressions(engine).history(recipient)),
        *_opt_ins(OptIns(engine).list_(recipient=recipient, include_withdrawn=True, limit=_ALL)),
        *(_held_back(each, reveal=reveal) for each in HeldBackMessages(engine).of(recipient)),
    ]
    return sorted(lines, key=lambda line: line.at)


def _change(entry: HistoryEntry, *, reveal: bool) -> Line:
    sender = (lambda value: value) if reveal else masked_sender
    covers = _covers(entry, sender(entry.scope_value))
    if channel := channel_of(entry.recipient):
        covers += f" by {channel}"
    text = f"{_what(entry.action, entry.reason)}{covers}{_because(entry, sender(entry.to_sender))}."
    return Line(
        at=entry.at,
        text=text,
        by=entry.changed_by,
        document={
            "kind": "suppression",
            "id": entry.id,
            "recipient": entry.recipient if reveal else masked_recipient(entry.recipient),
            "action": entry.action,
            "scope": entry.scope,
            "scope_value": sender(entry.scope_value),
            "reason": entry.reason,
            "source": entry.source,
            "evidence": entry.evidence,
            "to_sender": sender(entry.to_sender),
        },
    )


def _what(action: Action, reason: Reason) -> str:
    is_recorded = action is Action.RECORDED
    match reason:
        case Reason.OPTED_OUT:
            return "Opted out" if is_recorded else "The opt-out was lifted"
        case Reason.UNDELIVERABLE:
            return "Recorded as unreachable" if is_recorded else "No longer recorded as unreachable"
        case Reason.MANUAL:
            return "Blocked by an operator" if is_recorded else "No longer blocked by an operator"
        case Reason.REVIEW:
            return (
                "Held until their message is read" if is_recorded else "No longer held for review"
            )
        case _:
            assert_never(reason)


def _covers(entry: HistoryEntry, scope_value: str) -> str:
    match entry.scope:
        case Scope.EVERYTHING:
            return ", for all messages"
        case Scope.SENDER:
            return f", for messages from {scope_value}"
        case Scope.CATEGORY | Scope.SENDER_CATEGORY:
            return f", for {entry.scope_value} messages"
        case _:
            assert_never(entry.scope)


def _because(entry: HistoryEntry, to_sender: str) -> str:
    match entry.source:
        case Source.INBOUND:
            to = f" to {to_sender}" if to_sender else ""
            return f": their message {entry.evidence}{to}"
        case Source.TWILIO_CODE:
            return (
                f": Twilio reported {entry.evidence}" if entry.evidence else ": Twilio reported it"
            )
        case Source.OPERATOR:
            return f": {entry.evidence}" if entry.evidence else ", without a note"
        case Source.IMPORT:
            return f": from a file, {entry.evidence}" if entry.evidence else ": from a file"
        case _:
            assert_never(entry.source)


def _opt_ins(opt_ins: list[OptIn]) -> Iterator[Line]:
    for each in opt_ins:
        document = {
            "kind": "opt_in",
            "id": each.id,
            "category": each.category,
            "source": each.source,
            "evidence": each.evidence,
            "wording": each.wording,
            "opted_in_at": each.opted_in_at,
        }
        if each.recorded_at is not None:
            yield Line(
                at=each.recorded_at,
                text=_opted_in(each),
                by=each.recorded_by,
                document={**document, "action": Action.RECORDED},
            )
        if each.withdrawn_at is not None:
            why = f": {each.withdrawn_because}" if each.withdrawn_because else ", without a note"
            yield Line(
                at=each.withdrawn_at,
                text=f"The opt-in to {each.category} messages was withdrawn{why}.",
                by=each.withdrawn_by or "",
                document={
                    **document,
                    "action": "withdrawn",
                    "withdrawn_because": each.withdrawn_because,
                },
            )


def _opted_in(each: OptIn) -> str:
    at = f"{each.opted_in_at:%Y-%m-%d %H:%M} UTC" if each.opted_in_at else "an unknown time"
    details = [
        f"by {each.source} at {at}",
        *([f"wording {each.wording}"] if each.wording else []),
        *([each.evidence] if each.evidence else []),
    ]
    return f"Opted in to {each.category} messages: {', '.join(details)}."


def _held_back(each: HeldBackMessage, *, reveal: bool) -> Line:
    because = _HELD_BACK_BECAUSE[each.reason]
    evidence = f" ({each.evidence})" if each.evidence else ""
    return Line(
        at=each.at,
        text=f"Message {each.message_id} was not sent, because {because}{evidence}.",
        by="",
        document={
            "kind": "held_back",
            "message_id": each.message_id,
            "sender": each.sender if reveal else masked_sender(each.sender),
            "category": each.category,
            "reason": each.reason,
            "evidence": each.evidence,
        },
    )
