"""The field types of the contract: what each accepts, and how it reports what it does not."""

import re
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, ValidationError
from pydantic_core import PydanticCustomError

from signedfor.twilio.media_urls import MAX_URL_CHARACTERS, media_url_problem
from signedfor.twilio.phone import normalize_recipient, normalize_sender

MAX_BODY_CHARACTERS = 1600
"""Twilio's limit on `Body`; longer is 21617."""
MAX_TEMPLATE_CHARACTERS = 10_000
"""A template may be longer than a message, because column names in it are replaced."""
MAX_MEDIA = 10
"""Twilio's limit on `MediaUrl`; more is 21623."""
MAX_MESSAGE_ID_CHARACTERS = 200

_RFC3339 = re.compile(
    r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(:\d\d(\.\d{1,9})?)?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)
_LABEL = "[A-Za-z0-9][A-Za-z0-9._:-]{0,63}"
# Temporal's durations are 64-bit nanoseconds, about 292 years: a timer beyond that would fail the
# workflow task forever, and no message is scheduled for the next century.
_FIRST_YEAR, _LAST_YEAR = 2000, 2099
# No five digits in a row: `x15558675309` would be a phone number too.
_PLAIN_NAME = re.compile(r"(?!.*[0-9]{5})[A-Za-z0-9_]{1,64}")


def problem(text: str) -> PydanticCustomError:
    """A validation error with exactly this text; braces are literal."""
    return PydanticCustomError("signedfor", "{problem}", {"problem": text})


def named_values(pairs: Iterable[str]) -> dict[str, str]:
    """What people write as `name=value`.

    Raises:
        ValueError: one has no name or no equals sign, or a name comes twice.
    """
    found: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise ValueError("must be name=value")
        if name in found:
            raise ValueError("has a name twice")
        found[name] = value
    return found


def problems_in(error: ValidationError) -> list[tuple[str, str]]:
    """Each bad field and what is wrong with it, without any value."""
    return [
        (field_name(each["loc"]), each["msg"])
        for each in error.errors(include_url=False, include_input=False, include_context=False)
    ]


def field_name(loc: Sequence[str | int]) -> str:
    """A field by the names and indexes on the way to it; `input` for none."""
    # The name of an unknown field, or a key of `tags`, is the caller's own text and could be a
    # phone number. It is repeated only if it looks like a name.
    parts = [
        str(part) if isinstance(part, int) or _PLAIN_NAME.fullmatch(part) else "(a name)"
        for part in loc
    ]
    return ".".join(parts) or "input"


def _plain_errors(validate: Callable[[str], str]) -> Callable[[str], str]:
    """Report a validator's ValueError by its text alone."""

    def run(value: str) -> str:
        try:
            return validate(value)
        except ValueError as error:
            raise problem(str(error)) from None

    return run


def zoned_time(value: Any) -> datetime:
    """An aware datetime or RFC 3339 text with a zone, in UTC.

    Raises:
        PydanticCustomError: it is neither.
    """
    if isinstance(value, datetime):
        moment = value
    elif isinstance(value, str) and _RFC3339.fullmatch(value):
        try:
            moment = datetime.fromisoformat(value.upper())
        except ValueError:
            raise problem("is not a valid date and time") from None
    else:
        raise problem("must be an RFC 3339 time with a zone, such as 2026-11-21T09:30:00+01:00")
    if moment.tzinfo is None or moment.utcoffset() is None:
        raise problem("must include a time zone, such as Z or +01:00")
    if not _FIRST_YEAR <= moment.year <= _LAST_YEAR:
        raise problem(f"must be in the years {_FIRST_YEAR} to {_LAST_YEAR}")
    return moment.astimezone(UTC)


def _encodable(value: str) -> str:
    if "\x00" in value:
        raise ValueError("contains a NUL character")
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise ValueError("contains a lone surrogate, half a character that cannot be encoded")
    return value


def _body(value: str) -> str:
    if len(value) > MAX_BODY_CHARACTERS:
        raise ValueError(f"is longer than Twilio's {MAX_BODY_CHARACTERS} characters")
    return _encodable(value)


def _template(value: str) -> str:
    if len(value) > MAX_TEMPLATE_CHARACTERS:
        raise ValueError(f"is longer than {MAX_TEMPLATE_CHARACTERS} characters")
    return _encodable(value)


def _media_url(value: str) -> str:
    if (what := media_url_problem(value)) is not None:
        raise ValueError(what)
    return value


def _message_id(value: str) -> str:
    # It appears in the callback URL, in logs and in workflow ids.
    if not re.fullmatch(rf"[\x21-\x7e]{{1,{MAX_MESSAGE_ID_CHARACTERS}}}", value):
        raise ValueError(
            f"must be 1 to {MAX_MESSAGE_ID_CHARACTERS} visible ASCII characters without spaces"
        )
    return value


def _label(value: str) -> str:
    if not re.fullmatch(_LABEL, value):
        raise ValueError(
            "must be 1 to 64 letters, digits, dots, hyphens, underscores and colons, and start "
            "with a letter or digit"
        )
    return value


Recipient = Annotated[str, AfterValidator(_plain_errors(normalize_recipient))]
"""E.164, or a channel address such as `whatsapp:+15558675309`."""
Sender = Annotated[str, AfterValidator(_plain_errors(normalize_sender))]
"""A number, short code, alphanumeric sender id, channel address or Messaging Service (`MG...`)."""
Body = Annotated[str, AfterValidator(_plain_errors(_body))]
Template = Annotated[str, AfterValidator(_plain_errors(_template))]
"""The text of a campaign; the rendered text has the limits of `Body`."""
MediaUrl = Annotated[
    str,
    Field(json_schema_extra={"maxLength": MAX_URL_CHARACTERS}),
    AfterValidator(_plain_errors(_media_url)),
]
MessageId = Annotated[str, AfterValidator(_plain_errors(_message_id))]
ZonedTime = Annotated[datetime, BeforeValidator(zoned_time)]
"""An RFC 3339 time with a zone, converted to UTC."""
Label = Annotated[
    str, AfterValidator(_plain_errors(_label)), Field(json_schema_extra={"pattern": f"^{_LABEL}$"})
]
"""A short name, such as `marketing` or `acme-eu`; search attributes show it in clear."""
Note = Annotated[str, StringConstraints(max_length=1000)]
TwilioErrorCode = Annotated[int, Field(ge=0, le=999_999)]
