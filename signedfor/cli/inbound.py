"""`signedfor opt-outs review`: inbound messages that may be opt-outs."""

from collections.abc import Sequence
from typing import Annotated, Any

import typer
from sqlalchemy import Engine

from signedfor.cli import audit
from signedfor.cli.environment import database, database_settings
from signedfor.cli.options import (
    ByOption,
    JsonOption,
    LimitOption,
    RevealOption,
)
from signedfor.cli.output import (
    BadInput,
    NotFound,
    Output,
    clock,
    command_output,
    facts,
    has_terminal,
)
from signedfor.masks import masked_recipient, masked_sender
from signedfor.person_records import DECISIONS, decide
from signedfor.store.inbound import Decision, InboundMessages, Review

_QUESTION = "[o] opt-out  [d] done, not an opt-out  [s] skip  [q] quit"


def review(
    message_sid: Annotated[
        str | None, typer.Argument(metavar="MESSAGE_SID", show_default=False)
    ] = None,
    *,
    done: Annotated[bool, typer.Option("--done", help="The message is not an opt-out.")] = False,
    opt_out: Annotated[
        bool, typer.Option("--opt-out", help="The message is an opt-out: record it.")
    ] = False,
    interactive: Annotated[
        bool,
        typer.Option("--interactive", help="Show one after the other, and ask what each is."),
    ] = False,
    include_read: Annotated[
        bool, typer.Option("--all", help="Also list those already reviewed.")
    ] = False,
    limit: LimitOption = 100,
    reveal: RevealOption = False,
    by: ByOption = None,
    as_json: JsonOption = False,
) -> None:
    """List inbound messages that may be opt-outs, or decide about them.

    Only a person can judge a message such as "please stop texting me". Give a MESSAGE_SID with
    --opt-out or --done to record the decision, or --interactive to decide one after the other.
    Until then messages of the categories in REVIEW_SUPPRESSES are not sent to that person.
    """
    with command_output(as_json=as_json) as out:
        if interactive:
            if message_sid is not None or done or opt_out or include_read or as_json:
                raise BadInput([("--interactive", "goes only with --reveal and --by")])
            if not has_terminal():
                raise BadInput([("--interactive", "needs a terminal; give a MESSAGE_SID instead")])
            with database() as engine:
                _InteractiveReview(out, _Reviewer(engine, by=by)).run(reveal=reveal)
            return
        if message_sid is None and not done and not opt_out:
            with database() as engine:
                _list(out, engine, pending_only=not include_read, limit=limit, reveal=reveal)
            return
        if message_sid is None or done == opt_out:
            raise BadInput([("MESSAGE_SID", "give one, and either --done or --opt-out")])
        with database() as engine:
            decision = _Reviewer(engine, by=by).decide(message_sid, is_opt_out=opt_out)
        if decision is None:
            raise NotFound("There is no such message to review, or it has been reviewed.")
        out.result(
            {"message_sid": message_sid, "opt_out": decision is Decision.OPT_OUT},
            DECISIONS[decision],
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
        "received_at": each.received_at,
        "from": each.from_ if reveal else masked_recipient(each.from_),
        "to": each.to if reveal else masked_sender(each.to),
        "messaging_service_sid": each.messaging_service_sid,
        "reviewed_at": each.reviewed_at,
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


class _InteractiveReview:
    """Shows the pending messages one after the other and asks what each is."""

    def __init__(self, out: Output, reviewer: "_Reviewer") -> None:
        self._out = out
        self._reviewer = reviewer
        self._inbound = reviewer.inbound

    def run(self, *, reveal: bool) -> None:
        """Ask until all are decided or skipped, or the operator quits."""
        pending = self._inbound.pending_reviews()
        if not pending.count:
            self._out.result({}, "Nothing to review.")
            return
        if not reveal:
            self._out.confirm(
                f"This shows each with number and text; there are {pending.count}.",
                what="show numbers and texts",
            )
        shown: Review | None = None
        # One at a time, so that what someone else has decided meanwhile is not shown.
        while page := self._inbound.reviews(after=shown, limit=1):
            shown = page[0]
            if not self._ask(shown):
                break
        left = self._inbound.pending_reviews().count
        self._out.result({}, f"{left} left to review." if left else "Nothing is left to review.")

    def _ask(self, review: Review) -> bool:
        """Ask about one, and record the answer; False to quit."""
        self._out.result(
            {},
            facts(
                [
                    ("Message", review.message_sid),
                    ("Received", clock(review.received_at)),
                    ("From", review.from_),
                    ("To", review.to),
                    ("Text", review.body),
                ]
            ),
        )
        match self._out.choose(_QUESTION, {*"odsq"}):
            case "q" | None:
                return False
            case "s":
                return True
            case answer:
                decision = self._reviewer.decide(review.message_sid, is_opt_out=answer == "o")
        if decision is None:
            found = self._inbound.review(review.message_sid)
            who = (found and found.reviewed_by) or "someone else"
            self._out.note(f"Nothing was recorded: {who} has decided it meanwhile.")
        else:
            self._out.note(DECISIONS[decision])
        return True


class _Reviewer:
    """Records decisions, and in the audit log who made them."""

    def __init__(self, engine: Engine, *, by: str | None) -> None:
        self.inbound = InboundMessages(engine, scope=database_settings().opt_out_scope)
        self._engine = engine
        self._by = by

    def decide(self, message_sid: str, *, is_opt_out: bool) -> Decision | None:
        """Record the decision; None if there is no such message, or it has been reviewed."""
        name = audit.changed_by(self._by)
        review = self.inbound.review(message_sid)
        if review is None or review.reviewed_at is not None:
            return None
        audit.record(
            self._engine,
            "review.opt-out" if is_opt_out else "review.done",
            recipient=review.from_,
            details=message_sid,
            by=self._by,
        )
        return decide(self.inbound, message_sid, is_opt_out=is_opt_out, by=name)
