"""A plain, sequential model of consent, to compare the database with."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from signedfor.consent import Reason, Scope, Source
from signedfor.contract import InboundKind
from signedfor.store.inbound import CLOCK_MARGIN


class Change(StrEnum):
    """What an operator, a file or Twilio changes."""

    ADD = "add"
    REMOVE_ALL = "remove all"
    REMOVE_OPT_OUTS = "remove opt-outs"
    IMPORT = "import"
    TWILIO_CODE = "21610"
    DECIDE_DONE = "no opt-out"
    DECIDE_OPT_OUT = "opt-out"


DECISIONS = frozenset({Change.DECIDE_DONE, Change.DECIDE_OPT_OUT})


@dataclass(frozen=True)
class Action:
    """What happens for one person: a message, or a change that concerns one of our senders.

    A message has a SID; a decision has that of the message that it is about, if there is one.
    """

    what: InboundKind | Change
    to_sender: str
    at: datetime
    sid: str
    channel: str = ""


@dataclass(frozen=True)
class Span:
    """When an action began and ended, by one clock."""

    began: float
    ended: float


Standing = frozenset[tuple[Reason, Source, str, str]]
"""What stands for a person: reason, source, the sender of what they said, the SID of a review."""


@dataclass(frozen=True)
class Review:
    """A message that awaits review."""

    sid: str
    to_sender: str
    at: datetime


@dataclass
class Model:
    """One person's consent, with `OPT_OUT_SCOPE` as given."""

    scope: Scope
    own: dict[tuple[Source, str], datetime] = field(default_factory=dict)
    others: set[tuple[Source, str]] = field(default_factory=set)
    opted_in: list[tuple[InboundKind, str, datetime]] = field(default_factory=list)
    pending: dict[str, Review] = field(default_factory=dict)
    suppressing: dict[str, Review] = field(default_factory=dict)
    """By sender, the newest pending review that no opt-in follows."""

    @property
    def standing(self) -> Standing:
        """What stands now."""
        opt_outs = self.own.keys() | self.others
        reviews = self.suppressing.values()
        return frozenset(
            [
                *((REASON, *each, "") for each in opt_outs),
                *((Reason.REVIEW, Source.INBOUND, each.to_sender, each.sid) for each in reviews),
            ]
        )

    def do(self, action: Action) -> None:
        """Take it in."""
        match action.what:
            case InboundKind.REVIEW:
                review = Review(action.sid, action.to_sender, action.at)
                self.pending[review.sid] = review
                self._suppress(review)
            case InboundKind() as kind:
                self._receive(kind, action.to_sender, action.at)
            case Change.DECIDE_DONE | Change.DECIDE_OPT_OUT as decision:
                self._decide(action.sid, is_opt_out=decision is Change.DECIDE_OPT_OUT)
            case Change.TWILIO_CODE:
                self._set(Source.TWILIO_CODE, action.to_sender, action.at)
            case Change.ADD:
                self.others.add((Source.OPERATOR, ""))
            case Change.IMPORT:
                self.others.add((Source.IMPORT, ""))
            case Change.REMOVE_ALL | Change.REMOVE_OPT_OUTS as change:
                self.own.clear()
                self.others.clear()
                if change is Change.REMOVE_ALL:
                    self.suppressing.clear()

    def _decide(self, sid: str, *, is_opt_out: bool) -> None:
        review = self.pending.pop(sid, None)
        if review is None:
            return
        if self.suppressing.get(review.to_sender) == review:
            del self.suppressing[review.to_sender]
            for other in sorted(self.pending.values(), key=lambda each: each.sid):
                if other.to_sender == review.to_sender:
                    self._suppress(other)
        if is_opt_out:
            self._receive(InboundKind.STOP, review.to_sender, review.at)

    def _suppress(self, review: Review) -> None:
        current = self.suppressing.get(review.to_sender)
        is_newest = current is None or current.at < review.at
        if is_newest and not self._has_opted_in_since(review.to_sender, review.at):
            self.suppressing[review.to_sender] = review

    def _has_opted_in_since(self, sender: str, at: datetime) -> bool:
        return any(
            since >= at + CLOCK_MARGIN and self._concerns(opt_in, its_sender, sender)
            for opt_in, its_sender, since in self.opted_in
        )

    def _receive(self, kind: InboundKind, sender: str, at: datetime) -> None:
        if kind is InboundKind.STOP:
            if not self._has_opted_in_since(sender, at):
                self._set(Source.INBOUND, sender, at)
            return
        self.opted_in.append((kind, sender, at))
        for source, its_sender in list(self.own):
            is_older = self.own[source, its_sender] <= at - CLOCK_MARGIN
            if is_older and self._concerns(kind, sender, its_sender):
                del self.own[source, its_sender]
        for review in list(self.suppressing.values()):
            is_older = review.at <= at - CLOCK_MARGIN
            if is_older and self._concerns(kind, sender, review.to_sender):
                del self.suppressing[review.to_sender]

    def _set(self, source: Source, sender: str, at: datetime) -> None:
        self.own[source, sender] = max(at, self.own.get((source, sender), at))

    def _concerns(self, kind: InboundKind, opt_in_to: str, opt_out_to: str) -> bool:
        is_wide = kind is InboundKind.START and self.scope is Scope.EVERYTHING
        return is_wide or opt_in_to == opt_out_to


REASON = Reason.OPTED_OUT
"""Of everything in the model but reviews."""


def possible(scope: Scope, actions: Sequence[tuple[Action, Span]]) -> set[Standing]:
    """What may stand after them: an action that ended before another began came first."""
    found = set()
    for order in _orders(actions):
        model = Model(scope)
        for action in order:
            model.do(action)
        found.add(model.standing)
    return found


def _orders(actions: Sequence[tuple[Action, Span]]) -> Iterator[list[Action]]:
    for order in itertools.permutations(actions):
        if all(
            first[1].began <= second[1].ended for first, second in itertools.combinations(order, 2)
        ):
            yield [action for action, _ in order]
