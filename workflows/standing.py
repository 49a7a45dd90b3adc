"""Where a message stands, as an operator sees it: search attributes and the UI's details."""

from datetime import datetime
from typing import Any

from temporalio import workflow
from temporalio.common import SearchAttributeKey, SearchAttributeUpdate

from signedfor.contract import Outcome, Progress, Stage
from signedfor.masks import masked_sender
from signedfor.search_attributes import (
    CAMPAIGN_ID,
    MESSAGE_SENDER,
    MESSAGE_STATUS,
    TENANT,
    TWILIO_ERROR_CODE,
    TWILIO_SID,
)

_BRIEF = frozenset({Stage.SENDING, Stage.AWAITING_RECEIPT})
"""Where a message stands for seconds, as a rule."""


class Standing:
    """Stage, since when, what is waited for; told to Temporal when it changes.

    Each upsert of search attributes is a history event, a billable action and a tenth of what a
    message costs the server (docs/performance.md). So a message that goes straight through makes
    one, when it has ended: `sending` and `awaiting_receipt` are written only over another status,
    be it an earlier stage's or one that its caller started it with, and when a receipt is overdue.
    `sending` is not written over `waiting`: the moment between a slot and Twilio's answer.
    """

    def __init__(self) -> None:
        self.message_id = ""
        self.sender: str | None = None
        self.tenant: str | None = None
        self.campaign_id: str | None = None
        self.message_sid: str | None = None
        self.message_sids: tuple[str, ...] = ()
        self.error_code: int | None = None
        self.twilio_status: str | None = None
        self.attempts = 0
        self.status: Stage | Outcome = Stage.SENDING
        self._since = workflow.now()
        self._waiting_for = "its first check"
        self._until: datetime | None = None
        told = workflow.info().typed_search_attributes
        # A campaign starts its messages with its id and a status.
        started_with = {key.name: told.get(key) for key in (CAMPAIGN_ID, MESSAGE_STATUS)}
        self._shown: dict[str, Any] = {
            name: value for name, value in started_with.items() if value is not None
        }

    def enter(self, stage: Stage, waiting_for: str, *, until: datetime | None = None) -> None:
        """The message now stands at `stage` and waits for `waiting_for`, at most `until`."""
        if stage is not self.status:
            self._since = workflow.now()
        self.status, self._waiting_for, self._until = stage, waiting_for, until
        if stage not in _BRIEF or self._says_otherwise(stage):
            self.show()
        self._describe()

    def _says_otherwise(self, stage: Stage) -> bool:
        shown = self._shown.get(MESSAGE_STATUS.name, stage)
        return shown != stage and (shown, stage) != (Stage.WAITING, Stage.SENDING)

    def end(self, outcome: Outcome, reason: str) -> None:
        """The message has ended."""
        self._since = workflow.now()
        self.status, self._waiting_for, self._until = outcome, f"nothing: {reason}", None
        self.show()
        self._describe()

    def progress(self, *, unknown_statuses: tuple[str, ...]) -> Progress:
        """The answer to the query."""
        return Progress(
            message_id=self.message_id,
            status=self.status,
            since=self._since,
            waiting_for=self._waiting_for,
            until=self._until,
            sender=masked_sender(self.sender) if self.sender else None,
            message_sid=self.message_sid,
            message_sids=self.message_sids,
            twilio_status=self.twilio_status,
            error_code=self.error_code,
            attempts=self.attempts,
            unknown_statuses=unknown_statuses,
        )

    def show(self) -> None:
        """Have the search attributes say where it stands."""
        wanted: list[tuple[SearchAttributeKey[Any], Any]] = [
            (MESSAGE_STATUS, self.status.value),
            (MESSAGE_SENDER, masked_sender(self.sender) if self.sender else None),
            (TENANT, self.tenant),
            (CAMPAIGN_ID, self.campaign_id),
            (TWILIO_SID, self.message_sid),
            (TWILIO_ERROR_CODE, self.error_code),
        ]
        updates: list[SearchAttributeUpdate[Any]] = []
        for key, value in wanted:
            if self._shown.get(key.name) != value:
                updates.append(key.value_unset() if value is None else key.value_set(value))
                self._shown[key.name] = value
        if updates:
            workflow.upsert_search_attributes(updates)

    def _describe(self) -> None:
        """Markdown for the Temporal UI. It holds no recipient and no text."""
        lines = [
            f"**{self.status.value}** since {_clock(self._since)}",
            f"Waits for {self._waiting_for}"
            + (f", at most until {_clock(self._until)}." if self._until else "."),
        ]
        facts = {
            "Sender": masked_sender(self.sender) if self.sender else None,
            "Twilio message": self.message_sid,
            "Twilio status": self.twilio_status,
            "Twilio error code": self.error_code,
            "Attempts": self.attempts or None,
        }
        lines += [f"- {name}: {value}" for name, value in facts.items() if value is not None]
        workflow.set_current_details("\n".join([lines[0], "", lines[1], "", *lines[2:]]))


def _clock(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S UTC")
