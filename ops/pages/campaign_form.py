"""The form for a new campaign: its fields as a message, and what is wrong with them."""

import re
from collections.abc import Sequence
from typing import Any, Final

from pydantic import ValidationError
from starlette.exceptions import HTTPException

from ops.web import Page
from signedfor.campaigns.progress import checked_campaign_id
from signedfor.contract import CampaignMessage
from signedfor.contract.fields import named_values, problems_in
from signedfor.errors import BadInput
from signedfor.quiet_hours import unknown_names_problem
from signedfor.time_zones import TIME_ZONES

TO_COLUMN: Final = "to"
_LABELS: Final = {
    "file": "File",
    "to_column": "Column with the recipients",
    "from": "Sender",
    "body": "Text",
    "media_urls": "Media",
    "priority": "Priority",
    "category": "Category",
    "tenant": "Tenant",
    "id": "Campaign ID",
    "expires_at": "Expires",
    "send_window": "Send window",
    "between": "Send window",
    "quiet_hours": "Quiet hours",
    "time_zone": "Time zone",
    "price": "Price per segment",
    "receipt_timeout_seconds": "Wait for receipts",
    "on_unknown_outcome": "If it stays unknown whether Twilio took a message",
    "tags": "Tags",
}
"""What the form calls a field of the contract, or an option of the command line."""
_NEEDED: Final = {"from": "is needed, since DEFAULT_SENDER is not set", "body": "is needed"}
_OPTION: Final = re.compile(r"--[a-z][a-z-]+")
_MAX_DIGITS: Final = 9
Problems = list[tuple[str, str]]


def chosen_id(page: Page, problems: Problems) -> str | None:
    """The campaign's id, if one was chosen; adds to `problems`."""
    try:
        return checked_campaign_id(page.text("id"), field="id") if page.text("id") else None
    except BadInput as error:
        problems += error.problems
        return None


def message_of(page: Page, problems: Problems) -> CampaignMessage | None:
    """The message of the form; adds to `problems`, never a value."""
    body = page.form.get("body")
    fields: dict[str, Any] = {
        "from": page.text("from") or page.services.settings.default_sender,
        # A browser sends line breaks as CR LF.
        "body": body.replace("\r\n", "\n") if isinstance(body, str) else "",
        "media_urls": page.text("media_urls").split(),
        "send_window": _send_window(page, problems),
        "receipt_timeout_seconds": _whole_number(page.text("receipt_timeout_seconds")),
        "on_unknown_outcome": page.text("on_unknown_outcome"),
        "tags": _tags(page, problems),
    }
    fields |= {name: page.text(name) for name in ("priority", "category", "tenant")}
    try:
        fields["expires_at"] = page.moment("expires_at")
    except HTTPException:
        problems.append(("expires_at", "must be a time such as 2026-11-29T12:00"))
    for name, what in _NEEDED.items():
        if not (fields[name] or "").strip():
            problems.append((name, what))
            fields[name] = "none"  # it has been named
    given = {name: value for name, value in fields.items() if value or value == 0}
    try:
        return CampaignMessage.model_validate(given)
    except ValidationError as error:
        problems += problems_in(error)
        return None


def _whole_number(text: str) -> int | str:
    """The number; else the text, which the contract refuses."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS else text


def _tags(page: Page, problems: Problems) -> dict[str, str]:
    lines = [line.strip() for line in page.text("tags").splitlines()]
    try:
        return named_values(filter(None, lines))
    except ValueError as error:
        problems.append(("tags", str(error)))
        return {}


def _send_window(page: Page, problems: Problems) -> dict[str, Any] | None:
    quiet_hours = [str(each) for each in page.form.getlist("quiet_hours")]
    if (unknown := unknown_names_problem(quiet_hours)) is not None:
        problems.append(("quiet_hours", unknown))
        quiet_hours = []
    time_zone = page.text("time_zone")
    if time_zone and time_zone not in TIME_ZONES:
        what = "is not an IANA time zone; give a name such as Europe/Berlin"
        problems.append(("time_zone", what))
        time_zone = ""
    window: dict[str, Any] = {
        "from": page.text("opens"),
        "until": page.text("closes"),
        "days": page.form.getlist("days"),
        "quiet_hours": quiet_hours,
        "time_zone": time_zone,
    }
    return {name: value for name, value in window.items() if value} or None


def labelled(problems: Sequence[tuple[str, str]]) -> Problems:
    """Each problem with the form's name of its field."""
    return [(label(field), in_words(what)) for field, what in problems]


def label(field: str) -> str:
    """The form's label of a field such as `send_window.quiet_hours.0` or `--from`."""
    parts = field.removeprefix("--").replace("-", "_").split(".")
    if parts[0] == "send_window" and parts[-1] == "from":  # not the sender
        parts = parts[:1]
    labels = [_LABELS[part] for part in parts if part in _LABELS]
    return labels[-1] if labels else field


def in_words(sentence: str) -> str:
    """The sentence with the form's labels in place of the command line's options."""
    return _OPTION.sub(lambda found: f"“{label(found[0])}”", sentence)
