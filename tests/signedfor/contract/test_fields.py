from datetime import UTC, datetime, timedelta, timezone

import pytest
from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticCustomError

from signedfor.contract.fields import (
    MAX_BODY_CHARACTERS,
    Body,
    Label,
    MediaUrl,
    MessageId,
    Recipient,
    Sender,
    Template,
    problem,
    zoned_time,
)


def _text_of(adapter: TypeAdapter[str], value: object) -> str:
    with pytest.raises(ValidationError) as caught:
        adapter.validate_python(value)
    (error,) = caught.value.errors()
    return error["msg"]


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-21T09:30:00Z", (9, 30, 0)),
        ("2026-11-21t09:30:00z", (9, 30, 0)),
        ("2026-11-21 09:30:00+01:00", (8, 30, 0)),
        ("2026-11-21T09:30-05:30", (15, 0, 0)),
        ("2026-11-21T09:30:00.123456789Z", (9, 30, 0, 123_456)),
    ],
)
def test_times(text: str, moment: tuple[int, int, int]) -> None:
    """RFC 3339 times with any zone become the same moment in UTC."""
    assert datetime(2026, 11, 21, *moment, tzinfo=UTC) == zoned_time(text)
    assert UTC is zoned_time(text).tzinfo


def test_datetimes() -> None:
    """An aware datetime is a time as well."""
    moment = datetime(2026, 11, 21, 9, 30, tzinfo=timezone(timedelta(hours=2)))

    assert datetime(2026, 11, 21, 7, 30, tzinfo=UTC) == zoned_time(moment)


@pytest.mark.parametrize(
    "value",
    [
        "2031-05-06T09:30:00",
        "2031-05-06",
        "2031-05-06T09:30:00 Europe/Paris",
        "2026-13-21T09:30:00Z",
        "2026-02-30T09:30:00Z",
        "2031-05-06T25:30:00Z",
        "2031-05-06T09:30:00+99:99",
        "1999-12-31T23:59:59Z",
        "2100-01-01T00:00:00Z",
        "9999-12-31T23:59:59-23:59",
        "٢٠٢٦-11-21T09:30:00Z",
        "tomorrow",
        "",
        1_700_000_000,
        1.5,
        True,
        None,
        ["2031-05-06T09:30:00Z"],
        datetime(2031, 5, 6, 9, 30),  # noqa: DTZ001 - the point of it
    ],
)
def test_no_times(value: object) -> None:
    """What is no time, has no zone or lies in another century is refused without being repeated."""
    with pytest.raises(PydanticCustomError) as caught:
        zoned_time(value)

    assert not value or str(value) not in str(caught.value)


def test_a_problem_is_literal() -> None:
    """Braces in a problem's text are just braces."""
    assert "{value} and {" == str(problem("{value} and {"))


@pytest.mark.parametrize("text", ["x" * MAX_BODY_CHARACTERS, "\U0001f600" * MAX_BODY_CHARACTERS])
def test_the_longest_body(text: str) -> None:
    """1,600 characters are taken, of whatever kind."""
    assert text == TypeAdapter(Body).validate_python(text)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("x" * 1601, "is longer than Twilio's 1600 characters"),
        ("a\x00b", "contains a NUL character"),
        ("a\ud800b", "contains a lone surrogate, half a character that cannot be encoded"),
        ("\udfff", "contains a lone surrogate, half a character that cannot be encoded"),
    ],
)
def test_bad_bodies(text: str, what: str) -> None:
    """A text that cannot be sent says why."""
    assert what == _text_of(TypeAdapter(Body), text)


@pytest.mark.parametrize(
    "url", ["https://m.example/a.png", "HTTP://m.example", "https://m.example/a?b=c&d=%20#e"]
)
def test_media_urls(url: str) -> None:
    """Absolute web addresses are taken as they are."""
    assert url == TypeAdapter(MediaUrl).validate_python(url)


@pytest.mark.parametrize(
    "url", ["", "m.example/a.png", "ftp://m.example", "https://", "https:///a", "https://a/ b", "x"]
)
def test_bad_media_urls(url: str) -> None:
    """What Twilio could not fetch is refused."""
    assert "must be an absolute http or https URL without spaces" == _text_of(
        TypeAdapter(MediaUrl), url
    )


@pytest.mark.parametrize("message_id", ["a", "order-7/b", "x" * 200, "!~"])
def test_message_ids(message_id: str) -> None:
    """A message id is up to 200 visible ASCII characters."""
    assert message_id == TypeAdapter(MessageId).validate_python(message_id)


@pytest.mark.parametrize("message_id", ["", "a b", "a\n", "é", "x" * 201, "\x7f"])
def test_bad_message_ids(message_id: str) -> None:
    """Anything else is refused."""
    assert "must be 1 to 200 visible" in _text_of(TypeAdapter(MessageId), message_id)


def test_addresses_get_one_spelling() -> None:
    """Recipients and senders are normalised, or say what is wrong without the number."""
    assert "+15558675309" == TypeAdapter(Recipient).validate_python(" +1 (555) 867-5309")
    assert "whatsapp:+15005550006" == TypeAdapter(Sender).validate_python("WhatsApp:+15005550006")
    assert "plus" in _text_of(TypeAdapter(Recipient), "15558675309")
    assert "15558675309" not in _text_of(TypeAdapter(Recipient), "15558675309")


@pytest.mark.parametrize("label", ["marketing", "acme-eu", "a.b:c_d", "7", "x" * 64])
def test_labels(label: str) -> None:
    """A label is a short plain name."""
    assert label == TypeAdapter(Label).validate_python(label)


@pytest.mark.parametrize("label", ["", "-x", "a b", "a\n", "é", "x" * 65, "+15558675309"])
def test_bad_labels(label: str) -> None:
    """What could not stand in clear in a search attribute is refused, in a sentence."""
    said = _text_of(TypeAdapter(Label), label)

    assert said.startswith("must be 1 to 64 letters, digits,")


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("x" * 10_001, "is longer than 10000 characters"),
        ("a\x00b", "contains a NUL character"),
        ("a\ud800b", "contains a lone surrogate, half a character that cannot be encoded"),
    ],
)
def test_bad_templates(text: str, what: str) -> None:
    """A campaign's text may be longer than a message, since names in braces are filled in."""
    assert what == _text_of(TypeAdapter(Template), text)
    assert "{n}" * 3000 == TypeAdapter(Template).validate_python("{n}" * 3000)
