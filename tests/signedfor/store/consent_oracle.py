"""A plain, sequential model of consent, to compare the database with."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from signedfor.consent import Reason, Scope, Source
from signedfor.contract import InboundKind
from signedfor.store.inbound import CLOCK_MARGIN


class Deed(StrEnum):
    """What an operator, a file or Twilio does."""

    ADD = "add"
    REMOVE_ALL = "remove all"
    REMOVE_OPT_OUTS = "remove opt-outs"
    IMPORT = "import"
    TWILIO_CODE = "21610"


@dataclass(frozen=True)
class Action:
    """What happens for one person: a message or a deed, which concerns one of our senders."""

    what: InboundKind | Deed
    to_sender: str
    at: datetime
    channel: str = ""


@dataclass(frozen=True)
class Span:
    """When an action began and ended, by one clock."""

    began: float
    ended: float


Standing = frozenset[tuple[Source, str]]
"""The opt-outs of a person: source, and the sender of an own one."""


@dataclass
class Model:
    """One person's consent, with `OPT_OUT_SCOPE` as given."""

    scope: Scope
    own: dict[tuple[Source, str], datetime] = field(default_factory=dict)
    others: set[tuple[Source, str]] = field(default_factory=set)
    opted_in: list[tuple[InboundKind, str, datetime]] = field(default_factory=list)

    @property
    def standing(self) -> Standing:
        """What stands now."""
        return frozenset(self.own) | frozenset(self.others)

    def do(self, action: Action) -> None:
        """Take it in."""
        match action.what:
            case InboundKind() as kind:
                self._receive(kind, action.to_sender, action.at)
            case Deed.TWILIO_CODE:
                self._set(Source.TWILIO_CODE, action.to_sender, action.at)
            case Deed.ADD:
                self.others.add((Source.OPERATOR, ""))
            case Deed.IMPORT:
                self.others.add((Source.IMPORT, ""))
            case Deed.REMOVE_ALL | Deed.REMOVE_OPT_OUTS:
                self.own.clear()
                self.others.clear()

    def _receive(self, kind: InboundKind, sender: str, at: datetime) -> None:
        if kind is InboundKind.STOP:
            if not any(
                since >= at + CLOCK_MARGIN and self._concerns(opt_in, its_sender, sender)
                for opt_in, its_sender, since in self.opted_in
            ):
                self._set(Source.INBOUND, sender, at)
            return
        self.opted_in.append((kind, sender, at))
        for source, its_sender in list(self.own):
            is_older = self.own[source, its_sender] <= at - CLOCK_MARGIN
            if is_older and self._concerns(kind, sender, its_sender):
                del self.own[source, its_sender]

    def _set(self, source: Source, sender: str, at: datetime) -> None:
        self.own[source, sender] = max(at, self.own.get((source, sender), at))

    def _concerns(self, kind: InboundKind, opt_in_to: str, opt_out_to: str) -> bool:
        is_wide = kind is InboundKind.START and self.scope is Scope.EVERYTHING
        return is_wide or opt_in_to == opt_out_to


REASON = Reason.OPTED_OUT
"""Of everything in the model."""


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
