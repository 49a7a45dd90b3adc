"""The demo's campaign, and an urgent message that is sent before the rows that are waiting."""

import asyncio
import csv
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from temporalio.client import WorkflowFailureError
from temporalio.service import RPCError

from devtools.sandbox.client import AcceptedRow
from devtools.stack.local import LocalStack
from signedfor.client import Client, NotFound
from signedfor.contract import (
    Outcome,
    campaign_message_id,
    campaign_workflow_id,
)
from signedfor.store.rate_limiter_statements import URGENT_BURST_TOLERANCE

CAMPAIGN_ID: Final = "demo-fair"
CODE_ID: Final = "demo-code"
SENDER: Final = "+15558670199"
RATE: Final = 5
"""Segments a second."""
CODE_TO: Final = "+15558670107"
CODE_TEXT: Final = "482913 is your code."
RECIPIENTS: Final = tuple(f"+155586702{number:02}" for number in range(30))
TEXT: Final = "Stand {stand} is yours at the fair."

_FILE = "recipients.csv"
_ROWS_BEFORE = 10
"""Rows at Twilio before the urgent message is sent."""
_MIN_OVERTAKEN = 1 / 3
"""Of the waiting rows. In order of arrival it would be none; a slow machine takes a second."""
_MAX_IN_A_SECOND = 3 * RATE
"""The rate limiter admits at most twice the rate; the rest is for a machine that delayed POSTs."""
_TIMEOUT_SECONDS = 60
_POLL_SECONDS = 0.05


@dataclass(frozen=True, kw_only=True)
class Arrival:
    """A message that Twilio has accepted from the campaign's sender."""

    at: float
    to: str
    segments: int = 1


@dataclass(frozen=True, kw_only=True)
class CampaignRun:
    """What was observed. Times are epoch seconds, by Temporal's, the demo's and Twilio's clocks."""

    started: float
    """When the campaign's workflow was started."""
    code_sent: float
    """When the urgent message was sent."""
    arrivals: tuple[Arrival, ...]
    """In the order in which Twilio accepted them."""
    undelivered: int
    """Messages that did not end as delivered."""

    @property
    def rows(self) -> tuple[Arrival, ...]:
        """The arrivals of the campaign."""
        return tuple(each for each in self.arrivals if each.to != CODE_TO)

    @property
    def code(self) -> Arrival | None:
        """The urgent message, if it has reached Twilio."""
        return next((each for each in self.arrivals if each.to == CODE_TO), None)

    @property
    def sent_before(self) -> int:
        """Rows at Twilio when the urgent message was sent."""
        return sum(each.at < self.code_sent for each in self.rows)

    @property
    def waiting(self) -> int:
        """Rows that were waiting at that time."""
        return len(RECIPIENTS) - self.sent_before

    @property
    def overtaken(self) -> int:
        """Rows that reached Twilio after the urgent message."""
        return sum(self.code is not None and each.at > self.code.at for each in self.rows)

    @property
    def busiest(self) -> int:
        """The maximum of segments in any second."""
        return max(
            (
                sum(each.segments for each in self.arrivals if begin <= each.at < begin + 1)
                for begin in (each.at for each in self.arrivals)
            ),
            default=0,
        )

    @property
    def timeline(self) -> list[tuple[float, str]]:
        """What happened, in order of time."""
        sent, waiting = self.sent_before, self.waiting
        happened = [
            (self.started, f"The campaign starts: `signedfor campaign start {_FILE} --yes`."),
            (
                self.code_sent,
                f"An urgent message is sent: {sent} rows are at Twilio, {waiting} are waiting.",
            ),
        ]
        if self.rows:
            happened.append((self.rows[0].at, "Twilio accepts the first row."))
            happened.append((self.rows[-1].at, "Twilio accepts the last row."))
        if self.code is not None:
            took = self.code.at - self.code_sent
            text = (
                f"Twilio accepts the urgent message after {took:.2f} s, "
                f"before {self.overtaken} of the rows."
            )
            happened.append((self.code.at, text))
        return sorted(happened)

    @property
    def problems(self) -> tuple[str, ...]:
        """What was not as expected."""
        return tuple(_problems(self))


def _problems(run: CampaignRun) -> list[str]:
    times = Counter(each.to for each in run.arrivals)
    expected = {*RECIPIENTS, CODE_TO}
    found = []
    if wrong := sum(times[to] != (to in expected) for to in expected | times.keys()):
        found.append(f"{wrong} of {len(expected)} messages did not reach Twilio exactly once")
    if run.undelivered:
        found.append(f"{run.undelivered} of {len(expected)} messages were not delivered")
    if run.overtaken < max(1, _MIN_OVERTAKEN * run.waiting):
        found.append(
            f"only {run.overtaken} of {run.waiting} waiting rows were sent after the urgent message"
        )
    if run.busiest > _MAX_IN_A_SECOND:
        found.append(f"{run.busiest} segments in one second, at a rate of {RATE}")
    # Exact on any machine: delays only make it longer.
    took, least = _length(run), (len(run.arrivals) - 1) / RATE - URGENT_BURST_TOLERANCE
    if took < least:
        found.append(f"it took {took:.1f} s; at {RATE} segments a second it takes {least:.1f} s")
    return found


def _length(run: CampaignRun) -> float:
    return run.arrivals[-1].at - run.started if run.arrivals else 0


def texts() -> list[str]:
    """The texts of all messages."""
    return [CODE_TEXT, *(TEXT.format(stand=stand) for stand, _ in _rows())]


async def run_campaign(stack: LocalStack, client: Client) -> CampaignRun:
    """Run the campaign by command, send the urgent message meanwhile, and wait for both."""
    with (stack.folder / _FILE).open("w", newline="") as file:
        csv.writer(file).writerows([("stand", "to"), *_rows()])
    await asyncio.to_thread(_start_campaign, stack)
    await _until(stack, lambda arrivals: len(arrivals) >= _ROWS_BEFORE)
    code_sent = time.time()
    await client.send(
        {"to": CODE_TO, "from": SENDER, "body": CODE_TEXT, "priority": "urgent"},
        message_id=CODE_ID,
    )
    await _until(stack, lambda arrivals: {*RECIPIENTS, CODE_TO} <= {each.to for each in arrivals})
    rows = range(1, len(RECIPIENTS) + 1)
    ids = [CODE_ID, *(campaign_message_id(CAMPAIGN_ID, row) for row in rows)]
    delivered = await asyncio.gather(*(_is_delivered(client, each) for each in ids))
    temporal = await stack.client()
    campaign = await temporal.get_workflow_handle(campaign_workflow_id(CAMPAIGN_ID)).describe()
    return CampaignRun(
        started=campaign.start_time.timestamp(),
        code_sent=code_sent,
        arrivals=await asyncio.to_thread(_arrivals, stack),
        undelivered=delivered.count(False),
    )


def _rows() -> list[tuple[str, str]]:
    return [(f"{number}A", to) for number, to in enumerate(RECIPIENTS, start=1)]


def _start_campaign(stack: LocalStack) -> None:
    stack.signedfor("senders", "rate", SENDER, str(RATE))
    file = str(stack.folder / _FILE)
    stack.signedfor(
        *("campaign", "start", file, "--yes", "--id", CAMPAIGN_ID),
        *("--from", SENDER, "--body", TEXT),
    )


async def _until(stack: LocalStack, condition: Callable[[Sequence[Arrival]], bool]) -> None:
    """Wait for the condition or the timeout; `problems` then shows what is missing."""
    give_up_at = time.monotonic() + _TIMEOUT_SECONDS
    while True:
        if condition(await asyncio.to_thread(_arrivals, stack)) or time.monotonic() > give_up_at:
            return
        await asyncio.sleep(_POLL_SECONDS)


def _arrivals(stack: LocalStack) -> tuple[Arrival, ...]:
    accepted: list[AcceptedRow] = stack.sandbox.ledger()["accepted"]
    return tuple(
        Arrival(at=row["created"], to=row["to"], segments=row["segments"])
        for row in accepted
        if row["from"] == SENDER
    )


async def _is_delivered(client: Client, message_id: str) -> bool:
    try:
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            report = await client.message(message_id).report()
    except (TimeoutError, NotFound, RPCError, WorkflowFailureError):
        return False
    return report.outcome is Outcome.DELIVERED
