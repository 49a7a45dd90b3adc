"""What a message waits for, and what to do about it: the texts for operators.

None holds a phone number, a text or a token: Temporal's UI shows them to everybody who can open it.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Final

from signedfor.contract import CampaignState, MessageReport, Outcome, Progress, Stage
from signedfor.contract.failures import RECORDED
from signedfor.twilio import codes


class WaitsFor(StrEnum):
    """What a message waits for, as `Progress.waiting_for` says it."""

    FIRST_CHECK = "its first check"
    ANSWER = "Twilio to accept it"
    NEXT_ATTEMPT = "its next attempt"
    SEND_AT = "its send_at"
    SENDER_RATE = "its sender's rate limit"
    ACCOUNT_RATE = "the account's rate limit"
    WINDOW = "its send window to open"
    LIMIT = "a place within a limit"
    """The rule of MESSAGE_LIMITS follows, after a colon."""
    RESUME = "its sender or campaign to be resumed"
    ACCOUNT = "Twilio to take the account's requests again"
    DATABASE = "the database"
    CLOCK = "a worker whose clock is right"
    SID = "a callback, or Twilio's list, to name its SID"
    RECEIPT = "a receipt from Twilio"
    RESUBMISSION = "being sent again as a new Twilio message"


AT_MOST: Final = frozenset(
    {
        WaitsFor.ANSWER,
        WaitsFor.RESUME,
        WaitsFor.ACCOUNT,
        WaitsFor.DATABASE,
        WaitsFor.CLOCK,
        WaitsFor.SID,
        WaitsFor.RECEIPT,
    }
)
"""Waits that may end before their time; the others end at it."""

_NOTHING: Final = "Nothing."
_WORKERS: Final = (
    "Nothing, if it is a matter of seconds. Otherwise see whether workers run: `signedfor doctor`."
)
_WAITS: Final[Mapping[WaitsFor, str]] = {
    WaitsFor.FIRST_CHECK: _WORKERS,
    WaitsFor.ANSWER: _WORKERS,
    WaitsFor.NEXT_ATTEMPT: "Nothing: it is tried again by itself.",
    WaitsFor.SEND_AT: "Nothing: it was handed in for a later time.",
    WaitsFor.SENDER_RATE: (
        "Nothing: it has its place in the queue. `signedfor senders list` shows how long that is."
    ),
    WaitsFor.ACCOUNT_RATE: (
        "Nothing: it has its place in the queue. Raise MAX_SENDS_PER_SECOND if Twilio grants the "
        "account more."
    ),
    WaitsFor.WINDOW: "Nothing: people are not texted at that hour.",
    WaitsFor.LIMIT: (
        "Nothing, if it can wait: it is sent when there is a place, or becomes a dead letter after "
        "one window. To let it go sooner, raise the limit in MESSAGE_LIMITS, cancel it, and hand "
        "it in under another id."
    ),
    WaitsFor.RESUME: (
        "Someone has paused it. `signedfor senders list` and `signedfor campaign list` show what "
        "is paused; `signedfor senders resume` and `signedfor campaign resume` end that."
    ),
    WaitsFor.ACCOUNT: "See what `signedfor doctor` says of the Twilio account.",
    WaitsFor.DATABASE: "Bring the database back; `signedfor doctor` says whether it answers.",
    WaitsFor.CLOCK: "Set the clocks of the workers' machines; `signedfor doctor` compares them.",
    WaitsFor.SID: (
        "Do not send it again by hand: the recipient may have it. Callbacks and Twilio's list are "
        "watched, and it is sent again only if neither has it."
    ),
    WaitsFor.RECEIPT: "Nothing: if no receipt comes, Twilio is asked for the status.",
    WaitsFor.RESUBMISSION: "Nothing: a temporary failure is tried again by itself.",
}
_OUTCOMES: Final[Mapping[Outcome, str]] = {
    Outcome.CANCELED: "Send it under another id if it is wanted after all.",
    Outcome.EXPIRED: "Send it under another id, with a later expires_at, if it still makes sense.",
    Outcome.SUPPRESSED: (
        "Nothing: it must not be sent. `signedfor opt-outs list` and `signedfor opt-outs history` "
        "say why."
    ),
}


def what_to_do(progress: Progress) -> str:
    """What an operator should do about a message that is under way."""
    row = codes.find(progress.error_code)
    if progress.waiting_for == WaitsFor.ACCOUNT and row is not None:
        return row.advice
    try:
        return _WAITS[WaitsFor(progress.waiting_for.partition(":")[0])]
    except ValueError:  # as a newer or older worker says it
        return _NOTHING


def what_to_do_after(report: MessageReport) -> str:
    """What an operator should do about a message that has ended."""
    if report.failure_class is not None and report.outcome is not Outcome.SUPPRESSED:
        return codes.advice_for(report.failure_class, report.error_code)
    return _OUTCOMES.get(report.outcome, _NOTHING)


def why_waiting(progress: Progress) -> str:
    """What it waits for, and until when."""
    until = ""
    if progress.until is not None:
        at_most = " at most" if progress.waiting_for in AT_MOST else ""
        until = f", until {moment(progress.until)}{at_most}"
    # Otherwise Twilio's code says why.
    no_answer = progress.status == Stage.RETRYING and progress.error_code is None
    because = " Twilio could not be reached, or did not process it." if no_answer else ""
    return f"Waits for {progress.waiting_for}{until}.{because}"


def commands(progress: Progress, *, campaign_id: str | None = None) -> list[str]:
    """The commands that show and stop a message that is under way, or end its wait."""
    shown = [f"signedfor show {progress.message_id}"]
    if progress.waiting_for == WaitsFor.RESUME:
        shown.append("signedfor senders list")
        if campaign_id is not None:
            shown.append(f"signedfor campaign status {campaign_id}")
    if progress.status != Stage.AWAITING_RECEIPT:  # Twilio has it: too late
        shown.append(f"signedfor cancel {progress.message_id}")
    return shown


def commands_after(report: MessageReport) -> list[str]:
    """The commands for a message that has ended, and for its dead letter if it has one."""
    message_id = report.message_id
    shown = [f"signedfor show {message_id}"]
    if report.dead_letter_id is not None:
        shown.append(f"signedfor dead-letters show {message_id}")
        if report.failure_class not in RECORDED:
            shown.append(f"signedfor dead-letters retry {message_id}")
            shown.append(f"signedfor dead-letters discard {message_id}")
    return shown


_CAMPAIGNS: Final[Mapping[CampaignState, str]] = {
    CampaignState.LOADING: (
        "Nothing, if `signedfor campaign start` is at work. If that was interrupted, run it again: "
        "it continues."
    ),
    CampaignState.RUNNING: "Nothing. To stop it for a while, pause it; for good, cancel it.",
    CampaignState.PAUSED: "Resume it when its messages may be sent again, or cancel it.",
    CampaignState.CANCELED: "Nothing: what Twilio has is followed to its end, no more is sent.",
    CampaignState.FINISHED: "Read the report: it says what became of each row.",
}
_DECISIONS: Final[Mapping[CampaignState, tuple[str, ...]]] = {
    CampaignState.RUNNING: ("status", "pause", "cancel"),
    CampaignState.PAUSED: ("status", "resume", "cancel"),
}


def what_to_do_about_campaign(state: CampaignState) -> str:
    """What an operator should do about a campaign."""
    return _CAMPAIGNS[state]


def campaign_commands(campaign_id: str, state: CampaignState) -> list[str]:
    """The commands for a campaign in this state."""
    names = _DECISIONS.get(state, ("status", "report"))
    return [f"signedfor campaign {name} {campaign_id}" for name in names]


def details_of_inbound(since: datetime) -> str:
    """Markdown for an inbound message that waits for the database."""
    return "\n\n".join(
        [
            f"**waiting** since {moment(since)}",
            "Waits for the database, to record an inbound message and the STOP or START in it.",
            f"**What to do:** {_WAITS[WaitsFor.DATABASE]}",
            as_block(["signedfor doctor"]),
        ]
    )


def twilio_said(error_code: int | None) -> str | None:
    """A code of Twilio's and what it means, with a link to Twilio's page about it."""
    if error_code is None:
        return None
    row = codes.find(error_code)
    meaning = "This version does not know the code." if row is None else row.meaning
    return f"[{error_code}](https://www.twilio.com/docs/api/errors/{error_code}) {meaning}"


def moment(time: datetime) -> str:
    """A time of the workflow's, which is in UTC."""
    return time.strftime("%Y-%m-%d %H:%M:%S UTC")


def as_block(commands: Sequence[str]) -> str:
    """The commands in Markdown, so that they can be copied."""
    return "\n".join(["```sh", *commands, "```"])
