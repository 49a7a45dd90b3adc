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
from signedfor.twilio.media_urls import media_url_problem


def _error(adapter: TypeAdapter[str], value: object) -> str:
    with pytest.raises(ValidationError) as caught:
        adapter.validate_python(value)
    (error,) = caught.value.errors()
    return error["msg"]


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-11-21T09:30:00Z", (9, 30, 0)),
        ("2026-11-21t09:30:00z", (9, 30, 0)),
        ("2026-11-21 09:30:00+01:00", (8, 30, 0)),
        ("2026-11-21T09:30-05:30", (15, 0, 0)),
        ("2026-11-21T09:30:00.123456789Z", (9, 30, 0, 123_456)),
    ],
)
def test_rfc_3339_times_are_converted_to_utc(text: str, time: tuple[int, int, int]) -> None:
    """They may have any UTC offset."""
    assert datetime(2026, 11, 21, *time, tzinfo=UTC) == zoned_time(text)
    assert UTC is zoned_time(text).tzinfo


def test_an_aware_datetime_is_converted_to_utc() -> None:
    """Python callers need not format their times."""
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
        datetime(2031, 5, 6, 9, 30),  # noqa: DTZ001 - it must be refused
    ],
)
def test_a_bad_time_is_refused(value: object) -> None:
    """It is no time, has no UTC offset, or is in another century; the error does not repeat it."""
    with pytest.raises(PydanticCustomError) as caught:
        zoned_time(value)

    assert not value or str(value) not in str(caught.value)


def test_a_problem_may_contain_braces() -> None:
    """Pydantic does not interpret them as placeholders."""
    assert "{value} and {" == str(problem("{value} and {"))


@pytest.mark.parametrize("text", ["x" * MAX_BODY_CHARACTERS, "\U0001f600" * MAX_BODY_CHARACTERS])
def test_a_body_may_have_1600_characters(text: str) -> None:
    """The limit is in characters, whatever their encoding."""
    assert text == TypeAdapter(Body).validate_python(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x" * 1601, "is longer than Twilio's 1600 characters"),
        ("a\x00b", "contains a NUL character"),
        ("a\ud800b", "contains a lone surrogate, half a character that cannot be encoded"),
        ("\udfff", "contains a lone surrogate, half a character that cannot be encoded"),
    ],
)
def test_a_bad_body_is_refused(text: str, expected: str) -> None:
    """The error says why it cannot be sent."""
    assert expected == _error(TypeAdapter(Body), text)


@pytest.mark.parametrize(
    "url", ["https://m.example/a.png", "HTTP://m.example", "https://m.example/a?b=c&d=%20#e"]
)
def test_absolute_media_urls_are_accepted(url: str) -> None:
    """They are not changed."""
    assert url == TypeAdapter(MediaUrl).validate_python(url)


@pytest.mark.parametrize(
    "url", ["", "m.example/a.png", "ftp://m.example", "https://", "https:///a", "https://a/ b", "x"]
)
def test_a_bad_media_url_is_refused(url: str) -> None:
    """Twilio could not fetch it."""
    assert media_url_problem(url) == _error(TypeAdapter(MediaUrl), url)


@pytest.mark.parametrize("message_id", ["a", "order-7/b", "x" * 200, "!~"])
def test_message_ids_have_up_to_200_characters(message_id: str) -> None:
    """They consist of visible ASCII characters."""
    assert message_id == TypeAdapter(MessageId).validate_python(message_id)


@pytest.mark.parametrize("message_id", ["", "a b", "a\n", "é", "x" * 201, "\x7f"])
def test_a_bad_message_id_is_refused(message_id: str) -> None:
    """It is empty, too long or has other characters."""
    assert "must be 1 to 200 visible" in _error(TypeAdapter(MessageId), message_id)


def test_addresses_are_normalized() -> None:
    """An error says what is wrong without repeating the number."""
    assert "+15558675309" == TypeAdapter(Recipient).validate_python(" +1 (555) 867-5309")
    assert "whatsapp:+15005550006" == TypeAdapter(Sender).validate_python("WhatsApp:+15005550006")
    assert "plus" in _error(TypeAdapter(Recipient), "15558675309")
    assert "15558675309" not in _error(TypeAdapter(Recipient), "15558675309")


@pytest.mark.parametrize("label", ["marketing", "acme-eu", "a.b:c_d", "7", "x" * 64])
def test_a_label_is_a_short_plain_name(label: str) -> None:
    """It has up to 64 letters, digits and some punctuation."""
    assert label == TypeAdapter(Label).validate_python(label)


@pytest.mark.parametrize("label", ["", "-x", "a b", "a\n", "é", "x" * 65, "+15558675309"])
def test_a_bad_label_is_refused(label: str) -> None:
    """Labels are stored in clear text, in search attributes."""
    assert _error(TypeAdapter(Label), label).startswith("must be 1 to 64 letters, digits,")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x" * 10_001, "is longer than 10000 characters"),
        ("a\x00b", "contains a NUL character"),
        ("a\ud800b", "contains a lone surrogate, half a character that cannot be encoded"),
    ],
)
def test_a_bad_template_is_refused(text: str, expected: str) -> None:
    """It may be longer than a message, since its placeholders are replaced."""
    assert expected == _error(TypeAdapter(Template), text)
    assert "{n}" * 3000 == TypeAdapter(Template).validate_python("{n}" * 3000)
