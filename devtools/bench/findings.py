"""What a soak found: the violations, and the figures of its report."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from devtools.bench.books import Account, Books, Violation
from devtools.bench.crowd import POISON, Done, Kind
from devtools.bench.endings import is_parked
from devtools.bench.intended import Why, submissions_in
from devtools.sandbox.journal import Journal
from devtools.sandbox.steps import NORMAL, Step

_DUPLICATE, _LOST = 1, 2
_PARKED_OF = 1000
"""One in a thousand may be parked; and one of fewer: twins that nobody can tell apart."""


@dataclass(frozen=True, kw_only=True)
class Findings:
    """The result of one soak. Times are seconds."""

    seed: int
    messages: int
    storm_seconds: float
    seconds_to_settle: float
    quiet: bool
    duplicates: int
    lost: int
    parked: int
    """Of unknown fate to the end, although Twilio would have taken them."""
    parked_at_most: int
    strikes: Mapping[str, int]
    twilio_faults: Mapping[str, int]
    outcomes: Mapping[str, int]
    submissions: Mapping[str, int]
    callbacks: Mapping[str, int]
    slowest_bystander: float
    ended_by_itself: Sequence[str]
    violations: Sequence[Violation]

    @property
    def is_clean(self) -> bool:
        """Whether every promise was kept and every part stayed up unless it was struck."""
        kept = not self.violations and self.parked <= self.parked_at_most
        return self.quiet and kept and not self.ended_by_itself

    def write(self, path: Path) -> None:
        """Write the report as JSON."""
        path.write_text(json.dumps(asdict(self), indent=2) + "\n")

    def text(self) -> str:
        """The report for people."""
        lines = [
            (
                f"seed {self.seed}: {self.messages} messages, storm of {self.storm_seconds:.0f} s, "
                f"settled {self.seconds_to_settle:.0f} s after it"
            ),
            (
                f"duplicates {self.duplicates}, lost {self.lost}, parked {self.parked} of at most "
                f"{self.parked_at_most}, violations {len(self.violations)}"
            ),
            f"slowest bystander of poison: {self.slowest_bystander:.1f} s",
        ]
        for title, counts in (
            ("parts struck", self.strikes),
            ("Twilio's faults", self.twilio_faults),
            ("outcomes", self.outcomes),
            ("submissions", self.submissions),
            ("callback answers", self.callbacks),
        ):
            listed = ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))
            lines.append(f"{title}: {listed}")
        lines += [f"ended by itself: {what}" for what in self.ended_by_itself]
        lines += [f"VIOLATION of {v.rule}, {v.message_id}: {v.what}" for v in self.violations]
        return "\n".join(lines)


def find(
    books: Books,
    violations: Sequence[Violation],
    *,
    done: Mapping[str, Done],
    faults: Mapping[str, int],
    seed: int,
    storm_seconds: float,
    seconds_to_settle: float,
    quiet: bool,
    strikes: Mapping[str, int],
    ended_by_itself: Sequence[str],
) -> Findings:
    """The figures of books that were balanced."""
    outcomes: Counter[str] = Counter()
    submissions: Counter[str] = Counter()
    innocent, parked, slowest = 0, 0, 0.0
    for account in books.accounts:
        kind = done[account.message_id].errand.kind
        outcomes[_outcome_of(account)] += 1
        if kind not in POISON:
            innocent += 1
            parked += _is_parked(account)
        if account.trail is not None:
            submissions.update(each.why.name.lower() for each in submissions_in(account.trail))
            if kind is Kind.BYSTANDER and account.trail.closed_at is not None:
                took = account.trail.closed_at - account.handed_in_at
                slowest = max(slowest, took.total_seconds())
    return Findings(
        seed=seed,
        messages=len(books.accounts),
        storm_seconds=storm_seconds,
        seconds_to_settle=seconds_to_settle,
        quiet=quiet,
        duplicates=len({v.message_id for v in violations if v.rule == _DUPLICATE}),
        lost=len({v.message_id for v in violations if v.rule == _LOST}),
        parked=parked,
        parked_at_most=max(1, innocent // _PARKED_OF),
        strikes=dict(strikes),
        twilio_faults=dict(faults),
        outcomes=dict(outcomes),
        submissions={why.name.lower(): submissions[why.name.lower()] for why in Why},
        callbacks=dict(
            Counter(str(row["http_status"] or row["error"]) for row in books.ledger["callbacks"])
        ),
        slowest_bystander=slowest,
        ended_by_itself=ended_by_itself,
        violations=violations,
    )


def _outcome_of(account: Account) -> str:
    trail = account.trail
    if trail is None or trail.closed_at is None:
        return "none"
    return trail.report.outcome.value if trail.report is not None else "bad input"


def _is_parked(account: Account) -> bool:
    report = account.trail.report if account.trail is not None else None
    return report is not None and is_parked(report)


def faults_in(journal: Path) -> Counter[str]:
    """What Twilio did wrong, by kind, from the sandbox's journal: the answers and the rest."""
    found: Counter[str] = Counter()
    for event in Journal(journal).replay():
        match event["event"]:
            case "refused":
                code = str(event["http_status"] or "")
                found[" ".join(filter(None, (event["reason"], code)))] += 1
            case "message" if event["n"] is not None:
                found.update(_names(Step.model_validate(event["step"])))
    return found


def _names(step: Step) -> list[str]:
    names = []
    if step.respond != NORMAL.respond:
        names.append(" ".join(filter(None, (step.respond, str(step.http_status or "")))))
    if step.delay:
        names.append("slow")
    if step.final != NORMAL.final:
        names.append(f"final {step.final}")
    if step.listed_after:
        names.append("listed late")
    changed = step.callbacks.model_dump(exclude_defaults=True)
    return names + [f"callbacks {name}" for name in changed]
