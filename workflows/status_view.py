"""What operators see of a message in Temporal: search attributes and the UI's details."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from temporalio import workflow
from temporalio.common import SearchAttributeKey, SearchAttributeUpdate

from signedfor import advice
from signedfor.contract import MessageReport, MessageRequest, Progress, Stage
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
        request: MessageRequest,
        retry_until: datetime | None = None,
        report: MessageReport | None = None,
        is_overdue: bool = False,
    ) -> None:
        """Show the progress; an overdue stage is shown even if it is usually brief."""
        if is_overdue or progress.status not in _BRIEF or self._differs(progress.status):
            self._write_attributes(
                (MESSAGE_STATUS, progress.status),
                (MESSAGE_SENDER, progress.sender),
                (TENANT, request.tenant),
                (CAMPAIGN_ID, request.campaign_id),
                (TWILIO_SID, progress.message_sid),
                (TWILIO_ERROR_CODE, progress.error_code),
            )
        workflow.set_current_details(
            _details_while_waiting(
                progress, campaign_id=request.campaign_id, retry_until=retry_until
            )
            if report is None
            else _details(progress, report)
        )

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


def summary_of_wait(waiting_for: str, until: datetime, *, then: str = "") -> str:
    """What a timer or an activity that waits is called in the UI."""
    return f"waits for {waiting_for} until {advice.moment(until)}{then}"


def after_code(error_code: int | None) -> str:
    """The reason for another attempt, if Twilio gave one."""
    return f", after Twilio's {error_code}" if error_code else ""


def _details_while_waiting(
    progress: Progress, *, campaign_id: str | None, retry_until: datetime | None
) -> str:
    """Why it waits, since when and until when, and what to do. No recipient and no text."""
    return _markdown(
        progress,
        advice.why_waiting(progress),
        what_to_do=advice.what_to_do(progress),
        error_code=progress.error_code,
        facts={"Tried until": advice.moment(retry_until) if retry_until else None},
        commands=advice.commands(progress, campaign_id=campaign_id),
    )


def _details(progress: Progress, report: MessageReport) -> str:
    """How it ended and why, and what to do. No recipient and no text."""
    return _markdown(
        progress,
        report.reason,
        what_to_do=advice.what_to_do_after(report),
        error_code=report.error_code,
        facts={"Failure class": report.failure_class},
        commands=advice.commands_after(report),
    )


def _markdown(
    progress: Progress,
    why: str,
    *,
    what_to_do: str,
    error_code: int | None,
    facts: Mapping[str, str | None],
    commands: Sequence[str],
) -> str:
    all_facts = {
        **facts,
        "Attempts": str(progress.attempts) if progress.attempts else None,
        "Sender": progress.sender,
        "Twilio message": progress.message_sid,
        "Twilio status": progress.twilio_status,
        "Unknown Twilio statuses": ", ".join(progress.unknown_statuses) or None,
    }
    listed = [f"- {name}: {value}" for name, value in all_facts.items() if value is not None]
    said = advice.twilio_said(error_code)
    reason = [] if said is not None and said.endswith(why) else [why]  # else it is said twice
    paragraphs = [
        f"**{progress.status}** since {advice.moment(progress.since)}",
        *reason,
        *([f"**Twilio said:** {said}"] if said is not None else []),
        f"**What to do:** {what_to_do}",
        *(["\n".join(listed)] if listed else []),
        advice.as_block(commands),
    ]
    return "\n\n".join(paragraphs)
