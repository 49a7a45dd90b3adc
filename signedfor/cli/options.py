"""Options that several commands share, and how their values become the contract's fields."""

import contextlib
import getpass
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, TypeVar

import typer
from pydantic import BaseModel, TypeAdapter, ValidationError

from signedfor.cli.output import BadInput, Output
from signedfor.contract import OnUnknownOutcome
from signedfor.contract.fields import (
    MAX_TEMPLATE_CHARACTERS,
    MessageId,
    field_name,
    named_values,
    problems_in,
    zoned_time,
)
from signedfor.masks import check_no_number
from signedfor.notes import check_note_on
from signedfor.strict_json import InvalidJson, parse_json

_Model = TypeVar("_Model", bound=BaseModel)
_Value = TypeVar("_Value")

Problems = list[tuple[str, str]]
"""Pairs of an option and what is wrong with it: one error names all of them."""

JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON document on standard output, nothing else.")
]
RevealOption = Annotated[
    bool, typer.Option("--reveal", help="Show phone numbers and texts in full.")
]
MAX_SECONDS: Final = 7 * 86_400.0
"""The longest wait for anything; Temporal's own calls cannot wait for ever."""
MAX_ROW: Final = 10**12
"""More than any table has; SQLite counts to 2⁶³."""

TimeoutOption = Annotated[
    float,
    typer.Option(
        "--timeout",
        metavar="SECONDS",
        min=0.1,
        max=MAX_SECONDS,
        help="How long to wait for a worker's answer.",
    ),
]
ByOption = Annotated[
    str | None,
    typer.Option(
        "--by", metavar="NAME", help="Your name, for the record. Default: your user name."
    ),
]
ReasonOption = Annotated[
    str | None,
    typer.Option(
        "--reason", metavar="TEXT", help="Why, for the record; without anybody's phone number."
    ),
]
LimitOption = Annotated[
    int,
    typer.Option("--limit", metavar="NUMBER", min=1, max=MAX_ROW, help="How many to list at most."),
]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]
QueryOption = Annotated[
    str | None,
    typer.Option(
        "--query",
        metavar="CLAUSE",
        help='Only those that match, such as "TwilioErrorCode = 21408": a clause for '
        "Temporal's visibility store.",
    ),
]
MediaOption = Annotated[
    list[str] | None,
    typer.Option("--media", metavar="URL", help="Picture or file to attach; repeatable."),
]
CategoryOption = Annotated[
    str | None,
    typer.Option(
        "--category",
        metavar="NAME",
        help="Kind of message, such as marketing: people can opt out of one kind.",
    ),
]
TenantOption = Annotated[
    str | None,
    typer.Option("--tenant", metavar="NAME", help="The customer of yours that it is sent for."),
]
ExpiresAtOption = Annotated[
    str | None,
    typer.Option(
        "--expires-at",
        metavar="TIME",
        help="Never submit it after this time: RFC 3339, such as 2030-01-31T09:00:00+01:00.",
    ),
]
ReceiptTimeoutOption = Annotated[
    int | None,
    typer.Option(
        "--receipt-timeout",
        metavar="SECONDS",
        help="How long to wait for the delivery receipt. Default: 12 hours.",
    ),
]
OnUnknownOutcomeOption = Annotated[
    OnUnknownOutcome | None,
    typer.Option(
        "--on-unknown-outcome",
        metavar="|".join(OnUnknownOutcome),
        help="If it cannot be found out whether Twilio accepted a message: send it again, or "
        "open a dead letter. Default: resend; for bulk: dead_letter.",
    ),
]
TagOption = Annotated[
    list[str] | None,
    typer.Option("--tag", metavar="NAME=VALUE", help="Label of your own; repeatable."),
]
SinceOption = Annotated[
    str | None,
    typer.Option(
        "--since",
        metavar="WHEN",
        help="Only from then on: 90m, 24h or 7d ago, or an RFC 3339 time.",
    ),
]
UntilOption = Annotated[
    str | None,
    typer.Option("--until", metavar="WHEN", help="Only before then, in the same forms."),
]
MessageIdArgument = Annotated[str, typer.Argument(metavar="MESSAGE_ID", show_default=False)]

TIMEOUT: Final = 30.0

OPTIONS: Final[Mapping[str, str]] = {
    "message_id": "--id",
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
    "send_window.quiet_hours": "--quiet-hours",
    "send_window.time_zone": "--time-zone",
    "receipt_timeout_seconds": "--receipt-timeout",
    "on_unknown_outcome": "--on-unknown-outcome",
    "tags": "--tag",
    "by": "--by",
    "note": "--note",
    "reason": "--reason",
}
"""The option for each field of the contract."""

_message_id = TypeAdapter(MessageId)
# Bytes: UTF-8 takes at most four for a character, and a line break may follow.
_MAX_TEXT_BYTES = 4 * (MAX_TEMPLATE_CHARACTERS + 4)
MAX_SINCE_DAYS: Final = 3650
_UNITS: Final = {"m": "minutes", "h": "hours", "d": "days"}


def operator(by: str | None) -> str:
    """The given name, or that of the user who runs this process.

    Raises:
        BadInput: the name has a phone number.
    """
    if by is not None:
        check_no_number(by, field="--by")
        return by
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user need not have a name
        return "unknown user"


def check_reason(reason: str | None) -> None:
    """Refuse a reason that cannot be stored, or has anybody's phone number: all may read it.

    Raises:
        BadInput: names the option.
    """
    check_note_on((), reason or "", field="--reason", whose="a person's")


def moment(text: str, *, option: str, max_days: int = MAX_SINCE_DAYS) -> datetime:
    """The time that an option names: `24h` is so long ago; or an RFC 3339 time.

    Raises:
        BadInput: it is neither, in the future, or longer ago than so many days.
    """
    now = datetime.now(UTC)
    match = re.fullmatch(r"([1-9][0-9]{0,5})([mhd])", text, re.ASCII)
    with contextlib.suppress(ValueError, OverflowError):
        found = now - timedelta(**{_UNITS[match[2]]: int(match[1])}) if match else zoned_time(text)
        if now - timedelta(days=max_days) <= found <= now:
            return found
    what = (
        "must be a length such as 90m, 24h or 7d, or a time such as 2026-11-21T09:30:00+01:00, "
        f"in the last {max_days} days"
    )
    raise BadInput([(option, what)])


def checked_message_id(value: str) -> str:
    """A message id; the whole workflow id is accepted too, since the Temporal UI shows that.

    Raises:
        BadInput: it is not a message id.
    """
    bare_id = value.removeprefix("message:").removeprefix("dead-letter:")
    return checked_value(_message_id, bare_id, field="MESSAGE_ID")


def checked_value(kind: TypeAdapter[_Value], value: str, *, field: str) -> _Value:
    """The value of one option or argument, read from text.

    Raises:
        BadInput: names `field` and what is wrong with it.
    """
    try:
        return kind.validate_strings(value)
    except ValidationError as error:
        raise BadInput([(field, what) for _, what in problems_in(error)]) from None


def checked_model(
    kind: type[_Model],
    fields: Mapping[str, Any],
    problems: Sequence[tuple[str, str]] = (),
    *,
    options: Mapping[str, str] = OPTIONS,
) -> _Model:
    """A model of the contract with the fields that were given.

    Raises:
        BadInput: names every bad option: those of the bad fields, and those in `problems`.
    """
    try:
        model = kind.model_validate(given(fields))
    except ValidationError as error:
        raise BadInput([*option_problems(problems_in(error), options), *problems]) from None
    if problems:
        raise BadInput(problems)
    return model


def text_or_standard_input(out: Output, text: str | None) -> str | None:
    """The text itself, or standard input if it is `-`, without its last line break.

    A text on the command line stays in the shell's history and is shown by `ps`.

    Raises:
        BadInput: standard input is empty, not UTF-8, or too long for any text.
    """
    if text != "-":
        return text
    if sys.stdin is None:  # started with `<&-`
        raise BadInput([("--body", "standard input is closed")])
    if sys.stdin.isatty():
        out.note("Type the text; end it with Ctrl-D on a line of its own.")
    raw: bytes = sys.stdin.buffer.read(_MAX_TEXT_BYTES)
    if len(raw) == _MAX_TEXT_BYTES:
        raise BadInput([("--body", "is too long for any message")])
    try:
        decoded = raw.decode()
    except UnicodeDecodeError:
        raise BadInput([("--body", "standard input is not UTF-8 text")]) from None
    if not decoded.strip():
        raise BadInput([("--body", "standard input is empty; the text was to come from there")])
    return decoded.removesuffix("\n").removesuffix("\r")


def given(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that were given: those that are not None and not an empty list."""
    return {name: value for name, value in fields.items() if value is not None and value != []}


def option_problems(
    problems: Iterable[tuple[str, str]], options: Mapping[str, str] = OPTIONS
) -> list[tuple[str, str]]:
    """Each bad field under its option's name, with the place in a list, and what is wrong."""
    named = []
    for field, what in problems:
        first, _, rest = (field, "", "") if field in options else field.partition(".")
        name = options.get(first, first)
        if rest.isdecimal():
            name = f"{name} ({int(rest) + 1})"
        elif rest:
            name = f"{name} ({rest})"
        named.append((name, what))
    return named


def tags(pairs: Sequence[str], problems: Problems) -> dict[str, str]:
    """The contract's `tags` from NAME=VALUE pairs; adds to `problems`."""
    try:
        return named_values(pairs)
    except ValueError as error:
        problems.append(("--tag", str(error)))
        return {}


def json_object(text: str | None, *, option: str, problems: Problems) -> dict[str, Any] | None:
    """The JSON object that was given, if any; adds to `problems`."""
    if text is None:
        return None
    try:
        value = parse_json(text.encode())
    except UnicodeEncodeError:
        problems.append((option, "is not JSON in UTF-8"))
        return None
    except InvalidJson as error:
        name = f"{field_name(error.path)}: " if error.path else ""
        problems.append((option, f"{name}{error}"))
        return None
    if not isinstance(value, dict):
        problems.append((option, 'must be a JSON object, such as {"1": "Ann"}'))
        return None
    return value
