import json
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError
from temporalio.api.common.v1 import Payload
from temporalio.api.failure.v1 import Failure
from temporalio.converter import CompositePayloadConverter, WorkflowSerializationContext
from temporalio.exceptions import ApplicationError

from signedfor.contract import (
    CancelRequest,
    DeadLetterRequest,
    DeliveryStatus,
    MessageReport,
    MessageRequest,
    SendWindow,
)
from signedfor.message_activities import SendRequest, SendResult, StatusResult
from signedfor.payloads import MAX_PROBLEMS, UnreadablePayload, data_converter, invalid_input
from tests.hostile_payloads import STARTS

TO = "+15558675309"
CANARIES = ("5558675309", "5551234567", "value-canary", "15005550006")
GOOD = {"to": TO, "body": "value-canary"}


def _decode(data: bytes | dict[str, Any] | str, hint: Any = MessageRequest, **metadata: str) -> Any:
    if not isinstance(data, bytes):
        data = (data if isinstance(data, str) else json.dumps(data)).encode()
    encoded = {"encoding": "json/plain", **metadata}
    payload = Payload(metadata={name: text.encode() for name, text in encoded.items()}, data=data)
    (value,) = data_converter.payload_converter.from_payloads([payload], [hint])
    return value


def _refused(
    data: bytes | dict[str, Any] | str, hint: Any = MessageRequest, **metadata: str
) -> Any:
    """Decode bad input, which must raise one failure; return its fields and problems."""
    with pytest.raises(ApplicationError) as caught:
        _decode(data, hint, **metadata)
    error = caught.value
    assert ("InvalidInput", True) == (error.type, error.non_retryable)
    failure = Failure()
    data_converter.failure_converter.to_failure(error, data_converter.payload_converter, failure)
    assert [] == [canary for canary in CANARIES if canary in str(failure)]
    assert not failure.HasField("cause")
    (problems,) = error.details
    for each in problems:
        assert f"{each['field']}: {each['problem']}" in error.message
    return [(each["field"], each["problem"]) for each in problems]


FULL = MessageRequest(
    to="whatsapp:+15558675309",
    sender="whatsapp:+15005550006",
    body='Zoë \U0001f600 "x"\n',
    media_urls=("https://m.example/1.png", "https://m.example/2.png"),
    content_sid="HX" + "1" * 32,
    content_variables={"1": "ключ"},
    priority="urgent",
    category="alerts",
    tenant="acme-eu",
    send_at=datetime(2027, 1, 1, 12, 0, 0, 123_456, tzinfo=UTC),
    expires_at=datetime(2027, 1, 2, tzinfo=UTC),
    send_window=SendWindow(
        opens="09:00",
        closes="20:30",
        days=("mon", "fri"),
        quiet_hours=("us", "france-marketing"),
        time_zone="Europe/Berlin",
    ),
    receipt_timeout_seconds=60,
    on_unknown_outcome="dead_letter",
    campaign_id="spring",
    tags={"order": "7", "any thing": "é"},
)


def test_a_message_survives_encoding_and_decoding() -> None:
    """Every field keeps its value."""
    assert set(MessageRequest.model_fields) == FULL.model_fields_set
    (payload,) = data_converter.payload_converter.to_payloads([FULL])

    assert b"json/plain" == payload.metadata["encoding"]
    assert FULL == _decode(payload.data)


def test_a_message_in_an_activitys_input_survives_encoding_and_decoding() -> None:
    """The input and the message in it keep their values."""
    request = SendRequest(
        submission=1,
        message_id="m",
        message=FULL,
        sender="12345",
        requested_at=datetime(2026, 12, 31, tzinfo=UTC),
        deadline=datetime(2027, 1, 1, tzinfo=UTC),
        segments=1,
        is_reserved=False,
        is_retry=False,
        earlier_attempts=0,
        max_retry_wait=None,
    )
    (payload,) = data_converter.payload_converter.to_payloads([request])

    assert request == _decode(payload.data, SendRequest)


def test_the_json_of_a_message() -> None:
    """The sender is called `from`, and times are RFC 3339 in UTC."""
    (payload,) = data_converter.payload_converter.to_payloads([FULL])
    fields = json.loads(payload.data)

    assert "whatsapp:+15005550006" == fields["from"]
    assert "sender" not in fields
    assert "2027-01-01T12:00:00.123456Z" == fields["send_at"]


def test_nothing_is_created_for_an_activation() -> None:
    """The SDK asks for a converter of its own for each workflow, activity and activation."""
    context = WorkflowSerializationContext(namespace="default", workflow_id="message:1")

    assert data_converter is data_converter.with_context(context)
    first, second = (
        data_converter.payload_converter_class(),
        data_converter.payload_converter_class(),
    )
    assert isinstance(first, CompositePayloadConverter)
    assert isinstance(second, CompositePayloadConverter)
    assert first.converters is second.converters


def test_plain_json_is_accepted() -> None:
    """Any client can send the object from the documentation."""
    request = _decode('{"to": "+15558675309", "from": "+15005550006", "body": "Hello."}')

    assert (TO, "+15005550006", "Hello.") == (request.to, request.sender, request.body)


BAD_FIELDS: dict[str, tuple[dict[str, Any] | str, list[str]]] = {
    "no recipient": ({"body": "value-canary"}, ["to"]),
    "a recipient that is a number in JSON": ({**GOOD, "to": 15551234567}, ["to"]),
    "null recipient": ({**GOOD, "to": None}, ["to"]),
    "two recipients": ({**GOOD, "to": "+15558675309,+15551234567"}, ["to"]),
    "two recipients in a list": ({**GOOD, "to": [TO, TO]}, ["to"]),
    "a number without a plus": ({**GOOD, "to": "15551234567"}, ["to"]),
    "a too long text": ({**GOOD, "body": "value-canary" + "x" * 1601}, ["body"]),
    "NUL": ({**GOOD, "body": "value-canary\0"}, ["body"]),
    "a lone surrogate in the text": ({**GOOD, "body": "value-canary \ud800"}, ["body"]),
    "a low surrogate": ({**GOOD, "body": "value-canary \udc00 x"}, ["body"]),
    "a lone surrogate in the recipient": ({**GOOD, "to": "+1555\ud8001234567"}, ["to"]),
    "a lone surrogate in a tag": ({**GOOD, "tags": {"a": "value-canary\ud800"}}, ["tags.a"]),
    "a lone surrogate in a variable": (
        {**GOOD, "content_sid": "HX" + "1" * 32, "content_variables": {"1": "\ud800"}},
        ["content_variables.1"],
    ),
    "a lone surrogate in a media URL": (
        {**GOOD, "media_urls": ["https://a.example/\ud800"]},
        ["media_urls.0"],
    ),
    "an unknown field": ({**GOOD, "boby": "value-canary"}, ["boby"]),
    "an unknown field that is a number": ({**GOOD, "+15551234567": 1}, ["(a name)"]),
    "an unknown field of digits": ({**GOOD, "15551234567": 1}, ["(a name)"]),
    "an unknown field with digits": ({**GOOD, "phone_15551234567": 1}, ["(a name)"]),
    "an unknown field of words": ({**GOOD, "to value-canary": 1}, ["(a name)"]),
    "an unknown field with a surrogate": ({**GOOD, "value-canary\ud800": 1}, ["input"]),
    "11 media URLs": (
        {**GOOD, "media_urls": ["https://value-canary.org"] * 11},
        ["media_urls"],
    ),
    "a bad media URL": (
        {**GOOD, "media_urls": ["https://a.org/", "value-canary"]},
        ["media_urls.1"],
    ),
    "media URLs that are a string": (
        {**GOOD, "media_urls": "https://value-canary/"},
        ["media_urls"],
    ),
    "a time without a zone": ({**GOOD, "send_at": "2027-01-01T00:00:00"}, ["send_at"]),
    "a time that is a number": ({**GOOD, "send_at": 1_800_000_000}, ["send_at"]),
    "expiry before sending": (
        {**GOOD, "send_at": "2027-01-02T00:00:00Z", "expires_at": "2027-01-01T00:00:00Z"},
        ["expires_at"],
    ),
    "an unknown priority": ({**GOOD, "priority": "value-canary"}, ["priority"]),
    "a huge number": ({**GOOD, "receipt_timeout_seconds": 10**30}, ["receipt_timeout_seconds"]),
    "NaN": ({**GOOD, "receipt_timeout_seconds": float("nan")}, ["receipt_timeout_seconds"]),
    "infinity": ({**GOOD, "receipt_timeout_seconds": float("inf")}, ["receipt_timeout_seconds"]),
    "a tenant that is a number": ({**GOOD, "tenant": "+15551234567"}, ["tenant"]),
    "a tag's name that is a number": ({**GOOD, "tags": {"+15551234567": 5}}, ["tags.(a name)"]),
    "a tag that is not a string": ({**GOOD, "tags": {"a": 5551234567}}, ["tags.a"]),
    "a bad sender": ({**GOOD, "from": "value-canary!"}, ["from"]),
    "a sender under its Python name": ({**GOOD, "sender": "value-canary!"}, ["sender"]),
    "several bad fields": (
        {"to": 15551234567, "from": "!", "boby": "value-canary", "priority": 1, "send_at": "x"},
        ["to", "from", "priority", "send_at", "boby", "body"],
    ),
    "several bad fields, one with a surrogate": (
        {"to": "x", "body": "\ud800", "tags": {"a": 1}},
        ["to", "body", "tags.a"],
    ),
    "deep nesting in an unknown field": (
        '{"to": "+15558675309", "body": "x", "deep": ' + "[" * 150 + "]" * 150 + "}",
        ["deep"],
    ),
}


@pytest.mark.parametrize(("given", "fields"), BAD_FIELDS.values(), ids=BAD_FIELDS.keys())
def test_one_failure_names_every_bad_field(given: dict[str, Any] | str, fields: list[str]) -> None:
    """It repeats no value."""
    assert fields == [field for field, _ in _refused(given)]


NO_OBJECT: dict[str, str | bytes] = {
    "array": '[{"to": "+15558675309", "body": "value-canary"}]',
    "null": "null",
    "string": '"value-canary"',
    "a string of JSON": json.dumps(json.dumps(GOOD)),
    "number": "15551234567",
    "true": "true",
    "NaN": "NaN",
    "empty": "",
    "truncated": '{"to": "+15551234567"',
    "trailing text": '{"to": "+15558675309", "body": "x"} value-canary',
    "single quotes": "{'to': 'value-canary'}",
    "deep arrays": "[" * 100_000,
    "deep objects": '{"a":' * 100_000,
    "deep and closed": '{"deep":' + "[" * 100_000 + "]" * 100_000 + "}",
    "a huge number": '{"to": "+15558675309", "receipt_timeout_seconds": ' + "9" * 5000 + "}",
    "not UTF-8": b'{"to": "value-canary\xff"}',
    "UTF-16": json.dumps(GOOD).encode("utf-16"),
    "a byte order mark": b"\xef\xbb\xbf" + json.dumps(GOOD).encode(),
    "binary": bytes(range(256)),
}


@pytest.mark.parametrize("given", NO_OBJECT.values(), ids=NO_OBJECT.keys())
def test_input_that_is_no_json_object_is_one_problem(given: str | bytes) -> None:
    """The failure names the input as a whole and repeats nothing of it."""
    assert ["input"] == [field for field, _ in _refused(given)]


@pytest.mark.parametrize(
    ("encoding", "metadata"),
    [
        ("binary/plain", {}),
        ("binary/null", {}),
        ("json/protobuf", {}),
        ("json/protobuf", {"messageType": "temporal.api.common.v1.WorkflowType"}),
        ("json/protobuf", {"messageType": "value-canary"}),
        ("binary/protobuf", {"messageType": "temporal.api.common.v1.WorkflowType"}),
        ("value-canary", {}),
        ("", {}),
    ],
)
def test_other_encodings_are_bad_input(encoding: str, metadata: dict[str, str]) -> None:
    """Only plain JSON is accepted."""
    (problem,) = _refused(json.dumps(GOOD), encoding=encoding, **metadata)

    assert "input" == problem[0]
    assert "JSON object" in problem[1]


def test_an_empty_payload_is_bad_input() -> None:
    """It has neither data nor an encoding."""
    with pytest.raises(ApplicationError, match="JSON object") as caught:
        data_converter.payload_converter.from_payloads([Payload()], [MessageRequest])

    assert "InvalidInput" == caught.value.type


@pytest.mark.parametrize("data", ['{"by": 5551234567}', '"value-canary"', "[]", '{"who": 1}'])
def test_a_bad_optional_argument_is_refused(data: str) -> None:
    """The failure is the same as for a required one."""
    assert len(_refused(data, CancelRequest | None)) == 1


def test_an_optional_argument_may_be_null() -> None:
    """This is the same as omitting it."""
    assert _decode("null", CancelRequest | None) is None
    assert CancelRequest(by="me") == _decode('{"by": "me"}', CancelRequest | None)


def test_a_bad_signal_is_refused() -> None:
    """The failure names its fields too."""
    problems = _refused({"message_sid": "value-canary", "error_code": "x"}, DeliveryStatus)

    assert ["message_sid", "message_status", "error_code"] == [field for field, _ in problems]


@pytest.mark.parametrize("hint", [StatusResult, SendResult, SendRequest])
@pytest.mark.parametrize("data", ['{"decision": "value-canary"}', "{", "[]"])
def test_undecodable_activity_inputs_and_results_are_not_bad_input(hint: type, data: str) -> None:
    """They are bugs of ours: the workflow task fails, and can be retried after a fix."""
    with pytest.raises(ValidationError) as caught:
        _decode(data, hint)

    assert "value-canary" not in str(caught.value)


def test_a_wrong_number_of_arguments_is_not_decoded() -> None:
    """The interceptor that counts the arguments refuses them, whatever they are."""
    payloads = [Payload(), Payload(metadata={"encoding": b"\xff"}, data=b"\xff")]

    values = data_converter.payload_converter.from_payloads(payloads, None)

    assert payloads == [each.payload for each in values]


@pytest.mark.parametrize(
    "arguments", [pytest.param(each, id=name) for name, each in STARTS.items() if len(each) == 1]
)
def test_hostile_input_is_refused_quickly(arguments: tuple[Payload]) -> None:
    """The failure is small, and names a hundred problems at most and how many more there are."""
    started = time.perf_counter()
    with pytest.raises(ApplicationError) as caught:
        data_converter.payload_converter.from_payloads(arguments, [MessageRequest])
    took = time.perf_counter() - started

    (problems,) = caught.value.details
    assert ("InvalidInput", True) == (caught.value.type, took < 0.25)
    assert len(problems) <= MAX_PROBLEMS + 1
    assert len(caught.value.message) < 20_000


def test_more_problems_than_are_named_are_counted() -> None:
    """The last one says how many."""
    problems = _refused({**GOOD, **{f"field{chr(97 + n % 26)}{n}": n for n in range(150)}})

    assert MAX_PROBLEMS + 1 == len(problems)
    assert ("input", "has 50 more problems") == problems[-1]


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ('{"to": "+15558675309", "to": "+15551234567", "body": "x"}', "to"),
        ('{"to": "+15558675309", "body": "x", "tags": {"a": "1", "a": "1"}}', "tags.a"),
        (
            '{"to": "+15558675309", "body": "x", "tags": {"+15551234567": 1, "+15551234567": 2}}',
            "tags.(a name)",
        ),
        (
            '{"to": "+15558675309", "body": "x", "media_urls": [{"value": 1, "value": 2}]}',
            "media_urls.0.value",
        ),
    ],
)
def test_a_name_that_stands_twice_is_refused(document: str, field: str) -> None:
    """Readers differ in which of the two they take, so nobody knows what was meant."""
    assert [(field, "is given more than once")] == _refused(document)


def test_a_dead_letter_may_be_larger_than_its_message() -> None:
    """Whatever was accepted as a message can become one."""
    variables = {f"v{n}": "x" * 1600 for n in range(100)}
    message = {
        "to": TO,
        "content_sid": "HX" + "1" * 32,
        "content_variables": variables,
        "tags": {f"t{n}": "é" * 256 for n in range(32)},
    }
    report = MessageReport(
        message_id="m",
        outcome="failed",
        reason="",
        attempts=1,
        segments=1,
        finished_at=datetime(2027, 1, 1, tzinfo=UTC),
        tags=message["tags"],
    )
    letter = {"message": message, "report": report.model_dump(mode="json"), "advice": "x" * 1000}

    assert variables == _decode(message).content_variables
    assert variables == _decode(letter, DeadLetterRequest).message.content_variables


def test_the_failure_for_invalid_input() -> None:
    """Its message has each problem in words, its details have them as data."""
    error = invalid_input([("to", "is empty"), ("body", "is blank")])

    assert "Bad input. to: is empty; body: is blank" == error.message
    assert [
        {"field": "to", "problem": "is empty"},
        {"field": "body", "problem": "is blank"},
    ] == error.details[0]


def test_a_report_survives_encoding_and_decoding() -> None:
    """Every field keeps its value."""
    report = MessageReport(
        message_id="m",
        outcome="delivered",
        reason="Delivered.",
        attempts=1,
        segments=1,
        finished_at=datetime(2027, 1, 1, tzinfo=UTC),
        tags={},
    )
    (payload,) = data_converter.payload_converter.to_payloads([report])

    assert report == _decode(payload.data, MessageReport)


_REPORT = {
    "message_id": "m",
    "outcome": "failed",
    "reason": "It was refused.",
    "attempts": 1,
    "segments": 1,
    "finished_at": "2027-01-01T00:00:00Z",
    "tags": {},
}


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ({**_REPORT, "failure_class": "OfALaterVersion"}, MessageReport),
        (
            {
                "message": GOOD,
                "report": {**_REPORT, "failure_class": "OfALaterVersion"},
                "advice": "Wait.",
            },
            DeadLetterRequest,
        ),
    ],
)
def test_a_failure_class_of_a_later_version_is_no_bad_input(
    given: dict[str, Any], hint: type
) -> None:
    """Our own newer worker has written it: failing a dead letter for it would lose that."""
    with pytest.raises(UnreadablePayload, match="a failure class that only a later version knows"):
        _decode(given, hint)


@pytest.mark.parametrize(
    ("change", "fields"),
    [
        ({"failure_class": CANARIES[0]}, ["failure_class"]),
        ({"failure_class": 7}, ["failure_class"]),
        ({"outcome": "OfALaterVersion"}, ["outcome"]),
        (
            {"failure_class": "OfALaterVersion", "attempts": "x"},
            ["failure_class", "attempts"],
        ),
    ],
)
def test_what_no_version_writes_is_bad_input(change: dict[str, Any], fields: list[str]) -> None:
    """A class that cannot be the name of one, and a report that is wrong elsewhere too."""
    problems = _refused({**_REPORT, **change}, MessageReport)

    assert sorted(fields) == sorted(field for field, _ in problems)
