"""The report of a soak: the violations, and what happened."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from devtools.sandbox.faults import NORMAL, Step
from devtools.sandbox.state import Journal
from tests.faults.soak.history import SendFinished
from tests.faults.soak.invariants import (
    MessageRecord,
    Observations,
    Violation,
    arrivals_after_stop,
    forgotten_in_part,
    is_unresolved,
    overlap,
)
from tests.faults.soak.submissions import Reason, submissions_of
from tests.faults.soak.workload import UNSENDABLE, JobResult, Kind

_DUPLICATE, _LOST = 1, 2
_UNRESOLVED_OF = 1000
"""One in a thousand may stay unresolved, or one of fewer: duplicates are indistinguishable."""


@dataclass(frozen=True, kw_only=True)
class SoakReport:
    """The result of one soak. Times are seconds."""

    seed: int
    messages: int
    fault_seconds: float
    seconds_to_idle: float
    is_idle: bool
    duplicates: int
    lost: int
    unresolved: int
    """Messages whose outcome stayed unknown although Twilio would have accepted them."""
    max_unresolved: int
    indistinguishable: int
    """Unresolved duplicates that Temporal had forgotten: Twilio's list does not say which is which.
    They are not counted among the unresolved."""
    forgotten_in_part: int
    """Messages of which a restored Temporal server had forgotten something."""
    claims_held: int
    """Sends that made no POST, because another attempt had claimed the submission."""
    after_stop: Sequence[float]
    """When POSTs arrived that came after a committed STOP, in order; no worker was frozen then."""
    after_stop_frozen: Sequence[float]
    """The same, of POSTs while a worker was frozen."""
    faults: Mapping[str, int]
    twilio_faults: Mapping[str, int]
    outcomes: Mapping[str, int]
    submissions: Mapping[str, int]
    callbacks: Mapping[str, int]
    slowest_healthy: float
    unexpected_exits: Sequence[str]
    violations: Sequence[Violation]

    @property
    def is_clean(self) -> bool:
        """Whether every invariant held and no part ended without a fault."""
        held = not self.violations and self.unresolved <= self.max_unresolved
        return self.is_idle and held and not self.unexpected_exits

    def write(self, path: Path) -> None:
        """Write the report as JSON."""
        path.write_text(json.dumps(asdict(self), indent=2) + "\n")

    def text(self) -> str:
        """The report as text."""
        lines = [
            (
                f"seed {self.seed}: {self.messages} messages, faults for "
                f"{self.fault_seconds:.0f} s, idle {self.seconds_to_idle:.0f} s later"
            ),
            (
                f"duplicates {self.duplicates}, lost {self.lost}, unresolved {self.unresolved} "
                f"({self.unresolved / max(self.messages, 1):.2%}) of at most "
                f"{self.max_unresolved}, violations {len(self.violations)}"
            ),
            f"sends without a POST because the submission was claimed: {self.claims_held}",
            (
                f"messages that Temporal had forgotten in part: {self.forgotten_in_part}, "
                f"indistinguishable among them: {self.indistinguishable}"
            ),
            f"POSTs that arrived after a committed STOP: {_times(self.after_stop)}",
            f"the same while a worker was frozen: {_times(self.after_stop_frozen)}",
            f"slowest healthy message: {self.slowest_healthy:.1f} s",
        ]
        for title, counts in (
            ("faults injected", self.faults),
            ("faults of Twilio", self.twilio_faults),
            ("outcomes", self.outcomes),
            ("submissions", self.submissions),
            ("answers to callbacks", self.callbacks),
        ):
            listed = ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))
            lines.append(f"{title}: {listed}")
        lines += [f"unexpected exit: {what}" for what in self.unexpected_exits]
        lines += [f"VIOLATION of {v.invariant}, {v.message_id}: {v.what}" for v in self.violations]
        return "\n".join(lines)


def report_on(
    observed: Observations,
    violations: Sequence[Violation],
    *,
    results: Mapping[str, JobResult],
    twilio_faults: Mapping[str, int],
    seed: int,
    fault_seconds: float,
    seconds_to_idle: float,
    is_idle: bool,
    faults: Mapping[str, int],
    unexpected_exits: Sequence[str],
) -> SoakReport:
    """The report on observations whose invariants were checked."""
    outcomes: Counter[str] = Counter()
    submissions: Counter[str] = Counter()
    sendable, unresolved, indistinguishable, slowest = 0, 0, 0, 0.0
    claims_held = 0
    for message in observed.messages:
        kind = results[message.message_id].job.kind
        outcomes[_outcome_of(message)] += 1
        history = message.history
        if kind not in UNSENDABLE:
            sendable += 1
            # A cancel during an unknown outcome ends its resolution: the caller asked for that.
            if kind is not Kind.CANCELED and history is not None and is_unresolved(history.report):
                is_forgotten = forgotten_in_part(message, observed.forgotten)
                if kind is Kind.DUPLICATE and is_forgotten:
                    indistinguishable += 1
                else:
                    unresolved += 1
        if history is not None:
            submissions.update(each.reason.name.lower() for each in submissions_of(message.runs))
            claims_held += _claims_held(message)
            if kind is Kind.HEALTHY and history.closed_at is not None:
                took = history.closed_at - message.requested_at
                slowest = max(slowest, took.total_seconds())
    after_stop: dict[bool, list[float]] = {True: [], False: []}
    for row, seconds in arrivals_after_stop(observed):
        arrived = datetime.fromtimestamp(row["arrived"], UTC)
        period = (arrived - timedelta(seconds=seconds), arrived)
        frozen = overlap(period, (*observed.worker_frozen, *observed.sandbox_frozen))
        after_stop[frozen > timedelta(0)].append(seconds)
    return SoakReport(
        seed=seed,
        messages=len(observed.messages),
        fault_seconds=fault_seconds,
        seconds_to_idle=seconds_to_idle,
        is_idle=is_idle,
        duplicates=len({v.message_id for v in violations if v.invariant == _DUPLICATE}),
        lost=len({v.message_id for v in violations if v.invariant == _LOST}),
        unresolved=unresolved,
        max_unresolved=max(1, sendable // _UNRESOLVED_OF),
        indistinguishable=indistinguishable,
        forgotten_in_part=sum(
            forgotten_in_part(message, observed.forgotten) for message in observed.messages
        ),
        claims_held=claims_held,
        after_stop=sorted(after_stop[False]),
        after_stop_frozen=sorted(after_stop[True]),
        faults=dict(faults),
        twilio_faults=dict(twilio_faults),
        outcomes=dict(outcomes),
        submissions={each.name.lower(): submissions[each.name.lower()] for each in Reason},
        callbacks=dict(
            Counter(str(row["http_status"] or row["error"]) for row in observed.ledger["callbacks"])
        ),
        slowest_healthy=slowest,
        unexpected_exits=unexpected_exits,
        violations=violations,
    )


def _claims_held(message: MessageRecord) -> int:
    """Without those that a reset has copied into a later run."""
    held = {
        event
        for run in message.runs
        for event in run.events
        if isinstance(event, SendFinished) and event.is_claim_held
    }
    return len(held)


def _times(seconds: Sequence[float]) -> str:
    if not seconds:
        return "none"
    p50, p99 = (seconds[min(int(len(seconds) * part), len(seconds) - 1)] for part in (0.5, 0.99))
    milliseconds = (f"{1000 * each:.0f}" for each in (p50, p99, seconds[-1]))
    return f"{len(seconds)}, p50 / p99 / max {' / '.join(milliseconds)} ms"


def _outcome_of(message: MessageRecord) -> str:
    history = message.history
    if history is None or history.closed_at is None:
        return "none"
    return history.report.outcome.value if history.report is not None else "bad input"


def twilio_faults_in(journal: Path) -> Counter[str]:
    """Twilio's faults by kind, from the sandbox's journal."""
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
