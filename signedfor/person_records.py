"""All that is on record about a person, and decisions about what the person wrote.

Apart from `signedfor.consent_records`, because the inbound side needs Temporal's SDK, which takes
longer to import than a list of opt-outs takes.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Engine

from signedfor.consent import OptIn, Suppression
from signedfor.consent_history import Line, consent_history
from signedfor.notes import store_errors
from signedfor.store.held_back_messages import HeldBackMessage, HeldBackMessages
from signedfor.store.inbound import Decision, InboundMessages, Received
from signedfor.store.opt_ins import OptIns
from signedfor.store.suppressions import Suppressions

DECISIONS: Final = {
    Decision.OPT_OUT: "Opt-out recorded.",
    Decision.NO_OPT_OUT: "Recorded as read.",
    Decision.OPTED_IN_SINCE: "Recorded as read: the person has opted in again since.",
}
"""What came of a decision, in a sentence."""
_ALL: Final = 10_000
"""More opt-ins than there are of one person."""


@dataclass(frozen=True, kw_only=True)
class ConsentRecord:
    """All that is on record about a person."""

    suppressions: Sequence[Suppression]
    opt_ins: Sequence[OptIn]
    held_back: Sequence[HeldBackMessage]
    inbound: Sequence[Received]
    """Their newest messages."""
    history: Sequence[Line]

    def missing_opt_ins(self, required: Collection[str]) -> list[str]:
        """Those of the categories to which the person has not opted in."""
        given = {each.category for each in self.opt_ins if each.withdrawn_at is None}
        return [category for category in required if category not in given]


def consent_record(
    engine: Engine, recipient: str, *, reveal: bool = False, max_inbound: int = 100
) -> ConsentRecord:
    """All that is on record about the person whom the address reaches."""
    return ConsentRecord(
        suppressions=Suppressions(engine).of(recipient),
        opt_ins=OptIns(engine).list_(recipient=recipient, include_withdrawn=True, limit=_ALL),
        held_back=HeldBackMessages(engine).of(recipient),
        inbound=InboundMessages(engine).list_(from_person=recipient, limit=max_inbound),
        history=consent_history(engine, recipient, reveal=reveal),
    )


def decide(
    inbound: InboundMessages, message_sid: str, *, is_opt_out: bool, by: str
) -> Decision | None:
    """Record what an operator says of a message; None if there is none, or it has been reviewed.

    Raises:
        BadInput: names the field.
    """
    with store_errors():
        return inbound.decide(message_sid, is_opt_out=is_opt_out, by=by)
