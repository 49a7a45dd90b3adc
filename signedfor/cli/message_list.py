"""`signedfor messages`: find messages by recipient, sender, stage, outcome, code and time."""

import asyncio
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from sqlalchemy import Engine
from temporalio.service import RPCError

from signedfor.cli.environment import database
from signedfor.cli.options import (
    JsonOption,
    LimitOption,
    SinceOption,
    TenantOption,
    UntilOption,
    moment,
)
from signedfor.cli.output import BadInput, Output, Unavailable, clock, command_output
from signedfor.cli.temporal import connect, run
from signedfor.contract import Outcome, Stage
from signedfor.dead_letter_indexer import DeadLetterIndexer
from signedfor.masks import masked_sender
from signedfor.message_indexer import MessageIndexer
from signedfor.store.message_index import IndexedMessage, MessageFilter, MessageIndex
from signedfor.store.people import People
from signedfor.twilio.phone import InvalidAddress, normalize_recipient, normalize_sender

app = typer.Typer(
    no_args_is_help=True,
    help="Find messages.\n\nThe list is read from an index in the database, which these commands "
    "bring up to date with Temporal first.",
)

_STATUSES = (*Stage, *Outcome)
_UPDATE_SECONDS = 20.0
_NO_ANSWER = "Temporal does not answer: the list is as old as the index."


@app.command("list")
def list_(
    *,
    to: Annotated[
        str | None,
        typer.Option("--to", metavar="ADDRESS", help="Only messages to this person."),
    ] = None,
    status: Annotated[
        list[str] | None,
        typer.Option(
            "--stage",
            "--outcome",
            metavar="NAME",
            help="Only messages at this stage or with this outcome: waiting, failed, … May be "
            "given several times.",
        ),
    ] = None,
    sender: Annotated[
        str | None,
        typer.Option("--sender", metavar="SENDER", help="Only messages from this sender."),
    ] = None,
    code: Annotated[
        int | None,
        typer.Option("--code", metavar="NUMBER", help="Only messages with this Twilio error code."),
    ] = None,
    campaign: Annotated[
        str | None, typer.Option("--campaign", metavar="ID", help="Only this campaign's messages.")
    ] = None,
    tenant: TenantOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    limit: LimitOption = 100,
    as_json: JsonOption = False,
) -> None:
    """List messages, newest first."""
    with command_output(as_json=as_json) as out:
        statuses = _statuses(status or ())
        recipient = _address(to, "--to", normalize_recipient)
        from_ = _address(sender, "--sender", normalize_sender)
        earliest = None if since is None else moment(since, option="--since")
        latest = None if until is None else moment(until, option="--until")
        with database() as engine:
            index = MessageIndex(engine)
            is_complete = _bring_up_to_date(out, engine)
            if recipient and index.without_person(1):
                is_complete = False
                out.note("Not all recipients are known yet: the list may be incomplete.")
            wanted = MessageFilter(
                person=People(engine).reference(recipient) if recipient else None,
                statuses=statuses,
                sender=masked_sender(from_) if from_ else None,
                error_code=code,
                campaign_id=campaign,
                tenant=tenant,
                since=earliest,
                until=latest,
            )
            found = index.find(wanted, limit=limit + 1)
        out.listed(
            "messages",
            ("Message", "Started", "Status", "Code", "From", "Twilio message"),
            [_listed(each) for each in found],
            limit=limit,
            empty="No such messages.",
            fields={"complete": is_complete},
        )


@app.command()
def reindex(*, as_json: JsonOption = False) -> None:
    """Make the indexes of messages and dead letters again from what Temporal has.

    Messages are not changed. It takes about a minute for 100,000 of them. They can be searched
    meanwhile.
    """
    with command_output(as_json=as_json) as out:
        with database() as engine:
            run(_reindex(out, engine))
            count = MessageIndex(engine).size()
        out.result({"messages": count}, f"The index has {count} messages.")


async def _reindex(out: Output, engine: Engine) -> None:
    client = await connect()
    for indexer, what in (
        (MessageIndexer(client, engine), "messages"),
        (DeadLetterIndexer(client, engine), "dead letters"),
    ):
        total = await indexer.total()
        with out.progress_bar(f"Reading {what} from Temporal", total=total) as notify:
            await indexer.rebuild(notify)


def _bring_up_to_date(out: Output, engine: Engine) -> bool:
    """Read from Temporal what has changed; whether that was all. If not, say what is missing."""
    missing = run(_update(out, engine))
    if missing is not None:
        out.note(missing)
    return missing is None


async def _update(out: Output, engine: Engine) -> str | None:
    try:
        indexer = MessageIndexer(await connect(), engine)
        is_filled = await indexer.is_filled()
        total = 0 if is_filled else await indexer.total()
    except (RPCError, Unavailable):
        return _NO_ANSWER
    try:
        with out.progress_bar("Reading from Temporal", total=total) as notify:
            async with asyncio.timeout(_UPDATE_SECONDS) as limit:
                await indexer.bring_up_to_date(None if is_filled else notify)
    except (TimeoutError, RPCError):
        if not limit.expired():
            return _NO_ANSWER
        if await indexer.is_filled():
            return (
                f"What has changed could not be read within {_UPDATE_SECONDS:g} seconds: the list "
                "may be behind."
            )
        size = await asyncio.to_thread(MessageIndex(engine).size)
        return (
            f"The index is still being filled: it has {size} of about {total} messages, and the "
            "list is incomplete. `signedfor messages reindex` fills it."
        )
    return None


def _statuses(names: Sequence[str]) -> tuple[str, ...]:
    known = {each.value for each in _STATUSES}
    if not set(names) <= known:
        raise BadInput([("--stage", "must be one of " + ", ".join(sorted(known)))])
    return tuple(names)


def _address(text: str | None, option: str, normalize: Any) -> str | None:
    try:
        return None if text is None else normalize(text)
    except InvalidAddress as error:
        raise BadInput([(option, str(error))]) from None


def _listed(each: IndexedMessage) -> tuple[dict[str, Any], Sequence[object]]:
    """A message in the list, for programs and for people."""
    document = {
        "message_id": each.message_id,
        "status": each.status,
        "started_at": each.started_at,
        "ended_at": each.closed_at,
        "error_code": each.error_code,
        "sender": each.sender,
        "tenant": each.tenant,
        "campaign_id": each.campaign_id,
        "message_sid": each.message_sid,
    }
    row = (
        each.message_id,
        clock(each.started_at),
        each.status,
        each.error_code,
        each.sender,
        each.message_sid,
    )
    return document, row
