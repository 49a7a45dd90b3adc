"""`signedfor inbound`: the messages that people sent, in the database of DATABASE_URL."""

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from signedfor.cli.environment import database
from signedfor.cli.options import JsonOption, LimitOption, RevealOption, SinceOption, moment
from signedfor.cli.output import clock, command_output
from signedfor.contract import InboundKind
from signedfor.masks import masked_recipient, masked_sender
from signedfor.store.inbound import InboundMessages, Received

app = typer.Typer(
    no_args_is_help=True,
    help="Messages that people sent.\n\nNeeds only DATABASE_URL.",
)


@app.callback()
def _group() -> None:
    """Keep `list` a command of a group, although it is the only one."""


@app.command("list")
def list_(
    *,
    kind: Annotated[
        InboundKind | None, typer.Option("--kind", help="Only messages of this kind.")
    ] = None,
    since: SinceOption = None,
    pending: Annotated[
        bool,
        typer.Option("--pending", help="Only those for which your workflow is not started yet."),
    ] = False,
    limit: LimitOption = 100,
    reveal: RevealOption = False,
    as_json: JsonOption = False,
) -> None:
    """List inbound messages, newest first.

    A text is shown as long as it is kept: see INBOUND_TEXT_DAYS.
    """
    with command_output(as_json=as_json) as out:
        earliest = None if since is None else moment(since, option="--since")
        with database() as engine:
            found = InboundMessages(engine).list_(
                kind=kind, since=earliest, undispatched_only=pending, limit=limit + 1
            )
        out.listed(
            "messages",
            (
                *("Message", "Received", "From", "To", "Kind", "Workflow"),
                *(("Text",) if reveal else ()),
            ),
            [_listed(each, reveal=reveal) for each in found],
            limit=limit,
            empty="No inbound messages.",
            hint=None if reveal else "Read them with --reveal.",
        )


def _listed(each: Received, *, reveal: bool) -> tuple[dict[str, Any], Sequence[object]]:
    """An inbound message in the list, for programs and for people."""
    document = {
        "message_sid": each.message_sid,
        "received_at": each.received_at,
        "from": each.from_ if reveal else masked_recipient(each.from_),
        "to": each.to if reveal else masked_sender(each.to),
        "messaging_service_sid": each.messaging_service_sid,
        "kind": each.kind.value,
        "media": len(each.media),
        "pending": each.awaits_dispatch,
        "dispatched_at": each.dispatched_at,
        **(
            {"text": each.text, "media_urls": [media.url for media in each.media]} if reveal else {}
        ),
    }
    row = (
        each.message_sid,
        clock(each.received_at),
        document["from"],
        document["to"],
        each.kind,
        "pending" if each.awaits_dispatch else "started" if each.dispatched_at else None,
        *((_text_and_media(each),) if reveal else ()),
    )
    return document, row


def _text_and_media(each: Received) -> str | None:
    urls = [media.url for media in each.media]
    return None if each.text is None else "\n".join([*([each.text] if each.text else []), *urls])
