"""`signedfor messages`: find messages by recipient, sender, stage, outcome, code and time."""

import asyncio
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from sqlalchemy import Engine
from temporalio.service import RPCError

from signedfor.cli.environment import database
from signedfor.cli.options import JsonOption, LimitOption, TenantOption, begin
from signedfor.cli.output import BadInput, Output, Unavailable, clock, command_output
from signedfor.cli.temporal import connect, run
from signedfor.contract import Outcome, Stage
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
        typer.Option("--from", metavar="SENDER", help="Only messages from this sender."),
    ] = None,
    code: Annotated[
        int | None,
        typer.Option("--code", metavar="NUMBER", help="Only messages with this Twilio error code."),
    ] = None,
    campaign: Annotated[
        str | None, typer.Option("--campaign", metavar="ID", help="Only this campaign's messages.")
    ] = None,
    tenant: TenantOption = None,
    since: Annotated[
        str | None,
        typer.Option(
            "--since", metavar="LENGTH", help="How far back: 90m, 24h, 7d; at most 3650d."
        ),
    ] = None,
    limit: LimitOption = 100,
    as_json: JsonOption = False,
) -> None:
    """List messages, newest first."""
    with command_output(as_json=as_json) as out:
        statuses = _statuses(status or ())
        recipient = _address(to, "--to", normalize_recipient)
        from_ = _address(sender, "--from", normalize_sender)
        earliest = None if since is None else begin(since, max_days=3650)
        with database() as engine:
            _bring_up_to_date(out, engine)
            wanted = MessageFilter(
                person=People(engine).reference(recipient) if recipient else None,
                statuses=statuses,
                sender=masked_sender(from_) if from_ else None,
                error_code=code,
                campaign_id=campaign,
                tenant=tenant,
                since=earliest,
            )
            found = MessageIndex(engine).find(wanted, limit=limit + 1)
        out.listed(
            "messages",
            ("Message", "Started", "Status", "Code", "From", "Twilio message"),
            [_listed(each) for each in found],
            limit=limit,
            empty="No such messages.",
        )


@app.command()
def reindex(*, as_json: JsonOption = False) -> None:
    """Make the index again from what Temporal has. Messages are not changed."""
    with command_output(as_json=as_json) as out:
        with database() as engine:
            run(_reindex(engine))
            count = MessageIndex(engine).size()
        out.result({"messages": count}, f"The index has {count} messages.")


async def _reindex(engine: Engine) -> None:
    await MessageIndexer(await connect(), engine).rebuild()


def _bring_up_to_date(out: Output, engine: Engine) -> None:
    """Read from Temporal what has changed; without it, the list is as old as the index."""
    if not run(_update(engine)):
        out.note("Temporal does not answer: the list is as old as the index.")


async def _update(engine: Engine) -> bool:
    try:
        async with asyncio.timeout(_UPDATE_SECONDS):
            await MessageIndexer(await connect(), engine).bring_up_to_date()
    except (TimeoutError, RPCError, Unavailable):
        return False
    return True


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
