"""A small campaign in the demo, and an urgent message that overtakes it: played, timed, judged."""

import asyncio
import csv
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from temporalio.client import Client, WorkflowFailureError
from temporalio.service import RPCError

from devtools.sandbox.client import AcceptedRow
from devtools.stack.local import LocalStack
from devtools.stack.play import start
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
_ROWS_FIRST = 10
"""So many rows are sent before the code is handed in."""
_LEAST_OVERTAKEN = 1 / 3
"""Of the rows that wait. In the order of arrival it would be none; slow machines take a second."""
_MOST_IN_A_SECOND = 3 * RATE
"""Twice the rate is what the gate lets by at most; the rest is for a machine that held POSTs up."""
_PATIENCE_SECONDS = 60
_POLL_SECONDS = 0.05


@dataclass(frozen=True, kw_only=True)
class Arrival:
    """A message that Twilio has accepted from the campaign's sender."""

    at: float
    to: str
    segments: int = 1


@dataclass(frozen=True, kw_only=True)
class Overtaking:
    """What was seen. Times are epoch seconds, by the clocks of Temporal, the demo and Twilio."""

    began: float
    """When the campaign's workflow was started."""
    handed_in: float
    """When the urgent code was."""
    arrivals: tuple[Arrival, ...]
    """In the order in which Twilio accepted them."""
    undelivered: int
    """Messages that did not end as delivered."""

    @property
    def rows(self) -> tuple[Arrival, ...]:
        """Those of the campaign."""
        return tuple(each for each in self.arrivals if each.to != CODE_TO)

    @property
    def code(self) -> Arrival | None:
        """The code, where it has reached Twilio."""
        return next((each for each in self.arrivals if each.to == CODE_TO), None)

    @property
    def sent_before(self) -> int:
        """Rows that were at Twilio when the code was handed in."""
        return sum(each.at < self.handed_in for each in self.rows)

    @property
    def waiting(self) -> int:
        """Rows that were not."""
        return len(RECIPIENTS) - self.sent_before

    @property
    def overtaken(self) -> int:
        """Rows that reached Twilio after the code."""
        return sum(self.code is not None and each.at > self.code.at for each in self.rows)

    @property
    def busiest(self) -> int:
        """The most segments in any one second."""
        return max(
            (
                sum(each.segments for each in self.arrivals if begin <= each.at < begin + 1)
                for begin in (each.at for each in self.arrivals)
            ),
            default=0,
        )

    @property
    def timeline(self) -> list[tuple[float, str]]:
        """What happened when, in order."""
        sent, waiting = self.sent_before, self.waiting
        happened = [
            (self.began, f"The campaign begins: `signedfor campaign start {_FILE} --yes`."),
            (self.handed_in, f"The code is handed in: {sent} rows are sent, {waiting} wait."),
        ]
        if self.rows:
            happened.append((self.rows[0].at, "The first row reaches Twilio."))
            happened.append((self.rows[-1].at, "The last row reaches Twilio."))
        if self.code is not None:
            took = self.code.at - self.handed_in
            text = f"The code reaches Twilio, {took:.2f} s later and before {self.overtaken} rows."
            happened.append((self.code.at, text))
        return sorted(happened)

    @property
    def problems(self) -> tuple[str, ...]:
        """In which respects it did not go as it must."""
        return tuple(_problems(self))


def _problems(seen: Overtaking) -> list[str]:
    times = Counter(each.to for each in seen.arrivals)
    expected = {*RECIPIENTS, CODE_TO}
    found = []
    if wrong := sum(times[to] != (to in expected) for to in expected | times.keys()):
        found.append(f"{wrong} of {len(expected)} messages did not reach Twilio exactly once")
    if seen.undelivered:
        found.append(f"{seen.undelivered} of {len(expected)} messages were not delivered")
    if seen.overtaken < max(1, _LEAST_OVERTAKEN * seen.waiting):
        found.append(f"the code overtook {seen.overtaken} of {seen.waiting} rows that waited")
    if seen.busiest > _MOST_IN_A_SECOND:
        found.append(f"{seen.busiest} segments reached Twilio in one second, at {RATE} a second")
    # Exact, however slow the machine is: whatever is late only makes it longer.
    took, least = _length(seen), (len(seen.arrivals) - 1) / RATE - URGENT_BURST_TOLERANCE
    if took < least:
        found.append(f"it was over in {took:.1f} s; at {RATE} a second it takes {least:.1f} s")
    return found


def _length(seen: Overtaking) -> float:
    return seen.arrivals[-1].at - seen.began if seen.arrivals else 0


def texts() -> list[str]:
    """What is sent to somebody."""
    return [CODE_TEXT, *(TEXT.format(stand=stand) for stand, _ in _rows())]


async def overtake(stack: LocalStack, client: Client) -> Overtaking:
    """Start the campaign as a person does, hand the code in amid it, and watch both to the end."""
    with (stack.folder / _FILE).open("w", newline="") as file:
        csv.writer(file).writerows([("stand", "to"), *_rows()])
    await asyncio.to_thread(_start_campaign, stack)
    await _until(stack, lambda arrivals: len(arrivals) >= _ROWS_FIRST)
    handed_in = time.time()
    code = await start(
        client,
        CODE_ID,
        {"to": CODE_TO, "from": SENDER, "body": CODE_TEXT, "priority": "urgent"},
    )
    await _until(stack, lambda arrivals: {*RECIPIENTS, CODE_TO} <= {each.to for each in arrivals})
    numbers = range(1, len(RECIPIENTS) + 1)
    ids = [code.id, *(f"message:{CAMPAIGN_ID}:{number}" for number in numbers)]
    delivered = await asyncio.gather(*(_is_delivered(client, each) for each in ids))
    campaign = await client.get_workflow_handle(f"campaign:{CAMPAIGN_ID}").describe()
    return Overtaking(
        began=campaign.start_time.timestamp(),
        handed_in=handed_in,
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


async def _until(stack: LocalStack, is_so: Callable[[Sequence[Arrival]], bool]) -> None:
    """Wait until it is so, or the demo's patience is over: what is missing then will be told."""
    give_up_at = time.monotonic() + _PATIENCE_SECONDS
    while True:
        if is_so(await asyncio.to_thread(_arrivals, stack)) or time.monotonic() > give_up_at:
            return
        await asyncio.sleep(_POLL_SECONDS)


def _arrivals(stack: LocalStack) -> tuple[Arrival, ...]:
    accepted: list[AcceptedRow] = stack.sandbox.ledger()["accepted"]
    return tuple(
        Arrival(at=row["created"], to=row["to"], segments=row["segments"])
        for row in accepted
        if row["from"] == SENDER
    )


async def _is_delivered(client: Client, workflow_id: str) -> bool:
    handle = client.get_workflow_handle(workflow_id, result_type=dict[str, Any])
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            report = await handle.result()
    except (TimeoutError, RPCError, WorkflowFailureError):  # not over, not there, or failed
        return False
    return bool(report["outcome"] == "delivered")
