"""`signedfor opt-outs review`: inbound messages that may ask to be left alone; a person decides."""

from typing import Annotated, Any

import typer
from sqlalchemy import Engine

from signedfor.cli.environment import database, database_trouble
from signedfor.cli.options import ByOption, JsonOption, RevealOption, who
from signedfor.cli.output import BadInput, NotFound, Output, answering, listing
from signedfor.cli.views import clock, masked_recipient
from signedfor.consent import Reason, Source, Suppression
from signedfor.masks import masked_sender
from signedfor.store.database import transaction
from signedfor.store.inbound import InboundMessages, Review
from signedfor.store.suppressions import Suppressions

_PAGE = 500


def review(
    message_sid: Annotated[
        str | None, typer.Argument(metavar="[MESSAGE_SID]", show_default=False)
    ] = None,
    *,
    done: Annotated[bool, typer.Option("--done", help="It was read; it is no opt-out.")] = False,
    opt_out: Annotated[
        bool, typer.Option("--opt-out", help="It was read; record the opt-out.")
    ] = False,
    read_too: Annotated[bool, typer.Option("--all", help="List those already read, too.")] = False,
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many to list.")] = 100,
    reveal: RevealOption = False,
    by: ByOption = None,
    as_json: JsonOption = False,
) -> None:
    """List inbound messages that only a person can judge, such as "please stop texting me".

    With a MESSAGE_SID and --done or --opt-out, say what it was.
    """
    with answering(as_json=as_json) as out:
        if message_sid is None and not done and not opt_out:
            with database() as engine, database_trouble():
                _list(out, engine, pending_only=not read_too, limit=limit, reveal=reveal)
            return
        if message_sid is None or done == opt_out:
            raise BadInput([("MESSAGE_SID", "give one, and either --done or --opt-out")])
        with database() as engine, database_trouble():
            try:
                _decide(engine, message_sid, opts_out=opt_out, by=who(by))
            except ValueError as error:
                field, _, what = str(error).partition(": ")
                raise BadInput([("--by" if field == "who" else field, what)]) from None
        out.result(
            {"message_sid": message_sid, "opt_out": opt_out},
            "Opt-out recorded." if opt_out else "Noted as read.",
        )


def _list(out: Output, engine: Engine, *, pending_only: bool, limit: int, reveal: bool) -> None:
    found = InboundMessages(engine).reviews(pending_only=pending_only, limit=limit + 1)
    more, found = len(found) > limit, found[:limit]
    documents = [_document(each, reveal=reveal) for each in found]
    table = listing(
        ("Message", "Received", "From", "To", "Read by", *(("Text",) if reveal else ())),
        (
            (
                each.message_sid,
                clock(each.received_at),
                document["from"],
                document["to"],
                each.reviewed_by,
                *((each.body,) if reveal else ()),
            )
            for each, document in zip(found, documents, strict=True)
        ),
    )
    hints = [] if reveal or not found else ["Read them with --reveal."]
    if more:
        hints.append(f"There are more than {limit}; see --limit.")
    out.result(
        {"reviews": documents, "more": more}, table if found else "Nothing to review.", *hints
    )


def _document(each: Review, *, reveal: bool) -> dict[str, Any]:
    return {
        "message_sid": each.message_sid,
        "received_at": each.received_at.isoformat(),
        "from": each.from_ if reveal else masked_recipient(each.from_),
        "to": each.to if reveal else masked_sender(each.to),
        "messaging_service_sid": each.messaging_service_sid,
        "reviewed_at": each.reviewed_at.isoformat() if each.reviewed_at else None,
        "reviewed_by": each.reviewed_by,
        **({"body": each.body} if reveal else {}),
    }


def _decide(engine: Engine, message_sid: str, *, opts_out: bool, by: str) -> None:
    """Note the decision and, if it is one, the opt-out, in one transaction.

    Raises:
        NotFound: there is no such message to review, or it has been.
    """
    inbound = InboundMessages(engine)
    found = _find(inbound, message_sid)
    with transaction(engine) as connection:
        noted = inbound.mark_reviewed(message_sid, who=by, connection=connection)
        if found is None or not noted:
            raise NotFound("There is no such message to review, or it has been reviewed.")
        if opts_out:
            Suppressions(engine).record(
                Suppression(
                    recipient=found.from_,
                    reason=Reason.OPTED_OUT,
                    source=Source.OPERATOR,
                    evidence=message_sid,
                ),
                who=by,
                connection=connection,
            )


def _find(inbound: InboundMessages, message_sid: str) -> Review | None:
    after: Review | None = None
    while page := inbound.reviews(after=after, limit=_PAGE):
        for each in page:
            if each.message_sid == message_sid:
                return each
        after = page[-1]
    return None
