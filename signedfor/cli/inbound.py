"""`signedfor opt-outs review` and `catch-up`: inbound messages that may be opt-outs."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer
from sqlalchemy import Engine
from temporalio.client import WorkflowFailureError
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy

from signedfor.cli.environment import database, database_settings, field_and_problem
from signedfor.cli.message_status import masked_recipient
from signedfor.cli.options import ByOption, JsonOption, LimitOption, RevealOption, operator
from signedfor.cli.output import (
    BadInput,
    NotFound,
    Output,
    Refused,
    Unconfirmed,
    clock,
    command_output,
    facts,
)
from signedfor.cli.temporal import answer, connect, run
from signedfor.contract import MESSAGES_QUEUE
from signedfor.inbound import (
    CATCH_UP_ID,
    CATCH_UP_WORKFLOW,
    INBOUND_PRIORITY,
    CatchUp,
    CatchUpResult,
)
from signedfor.masks import masked_sender
from signedfor.store.database import transaction
from signedfor.store.inbound import InboundMessages, Review

_PAGE = 500
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}
_MAX_SINCE_DAYS = 30
_CATCH_UP_TIMEOUT = 300.0


def review(
    message_sid: Annotated[
        str | None, typer.Argument(metavar="MESSAGE_SID", show_default=False)
    ] = None,
    *,
    done: Annotated[bool, typer.Option("--done", help="The message is not an opt-out.")] = False,
    opt_out: Annotated[
        bool, typer.Option("--opt-out", help="The message is an opt-out: record it.")
    ] = False,
    include_read: Annotated[
        bool, typer.Option("--all", help="Also list those already reviewed.")
    ] = False,
    limit: LimitOption = 100,
    reveal: RevealOption = False,
    by: ByOption = None,
    as_json: JsonOption = False,
) -> None:
    """List inbound messages that may be opt-outs, or decide about one.

    Only a person can judge a message such as "please stop texting me". Give a MESSAGE_SID with
    --opt-out or --done to record the decision.
    """
    with command_output(as_json=as_json) as out:
        if message_sid is None and not done and not opt_out:
            with database() as engine:
                _list(out, engine, pending_only=not include_read, limit=limit, reveal=reveal)
            return
        if message_sid is None or done == opt_out:
            raise BadInput([("MESSAGE_SID", "give one, and either --done or --opt-out")])
        with database() as engine:
            try:
                is_done = _decide(engine, message_sid, opts_out=opt_out, by=operator(by))
            except ValueError as error:
                field, what = field_and_problem(error)
                raise BadInput([("--by" if field == "by" else field, what)]) from None
        out.result(
            {"message_sid": message_sid, "opt_out": opt_out and is_done},
            "Recorded as read: the person has opted in again since."
            if not is_done
            else "Opt-out recorded."
            if opt_out
            else "Recorded as read.",
        )


def _list(out: Output, engine: Engine, *, pending_only: bool, limit: int, reveal: bool) -> None:
    found = InboundMessages(engine).reviews(pending_only=pending_only, limit=limit + 1)
    out.listed(
        "reviews",
        ("Message", "Received", "From", "To", "Read by", *(("Text",) if reveal else ())),
        [_listed(each, reveal=reveal) for each in found],
        limit=limit,
        empty="Nothing to review.",
        hint=None if reveal else "Read them with --reveal.",
    )


def _listed(each: Review, *, reveal: bool) -> tuple[dict[str, Any], Sequence[object]]:
    """An inbound message in the list, for programs and for people."""
    document = {
        "message_sid": each.message_sid,
        "received_at": each.received_at.isoformat(),
        "from": each.from_ if reveal else masked_recipient(each.from_),
        "to": each.to if reveal else masked_sender(each.to),
        "messaging_service_sid": each.messaging_service_sid,
        "reviewed_at": each.reviewed_at.isoformat() if each.reviewed_at else None,
        "reviewed_by": each.reviewed_by,
        **({"body": each.body} if reveal else {}),
    }
    row = (
        each.message_sid,
        clock(each.received_at),
        document["from"],
        document["to"],
        each.reviewed_by,
        *((each.body,) if reveal else ()),
    )
    return document, row


def _decide(engine: Engine, message_sid: str, *, opts_out: bool, by: str) -> bool:
    """Record the decision and the opt-out, if it is one, in one transaction.

    False if it is an opt-out and the person has opted in since.

    Raises:
        NotFound: there is no such message to review, or it has been.
    """
    inbound = InboundMessages(engine, scope=database_settings().opt_out_scope)
    found = _find(inbound, message_sid)
    with transaction(engine) as connection:
        is_first = inbound.mark_reviewed(message_sid, by=by, connection=connection)
        if found is None or not is_first:
            raise NotFound("There is no such message to review, or it has been reviewed.")
        return not opts_out or inbound.opt_out_by_review(found, by=by, connection=connection)


def _find(inbound: InboundMessages, message_sid: str) -> Review | None:
    after: Review | None = None
    while page := inbound.reviews(after=after, limit=_PAGE):
        for each in page:
            if each.message_sid == message_sid:
                return each
        after = page[-1]
    return None


def catch_up(
    *,
    since: Annotated[
        str | None,
        typer.Option(
            "--since",
            metavar="LENGTH",
            help="How far back: 90m, 24h, 7d; at most 30d. Default: since the last catch-up.",
        ),
    ] = None,
    timeout: Annotated[
        float,
        typer.Option(
            "--timeout", metavar="SECONDS", min=0.1, help="How long to wait for the result."
        ),
    ] = _CATCH_UP_TIMEOUT,
    as_json: JsonOption = False,
) -> None:
    """Record inbound messages that the webhook missed.

    A worker asks Twilio for them, mainly for opt-outs. Workers do so every
    INBOUND_CATCH_UP_MINUTES anyway.
    """
    with command_output(as_json=as_json) as out:
        request = CatchUp(
            since=None
            if since is None
            else datetime.now(UTC) - length_of_time(since, max_days=_MAX_SINCE_DAYS)
        )
        result = run(_catch_up(request, within=timeout))
        out.result(
            result.model_dump(mode="json"),
            facts(
                [
                    ("From", clock(result.since)),
                    ("To", clock(result.until)),
                    ("Listed", result.listed),
                    ("Inbound", result.inbound),
                    ("New", result.new),
                    ("Unusable", result.unusable),
                ]
            ),
        )


def length_of_time(text: str, *, max_days: int) -> timedelta:
    """The value of `--since`.

    Raises:
        BadInput: it is no length of time, or a longer one.
    """
    match = re.fullmatch(r"([1-9][0-9]{0,5})([mhd])", text, re.ASCII)
    length = timedelta(**{_UNITS[match[2]]: int(match[1])}) if match else None
    if length is None or length > timedelta(days=max_days):
        what = f"must be a length such as 90m, 24h or 7d, at most {max_days}d"
        raise BadInput([("--since", what)])
    return length


async def _catch_up(request: CatchUp, *, within: float) -> CatchUpResult:
    client = await connect()
    handle = await client.start_workflow(
        CATCH_UP_WORKFLOW,
        request,
        id=CATCH_UP_ID,
        task_queue=MESSAGES_QUEUE,
        result_type=CatchUpResult,
        # One at a time: a second caller gets the result of the run that is in progress.
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
        priority=INBOUND_PRIORITY,
    )
    try:
        return await answer(handle.result(), within=within)
    except TimeoutError:
        raise Unconfirmed(
            f"No result yet: workflow {CATCH_UP_ID} continues, if a worker runs. See it in the "
            "Temporal UI, or `signedfor doctor`."
        ) from None
    except WorkflowFailureError:
        raise Refused(
            f"The catch-up failed; workflow {CATCH_UP_ID} in the Temporal UI says why. "
            "`signedfor doctor` checks Twilio and the database."
        ) from None
