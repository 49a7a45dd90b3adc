"""What operators see of a message in Temporal: search attributes and the UI's details."""

from datetime import datetime
from typing import Any

from temporalio import workflow
from temporalio.common import SearchAttributeKey, SearchAttributeUpdate

from signedfor.contract import Progress, Stage
from signedfor.search_attributes import (
    CAMPAIGN_ID,
    MESSAGE_SENDER,
    MESSAGE_STATUS,
    TENANT,
    TWILIO_ERROR_CODE,
    TWILIO_SID,
)

_BRIEF = frozenset({Stage.SENDING, Stage.AWAITING_RECEIPT})
"""Stages that usually last for seconds."""


class StatusView:
    """Writes a message's progress where operators see it; nothing is read back from it.

    Each upsert of search attributes is a history event, a billable action and a tenth of what a
    message costs the server. So a message that goes straight through makes one, when it has ended:
    `sending` and `awaiting_receipt` are written only over another status, be it an earlier stage's
    or one that its caller started it with, and when a receipt is overdue. `sending` is not written
    over `waiting`: that is the moment between a reserved time and Twilio's answer.
    """

    def __init__(self) -> None:
        attributes = workflow.info().typed_search_attributes
        # A caller may start the message with a status, a campaign with its id too.
        started_with = {key.name: attributes.get(key) for key in (CAMPAIGN_ID, MESSAGE_STATUS)}
        self._written: dict[str, Any] = {
            name: value for name, value in started_with.items() if value is not None
        }

    def publish(
        self,
        progress: Progress,
        *,
        tenant: str | None,
        campaign_id: str | None,
        is_overdue: bool = False,
    ) -> None:
        """Show the progress; an overdue stage is shown even if it is usually brief."""
        if is_overdue or progress.status not in _BRIEF or self._differs(progress.status):
            self._write_attributes(
                (MESSAGE_STATUS, progress.status),
                (MESSAGE_SENDER, progress.sender),
                (TENANT, tenant),
                (CAMPAIGN_ID, campaign_id),
                (TWILIO_SID, progress.message_sid),
                (TWILIO_ERROR_CODE, progress.error_code),
            )
        workflow.set_current_details(_details(progress))

    def _differs(self, status: str) -> bool:
        written = self._written.get(MESSAGE_STATUS.name, status)
        return written != status and (written, status) != (Stage.WAITING, Stage.SENDING)

    def _write_attributes(self, *wanted: tuple[SearchAttributeKey[Any], Any]) -> None:
        updates: list[SearchAttributeUpdate[Any]] = []
        for key, value in wanted:
            if self._written.get(key.name) != value:
                updates.append(key.value_unset() if value is None else key.value_set(value))
                self._written[key.name] = value
        if updates:
            workflow.upsert_search_attributes(updates)


def _details(progress: Progress) -> str:
    """Markdown for the Temporal UI. It holds no recipient and no text."""
    wait = f"Waits for {progress.waiting_for}"
    if progress.until:
        wait += f", until {_time(progress.until)} at most"
    facts = {
        "Sender": progress.sender,
        "Twilio message": progress.message_sid,
        "Twilio status": progress.twilio_status,
        "Twilio error code": progress.error_code,
        "Attempts": progress.attempts or None,
    }
    return "\n".join(
        [
            f"**{progress.status}** since {_time(progress.since)}",
            "",
            f"{wait}.",
            "",
            *(f"- {name}: {value}" for name, value in facts.items() if value is not None),
        ]
    )


def _time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S UTC")
