"""Options that several commands share, and what stands in when they are not given."""

import getpass
import sys
from typing import Annotated, Any, Final

import typer
from pydantic import TypeAdapter, ValidationError

from signedfor.cli.output import BadInput, Output
from signedfor.contract.fields import MAX_TEMPLATE_CHARACTERS, MessageId
from signedfor.payloads import problems_in

MESSAGES_PANEL: Final = "Messages"
OPERATIONS_PANEL: Final = "Operations"

JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON document on standard output, nothing else.")
]
RevealOption = Annotated[
    bool, typer.Option("--reveal", help="Show phone numbers and texts in full.")
]
TimeoutOption = Annotated[
    float,
    typer.Option("--timeout", min=0.1, help="Seconds to wait for a worker's answer."),
]
ByOption = Annotated[
    str | None,
    typer.Option("--by", help="Who does it, for the record. Default: your user name."),
]
QueryOption = Annotated[
    str | None,
    typer.Option(
        "--query",
        metavar="CLAUSE",
        help='Temporal visibility clause, such as "TwilioErrorCode = 21408".',
    ),
]
BetweenOption = Annotated[
    str | None,
    typer.Option(
        "--between",
        metavar="HH:MM-HH:MM",
        help="Hours on each recipient's clock in which it may be sent; otherwise it waits.",
    ),
]
DaysOption = Annotated[
    str | None,
    typer.Option("--days", help="With --between: days, such as mon-fri or sat,sun."),
]
TimeZoneOption = Annotated[
    str | None,
    typer.Option(
        "--time-zone",
        help="With --between: IANA name, such as Europe/Berlin. Default: from each number.",
    ),
]
ReceiptTimeoutOption = Annotated[
    int | None,
    typer.Option("--receipt-timeout", help="Seconds to wait for a receipt. Default: 12 hours."),
]
TagOption = Annotated[
    list[str] | None,
    typer.Option("--tag", metavar="NAME=VALUE", help="Label of your own; repeatable."),
]
MessageIdArgument = Annotated[str, typer.Argument(metavar="MESSAGE_ID", show_default=False)]

TIMEOUT: Final = 30.0

_message_id = TypeAdapter(MessageId)
# Bytes: UTF-8 takes at most four a character, and a line break may follow.
_LONGER_THAN_ANY_TEXT = 4 * (MAX_TEMPLATE_CHARACTERS + 4)


def who(by: str | None) -> str:
    """The given name, or the user's of this process."""
    if by is not None:
        return by
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user need not have a name
        return "unknown user"


def checked_message_id(
    value: str, *, field: str = "MESSAGE_ID", workflow_id_too: bool = True
) -> str:
    """A message id; to look one up a whole workflow id will do, since that is what the UI shows.

    Raises:
        BadInput: it is none.
    """
    bare = value.removeprefix("message:").removeprefix("dead-letter:")
    try:
        return _message_id.validate_python(bare if workflow_id_too else value)
    except ValidationError as error:
        raise BadInput([(field, what) for _, what in problems_in(error)]) from None


def text_or_standard_input(out: Output, text: str | None) -> str | None:
    """The text itself, or what standard input holds when it is `-`, without its last line break.

    A text on the command line stays in the shell's history and is shown by `ps`.

    Raises:
        BadInput: standard input is not UTF-8, or too long for any text.
    """
    if text != "-":
        return text
    if sys.stdin is None:  # the process was started without
        raise BadInput([("--body", "standard input is closed")])
    if sys.stdin.isatty():
        out.note("Type the text; end it with Ctrl-D on a line of its own.")
    raw: bytes = sys.stdin.buffer.read(_LONGER_THAN_ANY_TEXT)
    if len(raw) == _LONGER_THAN_ANY_TEXT:
        raise BadInput([("--body", "is too long for any message")])
    try:
        decoded = raw.decode()
    except UnicodeDecodeError:
        raise BadInput([("--body", "standard input is not UTF-8 text")]) from None
    return decoded.removesuffix("\n").removesuffix("\r")


def given(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields that were given: those that are not None and not an empty list."""
    return {name: value for name, value in fields.items() if value is not None and value != []}


def option_problems(error: ValidationError, names: dict[str, str]) -> list[tuple[str, str]]:
    """Each bad field under its option's name, with the place in a list, and what is wrong."""
    problems = []
    for field, what in problems_in(error):
        first, _, rest = (field, "", "") if field in names else field.partition(".")
        name = names.get(first, first)
        if rest.isdecimal():
            name = f"{name} ({int(rest) + 1})"
        elif rest:
            name = f"{name} ({rest})"
        problems.append((name, what))
    return problems
