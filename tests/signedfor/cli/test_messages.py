"""`signedfor show` and `signedfor cancel`: one message, while it runs and afterwards."""

import asyncio
from typing import Any

import pytest

from signedfor.contract import CANCEL_UPDATE, CancelRequest, message_workflow_id
from signedfor.contract.failures import FailureClass
from tests.signedfor.cli.support import (
    TEXT,
    CommandLine,
    LiveSystem,
    new_id,
    shows_nothing_private,
    until,
)
from tests.workflows.fakes import RECIPIENT, SENDER, failure, sid

LATER = ("--send-at", "2099-01-01T00:00:00Z")


async def waiting_for_receipt(system: LiveSystem) -> str:
    """The id of a message that Twilio has accepted."""
    message_id = await system.send()

    async def show() -> Any:
        return await system.cli.document("show", message_id)

    await until(show, lambda it: it["status"] == "awaiting_receipt")
    return message_id


async def test_a_running_message_shows_what_it_waits_for(system: LiveSystem) -> None:
    """Stage, since when, what for and until when; the sender masked, no number, no text."""
    message_id = await waiting_for_receipt(system)

    result = await system.cli.later("show", message_id)
    document = await system.cli.document("show", message_id)

    assert 0 == result.exit_code
    assert "awaiting_receipt since" in result.stdout
    assert "a receipt from Twilio, at most until" in result.stdout
    assert "+1500***0006" in result.stdout
    assert sid() in result.stdout
    assert shows_nothing_private(result)
    assert (sid(), 1) == (document["progress"]["message_sid"], document["progress"]["attempts"])


async def test_an_ended_message_shows_its_report(system: LiveSystem) -> None:
    """Its outcome, the code's meaning, and what to do about it."""
    message_id = await system.send("--tag", "order=17")
    await system.receive(message_id, "undelivered", code=30006)
    await system.ended(message_id)

    result = await system.cli.later("show", f"message:{message_id}")
    document = await system.cli.document("show", message_id)

    assert 0 == result.exit_code
    assert "undelivered at" in result.stdout
    assert "RecipientUnreachable 30006" in result.stdout
    assert f"signedfor dead-letters show {message_id}" in result.stdout
    assert shows_nothing_private(result)
    assert 30006 == document["advice"]["error_code"]
    assert "tags" not in document["report"]


async def test_reveal_shows_number_text_and_tags(system: LiveSystem) -> None:
    """`--reveal` shows what was to be sent, for a running and for an ended message."""
    message_id = await system.send("--tag", "order=17")
    await system.receive(message_id, "delivered")
    await system.ended(message_id)

    result = await system.cli.later("show", message_id, "--reveal")
    document = await system.cli.document("show", message_id, "--reveal")

    assert all(value in result.stdout for value in (RECIPIENT, SENDER, TEXT, "order=17"))
    assert (RECIPIENT, TEXT) == (document["request"]["to"], document["request"]["body"])
    assert {"order": "17"} == document["report"]["tags"]


async def test_escape_sequences_in_a_text_are_escaped(system: LiveSystem) -> None:
    """A text cannot write to the operator's terminal."""
    message_id = new_id()
    await system.cli.later(
        *("send", RECIPIENT, "--from", SENDER, "--id", message_id, *LATER),
        *("--body", "\x1b]0;title\x07[bold]hi"),
    )

    result = await system.cli.later("show", message_id, "--reveal")

    assert r"\x1b]0;title\x07[bold]hi" in result.stdout


async def test_an_unknown_code_links_to_twilios_page(system: LiveSystem) -> None:
    """The advice for a code that the table lacks is to look it up at Twilio."""
    system.fakes.sends = [failure(FailureClass.REQUEST_REJECTED, code=29999)]
    message_id = await system.send()
    await system.ended(message_id)

    result = await system.cli.later("show", message_id)

    assert "RequestRejected 29999" in result.stdout
    assert "twilio.com/docs/api/errors" in result.stdout


@pytest.mark.parametrize("command", ["show", "cancel"])
async def test_there_is_no_such_message(system: LiveSystem, command: str) -> None:
    """An id that Temporal does not know is bad input."""
    document = await system.cli.document(command, new_id(), exit_code=2)

    assert "not_found" == document["error"]["kind"]


@pytest.mark.parametrize("command", ["show", "cancel"])
def test_an_invalid_id(cli: CommandLine, command: str) -> None:
    """The argument is named, its value is not repeated, and Temporal is not asked."""
    result = cli(command, "no such id")

    assert 2 == result.exit_code
    assert "MESSAGE_ID: must be" in result.stderr
    assert "no such id" not in result.output


async def test_bad_input_shows_as_such(system: LiveSystem) -> None:
    """A message that failed because of bad input names the field."""
    message_id = new_id()
    await system.cli.later("send", RECIPIENT, "--body", TEXT, "--id", message_id)

    async def show() -> Any:
        return await system.cli.document("show", message_id)

    document = await until(show, lambda it: it["status"] == "failed")

    assert ["from"] == [each["field"] for each in document["error"]["fields"]]


async def test_without_workers_the_status_in_temporal_is_shown(
    cli_without_worker: CommandLine,
) -> None:
    """The output has the stage that Temporal stores, and the reason why it has no more."""
    message_id = new_id()
    send = ("send", RECIPIENT, "--from", SENDER, "--body", TEXT, "--id", message_id)
    await cli_without_worker.later(*send)

    document = await cli_without_worker.document("show", message_id, "--timeout", "1", exit_code=1)

    assert "sending" == document["status"]
    assert "No worker answers" in document["error"]["message"]


async def test_a_waiting_message_is_canceled(system: LiveSystem) -> None:
    """A message can be canceled before it is submitted; a second cancel gives the same answer."""
    message_id = await system.send(*LATER)

    first = await system.cli.later("cancel", message_id, "--reason", "wrong day")
    await system.ended(message_id)
    second = await system.cli.document("cancel", message_id)

    assert 0 == first.exit_code
    assert "is canceled" in first.stdout
    assert {"message_id": message_id, "canceled": True, "status": "canceled"} == second
    assert [] == system.posts(message_id)


async def test_a_reason_with_the_recipients_number_is_refused(system: LiveSystem) -> None:
    """Also without the country's code: all who see the history could read it."""
    message_id = await system.send(*LATER)

    refused = await system.cli.later("cancel", message_id, "--reason", f"not {RECIPIENT[-7:]}")

    assert 2 == refused.exit_code
    assert "--reason: must not contain the recipient's number" in refused.stderr
    assert RECIPIENT[-7:] not in refused.output
    assert "canceled" not in (await system.cli.document("show", message_id))["status"]


async def test_who_and_why_are_recorded(system: LiveSystem) -> None:
    """The message's history says who canceled it and why."""
    message_id = await system.send(*LATER)
    await system.cli.later("cancel", message_id, "--reason", "wrong day", "--by", "Ada")

    history = await system.client.get_workflow_handle(
        message_workflow_id(message_id)
    ).fetch_history()
    (accepted,) = [
        event.workflow_execution_update_accepted_event_attributes.accepted_request
        for event in history.events
        if event.HasField("workflow_execution_update_accepted_event_attributes")
    ]
    (request,) = await system.client.data_converter.decode(
        accepted.input.args.payloads, [CancelRequest]
    )

    assert CANCEL_UPDATE == accepted.input.name
    assert CancelRequest(by="Ada", reason="wrong day") == request


async def test_a_submitted_message_is_not_canceled(system: LiveSystem) -> None:
    """A message that Twilio has is not canceled: 3, and its stage."""
    message_id = await waiting_for_receipt(system)

    document = await system.cli.document("cancel", message_id, exit_code=3)

    assert (False, "awaiting_receipt") == (document["canceled"], document["status"])


async def test_an_ended_message_is_not_canceled(system: LiveSystem) -> None:
    """A delivered message is not canceled: 3, and its outcome."""
    message_id = await system.send()
    await system.receive(message_id, "delivered")
    await system.ended(message_id)

    result = await system.cli.later("cancel", message_id)

    assert 3 == result.exit_code
    assert "Not canceled" in result.stdout
    assert "delivered" in result.stdout


async def test_canceling_without_workers_is_unconfirmed(cli_without_worker: CommandLine) -> None:
    """No worker answers, so the result is not known: 4."""
    message_id = new_id()
    send = ("send", RECIPIENT, "--from", SENDER, "--body", TEXT, "--id", message_id)
    await cli_without_worker.later(*send)

    result = await asyncio.to_thread(cli_without_worker, "cancel", message_id, "--timeout", "1")

    assert 4 == result.exit_code
    assert "It is not known whether" in result.stderr


def test_a_reason_that_is_too_long(cli: CommandLine) -> None:
    """The option is named and its value is not repeated."""
    result = cli("cancel", "some-id", "--reason", "x" * 1001)

    assert 2 == result.exit_code
    assert "--reason: " in result.stderr
    assert "xxx" not in result.output
