"""Bad input of workflows, updates and signals. That of `SendMessage` is in `test_payloads`."""

from dataclasses import dataclass
from typing import Any, Final

from signedfor.contract import (
    CAMPAIGN,
    CANCEL_UPDATE,
    DEAD_LETTER,
    DELIVERY_STATUS_SIGNAL,
    PAUSE_UPDATE,
    RESOLVE_UPDATE,
    RESUME_UPDATE,
    SEND_MESSAGE,
)
from tests.bad_inputs.rows import DIGITS, NUMBER, TEXT
from tests.signedfor.test_payloads import BAD_FIELDS, NO_OBJECT

MESSAGE, LETTER, CAMPAIGN_OF_TEST = "message", "dead letter", "campaign"


@dataclass(frozen=True, kw_only=True)
class Start:
    """A workflow that must fail at once, and the fields that its failure must name."""

    workflow: str
    name: str
    document: Any
    """JSON, if it is text or bytes."""
    fields: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Call:
    """An update or a signal to one of the workflows of the test."""

    to: str
    handler: str
    name: str
    arguments: tuple[Any, ...]
    fields: tuple[str, ...] = ()
    """What a refused update must name; a signal is dropped."""


_GOOD: Final = {"to": NUMBER, "from": "+15005550006", "body": TEXT}
_REPORT: Final = {
    "message_id": "m",
    "outcome": "failed",
    "reason": TEXT,
    "attempts": 1,
    "segments": 1,
    "finished_at": "2026-11-29T00:00:00Z",
    "tags": {},
}


def dead_letter(**changes: Any) -> dict[str, Any]:
    """The input of a dead letter with these changes; `...` leaves a field out."""
    given = {"message": _GOOD, "report": _REPORT, "advice": TEXT, **changes}
    return {name: value for name, value in given.items() if value is not ...}


def _letter(name: str, *fields: str, **changes: Any) -> Start:
    return Start(workflow=DEAD_LETTER, name=name, document=dead_letter(**changes), fields=fields)


def _campaign(name: str, document: Any, *fields: str) -> Start:
    return Start(workflow=CAMPAIGN, name=name, document=document, fields=fields)


STARTS: Final = (
    *(
        Start(workflow=SEND_MESSAGE, name=name, document=document, fields=tuple(fields))
        for name, (document, fields) in BAD_FIELDS.items()
    ),
    *(
        Start(workflow=workflow, name=f"{name} as input", document=document, fields=("input",))
        for workflow in (SEND_MESSAGE, DEAD_LETTER, CAMPAIGN)
        for name, document in NO_OBJECT.items()
    ),
    _letter("no message", "message", message=...),
    _letter("a message that is a text", "message", message=TEXT),
    _letter("a message to nobody", "message.to", message={**_GOOD, "to": TEXT}),
    _letter("a message with an unknown field", "message.colour",
            message={**_GOOD, "colour": TEXT}),
    _letter("a message without a text", "message.body", message={"to": NUMBER}),
    _letter("no report", "report", report=...),
    _letter("a report without an outcome", "report.outcome",
            report={name: value for name, value in _REPORT.items() if name != "outcome"}),
    _letter("a report of no outcome", "report.outcome", report={**_REPORT, "outcome": TEXT}),
    _letter("a report whose attempts are a word", "report.attempts",
            report={**_REPORT, "attempts": TEXT}),
    _letter("a report that ends at no time", "report.finished_at",
            report={**_REPORT, "finished_at": TEXT}),
    _letter("no advice", "advice", advice=...),
    _letter("advice that is a number", "advice", advice=int(DIGITS)),
    _letter("held for no day", "hold_days", hold_days=0),
    _letter("held for a word", "hold_days", hold_days=TEXT),
    _letter("held for ever", "hold_days", hold_days=10**30),
    _letter("a sender that is a list", "sender", sender=[NUMBER]),
    _campaign("an unknown field", {"colour": TEXT}, "colour"),
    _campaign("a recipient", {NUMBER: TEXT}, "(a name)"),
    _campaign("a field twice", f'{{"a": "{TEXT}", "a": 1}}', "a"),
)  # fmt: skip


def _decision(to: str, handler: str) -> tuple[Call, ...]:
    """What anybody may get wrong who cancels, pauses or resumes."""
    return tuple(
        Call(to=to, handler=handler, name=name, arguments=arguments, fields=fields)
        for name, arguments, fields in (
            ("an unknown field", ({"who": TEXT},), ("who",)),
            ("a number for a name", ({"by": int(DIGITS)},), ("by",)),
            ("a list for a name", ({"by": [TEXT]},), ("by",)),
            ("a long reason", ({"reason": TEXT * 100},), ("reason",)),
            ("half a character", ('{"reason": "\\ud800"}',), ("reason",)),
            ("a text", (f'"{TEXT}"',), ("input",)),
            ("an array", ([TEXT],), ("input",)),
            ("what is not JSON", (b"{" + TEXT.encode(),), ("input",)),
            ("a field twice", (f'{{"by": "a", "by": "{TEXT}"}}',), ("by",)),
            ("two arguments", ({"by": TEXT}, {"by": TEXT}), ("input",)),
        )
    )  # fmt: skip


def _resolve(name: str, *fields: str, **resolution: Any) -> Call:
    return Call(to=LETTER, handler=RESOLVE_UPDATE, name=name, arguments=(resolution,),
                fields=fields)  # fmt: skip


UPDATES: Final = (
    *_decision(MESSAGE, CANCEL_UPDATE),
    *_decision(CAMPAIGN_OF_TEST, PAUSE_UPDATE),
    *_decision(CAMPAIGN_OF_TEST, RESUME_UPDATE),
    *_decision(CAMPAIGN_OF_TEST, CANCEL_UPDATE),
    _resolve("no action", "action", by=TEXT),
    _resolve("an action that is none", "action", action=TEXT),
    _resolve("an unknown field", "colour", action="discard", colour=TEXT),
    _resolve("a long note", "note", action="discard", note=TEXT * 100),
    _resolve("a retry to nobody", "changes.to", action="retry", changes={"to": TEXT}),
    _resolve("a retry from nobody", "changes.from", action="retry", changes={"from": TEXT + "!"}),
    _resolve("a retry with a long text", "changes.body", action="retry",
             changes={"body": TEXT * 200}),
    _resolve("a retry with media that are none", "changes.media_urls.0", action="retry",
             changes={"media_urls": [TEXT]}),
    _resolve("a retry that expires at no time", "changes.expires_at", action="retry",
             changes={"expires_at": TEXT}),
    _resolve("a retry with an unknown change", "changes.colour", action="retry",
             changes={"colour": TEXT}),
    _resolve("changes of what is discarded", "input", action="discard",
             changes={"to": NUMBER}),
    _resolve("a word for yes", "even_if_taken", action="retry", even_if_taken=TEXT),
    _resolve("a job that has a number", "job_id", action="discard", job_id=f"{NUMBER} x"),
    Call(to=LETTER, handler=RESOLVE_UPDATE, name="nothing", arguments=(), fields=("input",)),
    Call(to=LETTER, handler=RESOLVE_UPDATE, name="two arguments",
         arguments=({"action": "discard", "note": TEXT},) * 2, fields=("input",)),
    Call(to=LETTER, handler=RESOLVE_UPDATE, name="an array",
         arguments=([{"action": "discard", "note": TEXT}],), fields=("input",)),
)  # fmt: skip

_SID: Final = "SM" + "0" * 32

SIGNALS: Final = tuple(
    Call(to=to, handler=DELIVERY_STATUS_SIGNAL, name=name, arguments=arguments)
    for to in (MESSAGE, LETTER)
    for name, arguments in {
        "nothing": (),
        "an empty object": ({},),
        "no status": ({"message_sid": _SID, "body": TEXT},),
        "a SID that is none": ({"message_sid": TEXT, "message_status": "delivered"},),
        "a code that is a word": (
            {"message_sid": _SID, "message_status": "delivered", "error_code": TEXT},
        ),
        "a time that is none": (
            {"message_sid": _SID, "message_status": "delivered", "received_at": TEXT},
        ),
        "a text": (f'"{TEXT}"',),
        "an array": ([TEXT],),
        "what is not JSON": (b"{" + TEXT.encode(),),
        "two arguments": ({"message_sid": _SID, "message_status": "delivered"}, {"a": TEXT}),
    }.items()
)
