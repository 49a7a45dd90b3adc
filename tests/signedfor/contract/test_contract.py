from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from signedfor import contract
from signedfor.contract import (
    ContractModel,
    Day,
    DeliveryStatus,
    MessageRequest,
    OnUnknownOutcome,
    Priority,
    Resolution,
    SendWindow,
    dead_letter_workflow_id,
    message_id_of,
    message_workflow_id,
)
from signedfor.contract.fields import problems_in
from signedfor.search_attributes import SEARCH_ATTRIBUTES
from signedfor.time_zones import TIME_ZONES

TO = "+15558675309"
BERLIN = "+4915112345678"
HOURS = {"from": "09:00", "until": "20:00"}
NOT_A_TIME = "must be HH:MM, such as 09:00; the end of the day is 24:00"
NOT_A_NAME = "does not look like the name of quiet hours; give a name such as us"
NOT_A_TIME_ZONE = "does not look like an IANA time zone; give a name such as Europe/Berlin"
SID = "SM" + "a" * 32
SEND_AT = datetime(2027, 1, 1, tzinfo=UTC)


def _problems(**fields: Any) -> list[tuple[str, str]]:
    with pytest.raises(ValidationError) as caught:
        MessageRequest.model_validate(fields)
    return problems_in(caught.value)


def test_public_names_do_not_change() -> None:
    """Other services use these names; changing one breaks them."""
    expected = {
        "SEND_MESSAGE": "SendMessage",
        "DEAD_LETTER": "DeadLetter",
        "MESSAGES_QUEUE": "messages",
        "TWILIO_SENDS_QUEUE": "twilio-sends",
        "DELIVERY_STATUS_SIGNAL": "delivery_status",
        "CANCEL_UPDATE": "cancel",
        "PROGRESS_QUERY": "progress",
        "RESOLVE_UPDATE": "resolve",
        "DETAILS_QUERY": "details",
        "STATUS_PATH": "/webhook/status",
        "INBOUND_PATH": "/webhook/inbound",
        "EVENTS_PATH": "/webhook/events",
    }

    assert expected == {name: getattr(contract, name) for name in expected}


def test_search_attribute_names_do_not_change() -> None:
    """Operators and other services search by these names."""
    expected = {
        "MessageStatus",
        "MessageSender",
        "TwilioSid",
        "TwilioErrorCode",
        "FailureClass",
        "MayHaveArrived",
        "CampaignId",
        "PriorOutcome",
        "Tenant",
    }

    assert expected == {key.name for key in SEARCH_ATTRIBUTES}


def test_workflow_ids_contain_the_message_id() -> None:
    """The message id can be read back from them."""
    assert "message:parcel:7" == message_workflow_id("parcel:7")
    assert "dead-letter:parcel:7" == dead_letter_workflow_id("parcel:7")
    assert "parcel:7" == message_id_of("message:parcel:7")
    assert "parcel:7" == message_id_of("dead-letter:parcel:7")


@pytest.mark.parametrize("workflow_id", ["", "parcel", "message:", "Message:7", "campaign:7"])
def test_other_workflow_ids_are_refused(workflow_id: str) -> None:
    """The error shows the correct format."""
    with pytest.raises(ValueError, match="message:<message_id>"):
        message_id_of(workflow_id)


def test_a_message_needs_only_recipient_and_text() -> None:
    """The other fields have the documented defaults."""
    request = MessageRequest.model_validate({"to": TO, "body": "x"})

    assert (None, Priority.NORMAL, {}, timedelta(hours=12)) == (
        request.sender,
        request.priority,
        request.tags,
        request.receipt_timeout,
    )


@pytest.mark.parametrize(
    ("fields", "policy"),
    [
        ({}, OnUnknownOutcome.RESEND),
        ({"priority": "urgent"}, OnUnknownOutcome.RESEND),
        ({"priority": "bulk"}, OnUnknownOutcome.DEAD_LETTER),
        ({"priority": "bulk", "on_unknown_outcome": "resend"}, OnUnknownOutcome.RESEND),
        ({"on_unknown_outcome": "dead_letter"}, OnUnknownOutcome.DEAD_LETTER),
    ],
)
def test_the_policy_for_unknown_outcomes_depends_on_the_priority(
    fields: dict[str, str], policy: OnUnknownOutcome
) -> None:
    """By default bulk messages become dead letters and others are sent again."""
    assert (
        policy
        is MessageRequest.model_validate({"to": TO, "body": "x", **fields}).unknown_outcome_policy
    )


def test_urgent_messages_have_the_lowest_priority_key() -> None:
    """Temporal serves the lowest priority key first."""
    keys = [each.temporal_key for each in (Priority.URGENT, Priority.NORMAL, Priority.BULK)]

    assert sorted(keys) == keys
    assert len(set(keys)) == 3


@pytest.mark.parametrize(
    ("fields", "problems"),
    [
        ({}, [("body", "one of body, media_urls or content_sid is required")]),
        ({"body": ""}, [("body", "one of body, media_urls or content_sid is required")]),
        ({"body": " \n"}, [("body", "is blank")]),
        (
            {"body": "x", "content_variables": {"1": "a"}},
            [("content_variables", "requires content_sid")],
        ),
        (
            {"body": "x", "send_at": SEND_AT, "expires_at": SEND_AT},
            [("expires_at", "must be later than send_at")],
        ),
        (
            {"body": "x", "send_at": "2027-01-01T00:00:00Z", "expires_at": "2026-12-31T23:00:00Z"},
            [("expires_at", "must be later than send_at")],
        ),
        (
            {"content_variables": {}, "send_at": SEND_AT, "expires_at": SEND_AT},
            [
                ("body", "one of body, media_urls or content_sid is required"),
                ("content_variables", "requires content_sid"),
                ("expires_at", "must be later than send_at"),
            ],
        ),
    ],
)
def test_fields_that_contradict_each_other_are_refused(
    fields: dict[str, Any], problems: list[tuple[str, str]]
) -> None:
    """The problem names the field to fix."""
    assert problems == _problems(to=TO, **fields)


@pytest.mark.parametrize(
    ("to", "sender", "fits"),
    [
        (TO, f"whatsapp:{TO}", False),
        (f"WhatsApp:{TO}", "+15005550006", False),
        (f"whatsapp:{TO}", "rcs:agent", False),
        (f"whatsapp:{TO}", "whatsapp:+15005550006", True),
        ("whatsapp:US.13491208655302741918", "whatsapp:+15005550006", True),
        ("whatsapp:US.13491208655302741918", "+15005550006", False),
        (f"rcs:{TO}", "rcs:agent", True),
        (f"whatsapp:{TO}", "MG" + "0" * 32, True),
        (TO, "Parcels", True),
    ],
)
def test_sender_and_recipient_must_be_on_the_same_channel(to: str, sender: str, fits: bool) -> None:
    """Twilio would refuse the pair (21910); a Messaging Service chooses a fitting sender."""
    fields = {"to": to, "from": sender}

    assert (not fits) is (
        ("from", "must be on the same channel as to, or a Messaging Service (MG...)")
        in _problems(**fields)
    )
    if fits:
        assert MessageRequest.model_validate({**fields, "body": "x"})


def test_contradictions_and_bad_fields_are_reported_together() -> None:
    """One error names both kinds of problems."""
    fields = [
        field
        for field, _ in _problems(
            to=5, sneder="x", send_at="2027-01-01T00:00:00Z", expires_at="2026-01-01T00:00:00Z"
        )
    ]

    assert ["to", "sneder", "body", "expires_at"] == fields


@pytest.mark.parametrize(
    ("window", "problems"),
    [
        ({}, [("send_window", "must have from and until, or quiet_hours")]),
        ({"days": ["mon"]}, [("send_window", "must have from and until, or quiet_hours")]),
        ({"from": "09:00"}, [("send_window", "must have both from and until, or neither")]),
        ({"until": "09:00", "quiet_hours": ["us"]},
         [("send_window", "must have both from and until, or neither")]),
        ("09:00-20:00",
         [("send_window", "must be an object with from and until, or quiet_hours")]),
        ({"from": "9:00", "until": "20:00"}, [("send_window.from", NOT_A_TIME)]),
        ({"from": "09:00\n", "until": "24:01"}, ["send_window.from", "send_window.until"]),
        ({"from": "٠٩:00", "until": 20}, ["send_window.from", "send_window.until"]),
        ({"from": "20:00", "until": "09:00"},
         [("send_window", "from must be earlier than until; a window does not span midnight")]),
        ({"from": "09:00", "until": "09:00"}, ["send_window"]),
        ({"from": "24:00", "until": "24:00"}, ["send_window"]),
        ({**HOURS, "days": []}, [("send_window.days", "must name at least one day")]),
        ({**HOURS, "days": ["mon", "Friday"]}, ["send_window.days.1"]),
        ({**HOURS, "days": "mon"}, ["send_window.days"]),
        ({**HOURS, "time_zone": "europe/berlin"}, [("send_window.time_zone", NOT_A_TIME_ZONE)]),
        ({**HOURS, "time_zone": "Europe/Berlin\n"}, ["send_window.time_zone"]),
        ({**HOURS, "time_zone": "../../etc/localtime"}, ["send_window.time_zone"]),
        ({**HOURS, "time_zone": "Europe/../Berlin"}, ["send_window.time_zone"]),
        ({**HOURS, "time_zone": "/Europe/Berlin"}, ["send_window.time_zone"]),
        ({**HOURS, "time_zone": "localtime"}, ["send_window.time_zone"]),
        ({**HOURS, "time_zone": "+02:00"}, ["send_window.time_zone"]),
        ({**HOURS, "time_zone": "A" * 65}, ["send_window.time_zone"]),
        ({**HOURS, "time_zone": ""}, ["send_window.time_zone"]),
        ({**HOURS, "hours": 3}, ["send_window.hours"]),
        ({"quiet_hours": "us"}, ["send_window.quiet_hours"]),
        ({"quiet_hours": ["us", "US"]}, [("send_window.quiet_hours.1", NOT_A_NAME)]),
        ({"quiet_hours": ["us\n"]}, ["send_window.quiet_hours.0"]),
        ({"quiet_hours": ["+15558675309"]}, ["send_window.quiet_hours.0"]),
        ({"quiet_hours": ["a"] * 17}, ["send_window.quiet_hours"]),
    ],
)  # fmt: skip
def test_a_bad_send_window_is_refused(window: object, problems: list[Any]) -> None:
    """Each bad field of the window is named, with what to write instead."""
    reported = _problems(to=BERLIN, body="x", send_window=window)

    assert problems == [
        each if isinstance(expected, tuple) else each[0]
        for each, expected in zip(reported, problems, strict=True)
    ]


@pytest.mark.parametrize(
    ("to", "time_zone"),
    [("+18005550100", None), ("+882161234567", None), (BERLIN, "Europe/Secret")],
)
def test_validating_a_send_window_does_not_need_time_zone_data(
    to: str, time_zone: str | None
) -> None:
    """A workflow decodes its request at every replay: new data must not turn it into bad input.

    Admission checks whether the window ever opens.
    """
    window = HOURS | {"time_zone": time_zone}

    request = MessageRequest.model_validate({"to": to, "body": "x", "send_window": window})

    assert request.send_window is not None
    assert time_zone == request.send_window.time_zone


def test_the_names_of_quiet_hours_are_not_looked_up() -> None:
    """For the same reason: another release may know other names."""
    window = SendWindow.model_validate({"quiet_hours": ["us", "atlantis", "us"]})

    assert ("atlantis", "us") == window.quiet_hours
    assert (None, None) == (window.opens, window.closes)


def test_a_send_window_can_have_any_time_zone() -> None:
    """The validation accepts every name in the IANA database."""
    for name in TIME_ZONES:
        assert name == SendWindow.model_validate({**HOURS, "time_zone": name}).time_zone


def test_equivalent_send_windows_are_equal() -> None:
    """The order of days does not matter, and null is the same as omitting a field."""
    one, other = (
        MessageRequest.model_validate({"to": BERLIN, "body": "x", "send_window": HOURS | more})
        for more in (
            {"days": ["sun", "mon", "sun"]},
            {"days": ["mon", "sun"], "time_zone": None, "quiet_hours": None},
        )
    )
    every_day = SendWindow.model_validate({**HOURS, "days": None})

    assert one == other
    assert tuple(Day) == every_day.days


def test_null_is_the_same_as_omitting_a_field() -> None:
    """Some clients write null for every field that is not set."""
    nothing = dict.fromkeys([*MessageRequest.model_fields, "from"])

    given = MessageRequest.model_validate({**nothing, "to": TO, "body": "x"})

    assert MessageRequest.model_validate({"to": TO, "body": "x"}) == given


@pytest.mark.parametrize("value", [[], None, "x", 5, 1.5, True, [{"to": TO}]])
def test_input_that_is_not_an_object_is_refused(value: object) -> None:
    """The error says what is expected."""
    with pytest.raises(ValidationError) as caught:
        MessageRequest.model_validate(value)

    assert [("input", "must be a JSON object")] == problems_in(caught.value)


@pytest.mark.parametrize("seconds", [0, -1, 604_801, 1.5, "60", True])
def test_a_bad_receipt_timeout_is_refused(seconds: object) -> None:
    """It must be a whole number of seconds from one to a week."""
    problems = _problems(to=TO, body="x", receipt_timeout_seconds=seconds)

    assert ["receipt_timeout_seconds"] == [field for field, _ in problems]


def test_a_valid_request_stays_valid() -> None:
    """It can be validated again, also after being dumped."""
    request = MessageRequest.model_validate({"to": TO, "from": "12345", "body": "x"})

    assert request == MessageRequest.model_validate(request)
    assert request == MessageRequest.model_validate(request.model_dump())
    assert request == MessageRequest.model_validate(request.model_dump(by_alias=False))


def _models() -> list[type[ContractModel]]:
    return [
        each
        for each in vars(contract).values()
        if isinstance(each, type) and issubclass(each, ContractModel) and each is not ContractModel
    ]


@pytest.mark.parametrize("model", _models(), ids=lambda model: model.__name__)
def test_each_model_hides_values_and_is_frozen(model: type[ContractModel]) -> None:
    """The validation errors of the contract's models contain no values."""
    assert model.model_config["hide_input_in_errors"]
    assert model.model_config["frozen"]
    with pytest.raises(ValidationError) as caught:
        model.model_validate({"canary_field": "value-canary", "to": "value-canary"})
    assert "value-canary" not in str(caught.value)


def test_a_delivery_status_may_have_unknown_statuses_and_fields() -> None:
    """It may come from a newer webhook."""
    status = DeliveryStatus.model_validate(
        {"message_sid": SID, "message_status": "new-status", "error_code": "30003", "new": 1}
    )

    assert (SID, "new-status", 30003) == (
        status.message_sid,
        status.message_status,
        status.error_code,
    )


@pytest.mark.parametrize(
    "fields",
    [
        {"message_sid": "CA" + "a" * 32},
        {"message_sid": SID + "\n"},
        {"message_status": ""},
        {"error_code": -1},
        {"error_code": 10**9},
        {"received_at": "2026-11-21T09:30:00"},
    ],
)
def test_a_bad_delivery_status_is_refused(fields: dict[str, Any]) -> None:
    """Our webhook sends nothing like it."""
    with pytest.raises(ValidationError):
        DeliveryStatus.model_validate({"message_sid": SID, "message_status": "sent", **fields})


def test_only_a_retry_can_have_changes() -> None:
    """A discarded dead letter cannot be changed."""
    with pytest.raises(ValidationError, match="changes are allowed with action retry only"):
        Resolution.model_validate({"action": "discard", "changes": {"body": "x"}})

    retry = Resolution.model_validate({"action": "retry", "changes": {"from": "12345"}})
    assert retry.changes is not None
    assert "12345" == retry.changes.sender
