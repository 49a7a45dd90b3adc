"""Scripted and seeded faults, as a client meets them on the wire."""

import json
import time
from typing import Any

import httpx
import pytest
import requests
from twilio.base.exceptions import TwilioRestException
from twilio.rest import Client

from devtools.sandbox.accounts import DEFAULT_ACCOUNT_SID, DEFAULT_AUTH_TOKEN
from devtools.sandbox.client import SandboxControl
from devtools.sandbox.errors import TEXTS
from devtools.sandbox.faults import FAULT_NAMES, NORMAL, Faults, Plan, Step
from tests.devtools.sandbox.support import SENDER, eventually, status_of, twilio_client, until


def test_steps_are_used_in_order(twilio: Client, control: SandboxControl, recipient: str) -> None:
    """Each create follows the next step; after the last step, creates are normal."""
    control.script(
        recipient,
        [
            {"respond": "error", "code": 20429},
            {"respond": "error", "code": 21611, "headers": {"Retry-After": "7"}},
        ],
    )

    for code in (20429, 21611):
        with pytest.raises(TwilioRestException) as refused:
            twilio.messages.create(to=recipient, from_=SENDER, body="hello")
        assert (429, code) == (refused.value.status, refused.value.code)
    assert twilio.messages.create(to=recipient, from_=SENDER, body="hello").sid
    ledger = control.ledger(to=recipient)
    assert [("scripted", 20429), ("scripted", 21611)] == [
        (row["reason"], row["code"]) for row in ledger["refused"]
    ]
    assert 1 == len(ledger["accepted"])


def test_then_is_for_all_that_follow(
    twilio: Client, control: SandboxControl, recipient: str
) -> None:
    """After the steps every create follows `then`, until the scripts are cleared."""
    control.script(recipient, [], then={"respond": "error", "http_status": 503})

    for _ in range(2):
        with pytest.raises(TwilioRestException) as refused:
            twilio.messages.create(to=recipient, from_=SENDER, body="hello")
        assert (503, 20503) == (refused.value.status, refused.value.code)
    control.clear_scripts()
    assert twilio.messages.create(to=recipient, from_=SENDER, body="hello").sid


def test_error_headers_reach_the_client(
    sandbox_url: str, control: SandboxControl, recipient: str
) -> None:
    """Extra headers such as Retry-After are sent with the error."""
    control.script(
        recipient, [{"respond": "error", "code": 20429, "headers": {"Retry-After": "7"}}]
    )
    answer = httpx.post(
        f"{sandbox_url}/2010-04-01/Accounts/{DEFAULT_ACCOUNT_SID}/Messages.json",
        auth=(DEFAULT_ACCOUNT_SID, DEFAULT_AUTH_TOKEN),
        data={"To": recipient, "From": SENDER, "Body": "hello"},
    )

    assert ("7", 429) == (answer.headers["Retry-After"], answer.json()["status"])


@pytest.mark.parametrize("code", sorted(TEXTS))
def test_any_error_can_be_scripted(
    twilio: Client, control: SandboxControl, recipient: str, code: int
) -> None:
    """The client gets that code, with a text."""
    control.script(recipient, [{"respond": "error", "code": code, "http_status": 400}])
    with pytest.raises(TwilioRestException) as failed:
        twilio.messages.create(to=recipient, from_=SENDER, body="hello")

    assert (400, code) == (failed.value.status, failed.value.code)
    assert failed.value.msg


@pytest.mark.parametrize(("stored", "listed"), [(None, 1), (True, 1), (False, 0)])
def test_scripted_refusal_is_listed_on_request(
    twilio: Client, control: SandboxControl, recipient: str, *, stored: bool | None, listed: int
) -> None:
    """A scripted 400 is listed as a failed message unless the script says otherwise."""
    control.script(recipient, [{"respond": "error", "code": 21408, "stored": stored}])
    with pytest.raises(TwilioRestException):
        twilio.messages.create(to=recipient, from_=SENDER, body="hello")

    rows = twilio.messages.list(to=recipient)
    assert [("failed", 21408)] * listed == [(status_of(row), row.error_code) for row in rows]


@pytest.mark.parametrize(
    ("step", "status", "code"),
    [
        ({"respond": "error_after_accept", "http_status": 500}, 500, 20500),
        ({"respond": "error_after_accept", "http_status": 502, "html": True}, 502, 502),
    ],
)
def test_error_after_accept_hides_an_accepted_message(
    twilio: Client,
    control: SandboxControl,
    recipient: str,
    step: dict[str, Any],
    *,
    status: int,
    code: int,
) -> None:
    """The client gets an error, but the message is sent."""
    control.script(recipient, [step])
    with pytest.raises(TwilioRestException) as failed:
        twilio.messages.create(to=recipient, from_=SENDER, body="hello")

    assert (status, code) == (failed.value.status, failed.value.code)
    [message] = twilio.messages.list(to=recipient)
    assert until(message, "delivered").sid == control.ledger(to=recipient)["accepted"][0]["sid"]


@pytest.mark.parametrize(
    ("respond", "accepted", "reasons"),
    [("drop_before_accept", 0, ["dropped"]), ("drop_after_accept", 1, [])],
)
def test_drop_closes_the_connection_without_a_byte(
    twilio: Client,
    control: SandboxControl,
    recipient: str,
    respond: str,
    *,
    accepted: int,
    reasons: list[str],
) -> None:
    """The client sees a closed connection without an answer."""
    control.script(recipient, [{"respond": respond}])
    with pytest.raises(requests.exceptions.ConnectionError) as dropped:
        twilio.messages.create(to=recipient, from_=SENDER, body="hello")

    assert "RemoteDisconnected" in repr(dropped.value) or "ConnectionReset" in repr(dropped.value)
    ledger = control.ledger(to=recipient)
    assert accepted == len(ledger["accepted"])
    assert reasons == [row["reason"] for row in ledger["refused"]]
    assert accepted == len(twilio.messages.list(to=recipient))


@pytest.mark.parametrize(
    ("respond", "accepted"), [("hang_before_accept", 0), ("hang_after_accept", 1)]
)
def test_hang_lasts_until_the_client_leaves(
    sandbox_url: str, control: SandboxControl, recipient: str, respond: str, accepted: int
) -> None:
    """The client gets no answer until its read timeout."""
    control.script(recipient, [{"respond": respond}])
    with pytest.raises(requests.exceptions.ReadTimeout):
        twilio_client(sandbox_url, timeout=0.3).messages.create(
            to=recipient, from_=SENDER, body="hello"
        )

    assert accepted == len(control.ledger(to=recipient)["accepted"])


def test_a_hang_ends(twilio: Client, control: SandboxControl, recipient: str) -> None:
    """A client that waits sees the connection closed after the hang's duration."""
    control.script(recipient, [{"respond": "hang_after_accept", "seconds": 0.3}])
    began = time.monotonic()
    with pytest.raises(requests.exceptions.ConnectionError):
        twilio.messages.create(to=recipient, from_=SENDER, body="hello")

    assert 0.3 <= time.monotonic() - began < 5


def test_delay_comes_before_the_answer(
    twilio: Client, control: SandboxControl, recipient: str
) -> None:
    """A delayed answer is late and otherwise normal."""
    control.script(recipient, [{"delay": 0.3}])
    began = time.monotonic()

    assert twilio.messages.create(to=recipient, from_=SENDER, body="hello").sid
    assert time.monotonic() - began >= 0.3


@pytest.mark.parametrize("respond", ["empty_201", "created_no_sid"])
def test_created_without_a_sid(
    twilio: Client, control: SandboxControl, recipient: str, respond: str
) -> None:
    """The SDK gets a message without a SID, although it was accepted."""
    control.script(recipient, [{"respond": respond}])

    assert twilio.messages.create(to=recipient, from_=SENDER, body="hello").sid is None
    assert 1 == len(control.ledger(to=recipient)["accepted"])


def test_created_as_html(twilio: Client, control: SandboxControl, recipient: str) -> None:
    """A 201 that is not JSON makes the SDK fail, although the message was accepted."""
    control.script(recipient, [{"respond": "html_201"}])
    with pytest.raises(json.JSONDecodeError):
        twilio.messages.create(to=recipient, from_=SENDER, body="hello")

    assert 1 == len(control.ledger(to=recipient)["accepted"])


def test_final_failed(twilio: Client, control: SandboxControl, recipient: str) -> None:
    """A script can have Twilio fail to send, with a code."""
    control.script(recipient, [{"final": "failed", "error_code": 30034}])
    message = twilio.messages.create(to=recipient, from_=SENDER, body="hello")

    assert 30034 == until(message, "failed").error_code


def test_listed_late(twilio: Client, control: SandboxControl, recipient: str) -> None:
    """A message that is not listed yet can be fetched by its sid, and is delivered."""
    control.script(recipient, [{"listed_after": 3600}, {"listed_after": 1}])
    hidden, late = (
        twilio.messages.create(to=recipient, from_=SENDER, body="hello") for _ in range(2)
    )

    [listed] = eventually(lambda: twilio.messages.list(to=recipient))
    listed_at = time.time()
    until(hidden, "delivered")

    assert listed.sid == late.sid
    first, second = control.ledger(to=recipient)["accepted"]
    assert [hidden.sid, late.sid] == [first["sid"], second["sid"]]
    assert listed_at >= second["created"] + 1


def test_a_plan_may_list_late() -> None:
    """A plan sets how late messages are listed; its other draws do not change."""
    chances = {"drop_after": 0.5, "callbacks_lost": 0.5}
    without = Plan(seed=1, faults=chances)
    with_it = Plan(seed=1, faults=chances | {"listed_late": 1.0}, unlisted_seconds=7)

    for number in range(20):
        expected = without.draw(str(number)).model_copy(update={"listed_after": 7})
        assert expected == with_it.draw(str(number))


def test_a_plan_affects_creates(twilio: Client, control: SandboxControl, recipient: str) -> None:
    """A plan injects faults into creates until it is cleared."""
    control.plan(1, {"503_before": 1.0})
    with pytest.raises(TwilioRestException) as refused:
        twilio.messages.create(to=recipient, from_=SENDER, body="hello")
    assert 503 == refused.value.status

    control.clear_plan()
    assert twilio.messages.create(to=recipient, from_=SENDER, body="hello").sid


def test_plan_reproduces() -> None:
    """The same seed gives the same faults; another seed gives others."""
    chances = {"429": 0.2, "drop_after": 0.3, "callbacks_lost": 0.5, "undelivered": 0.5}

    def drawn(seed: int) -> list[Step]:
        plan = Plan(seed=seed, faults=chances)
        return [plan.draw(str(number)) for number in range(100)]

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)


def test_a_plan_by_recipient_does_not_depend_on_the_order() -> None:
    """The fault of the nth create to a recipient depends only on recipient and n."""
    plan = Plan(seed=7, faults={"500_before": 0.5})
    first, second = Faults(), Faults()
    first.plan(plan)
    second.plan(plan)
    one = [first.next(to) for to in ("a", "a", "b", "b")]
    other = [second.next(to) for to in ("b", "a", "b", "a")]

    assert one == [other[1], other[3], other[0], other[2]]


def test_a_plan_respects_its_probabilities() -> None:
    """Over many creates, each fault occurs with about its probability."""
    plan = Plan(seed=3, faults={"drop_before": 0.25, "429": 0.25})
    drawn = [plan.draw(str(number)).respond for number in range(4000)]

    assert 900 < drawn.count("drop_before_accept") < 1100
    assert 900 < drawn.count("error") < 1100


@pytest.mark.parametrize("name", sorted(FAULT_NAMES))
def test_every_named_fault_changes_something(name: str) -> None:
    """Each name stands for a step that is not the normal one."""
    assert NORMAL != Plan(seed=1, faults={name: 1.0}).draw("x")


@pytest.mark.parametrize(
    ("path", "request_body", "field"),
    [
        ("plan", {"seed": 1, "faults": {"secret-name": 1}}, "body"),
        ("plan", {"seed": 1, "faults": {"429": 0.6, "drop_after": 0.6}}, "body"),
        ("scripts", {"to": "secret", "steps": [{"respond": "secret"}]}, "body.steps.0.respond"),
        ("scripts", {"to": "secret", "steps": [{"respond": "error"}]}, "body.steps.0"),
        ("inbound", {"from": "+1", "to": "secret"}, "body.body"),
    ],
)
def test_bad_control_request_names_the_field(
    sandbox_url: str, path: str, request_body: dict[str, Any], field: str
) -> None:
    """A bad control request is 422, names the field and repeats no value."""
    answer = httpx.post(f"{sandbox_url}/_sandbox/{path}", json=request_body)

    assert 422 == answer.status_code
    assert field == answer.json()["detail"][0]["field"]
    assert "secret" not in answer.text


def test_bad_settings_are_refused(sandbox_url: str, control: SandboxControl) -> None:
    """Unknown settings and values out of range are 422 and change nothing."""
    before = control.settings()
    for changes in ({"sent_after": -1}, {"speed": 2}, {"inbound_url": "nowhere"}):
        answer = httpx.put(f"{sandbox_url}/_sandbox/settings", json=changes)
        assert 422 == answer.status_code
        assert list(changes) == [one["field"] for one in answer.json()["detail"]]

    assert before == control.settings()
