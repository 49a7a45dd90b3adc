"""A message from the command line's options; every bad one is named before anything is started."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import ValidationError

from signedfor.cli.options import checked_message_id, given, option_problems
from signedfor.cli.output import BadInput
from signedfor.cli.window import send_window
from signedfor.contract import MessageRequest
from signedfor.masks import holds_number_of
from signedfor.send_windows import window_problem

OPTIONS = {
    "to": "TO",
    "from": "--from",
    "sender": "--from",
    "body": "--body",
    "media_urls": "--media",
    "content_sid": "--content-sid",
    "content_variables": "--content-variables",
    "priority": "--priority",
    "category": "--category",
    "tenant": "--tenant",
    "send_at": "--send-at",
    "expires_at": "--expires-at",
    "send_window": "--between",
    "send_window.from": "--between",
    "send_window.opens": "--between",
    "send_window.until": "--between",
    "send_window.closes": "--between",
    "send_window.time_zone": "--time-zone",
    "receipt_timeout_seconds": "--receipt-timeout",
    "on_unknown_outcome": "--on-unknown-outcome",
    "tags": "--tag",
}
"""The option for each field of the contract."""


def message_request(
    fields: dict[str, Any],
    *,
    content_variables: str | None,
    tags: Sequence[str],
    message_id: str,
    between: str | None = None,
    days: str | None = None,
    time_zone: str | None = None,
) -> MessageRequest:
    """The request that `fields` (by the contract's names) and the encoded options make.

    Raises:
        BadInput: names every bad option, never its value.
    """
    window, problems = send_window(between, days, time_zone)
    wanted = given({**fields, "send_window": window})
    if content_variables is not None:
        try:
            wanted["content_variables"] = _json_object(content_variables)
        except ValueError as error:
            problems.append((OPTIONS["content_variables"], str(error)))
    if tags:
        try:
            wanted["tags"] = pairs(tags)
        except ValueError as error:
            problems.append((OPTIONS["tags"], str(error)))
    try:
        checked_message_id(message_id, field="--id", workflow_id_too=False)
    except BadInput as error:
        problems += error.problems
    try:
        request = MessageRequest.model_validate(wanted)
    except ValidationError as error:
        raise BadInput(option_problems(error, OPTIONS) + problems) from None
    problems += _recipient_problems(request, message_id)
    if problems:
        raise BadInput(problems)
    return request


def _recipient_problems(request: MessageRequest, message_id: str) -> Iterator[tuple[str, str]]:
    """What is right by itself, and not for this recipient."""
    for option, text in (("--id", message_id), ("--tenant", request.tenant or "")):
        if holds_number_of(text, request.to):
            yield option, "must not contain the recipient's number: it shows in clear"
    if request.send_window and (fault := window_problem(request.send_window, request.to)):
        yield OPTIONS["send_window"], fault


def differing_fields(one: MessageRequest, other: MessageRequest) -> list[str]:
    """The names of the fields in which two requests differ."""
    fields, others = one.model_dump(), other.model_dump()
    return [name for name in fields if fields[name] != others[name]]


def _json_object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        raise ValueError("is not JSON") from None
    if not isinstance(value, dict):
        raise ValueError('must be a JSON object, such as {"1": "Ann"}')  # noqa: TRY004 - bad input
    return value


def pairs(tags: Sequence[str]) -> dict[str, str]:
    """Tags written NAME=VALUE; ValueError says what is wrong."""
    found: dict[str, str] = {}
    for tag in tags:
        name, equals, value = tag.partition("=")
        if not equals or not name:
            raise ValueError("must be name=value")
        if name in found:
            raise ValueError("has a name twice")
        found[name] = value
    return found
