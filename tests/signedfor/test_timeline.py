"""The timeline of a message, from recorded histories."""

import re
from pathlib import Path

import pytest
from temporalio.client import WorkflowHistory

from signedfor.payloads import data_converter
from signedfor.timeline import Entry, Tone, timeline

_FOLDER = Path(__file__).resolve().parents[1] / "histories"
_SID = "SM" + "0" * 31


def _history(name: str) -> WorkflowHistory:
    return WorkflowHistory.from_json("message:m", (_FOLDER / f"{name}.json").read_text())


def _is_message(name: str) -> bool:
    started = _history(name).events[0].workflow_execution_started_event_attributes
    return started.workflow_type.name == "SendMessage"


MESSAGES = [path.stem for path in sorted(_FOLDER.glob("*.json")) if _is_message(path.stem)]


async def _timeline(name: str) -> list[Entry]:
    return await timeline(_history(name), data_converter)


async def _texts(name: str) -> list[str]:
    return [entry.text for entry in await _timeline(name)]


@pytest.mark.parametrize("name", MESSAGES)
async def test_every_recorded_message_has_a_beginning_and_an_end(name: str) -> None:
    """In order of time, without a number or the text."""
    entries = await _timeline(name)

    assert entries[0].text.startswith("Handed in")
    assert re.match("Ended as|Refused|The workflow", entries[-1].text)
    assert [each.at for each in entries] == sorted(each.at for each in entries)
    for entry in entries:
        assert entry.text.endswith((".", "wrong text")) or entry.text.startswith("Refused")
        assert not re.search(r"\+\d", entry.text)
        assert "parcel" not in entry.text


async def test_a_delivered_message() -> None:
    """What happened, and nothing of Temporal's own tasks."""
    assert [
        "Handed in.",
        f"Attempt 1: Twilio accepted it as {_SID}1.",
        f"Twilio reported sent ({_SID}1).",
        f"Twilio reported delivered ({_SID}1).",
        "Ended as delivered. The carrier confirmed delivery.",
    ] == await _texts("delivered")


async def test_an_unknown_outcome() -> None:
    """Each search says what it found, and a dead letter is named."""
    assert [
        "Handed in.",
        "Attempt 1 failed: It is not known whether Twilio accepted the message.",
        "Somebody asked to cancel it.",
        "Looked in Twilio's list: nothing there could be it.",
        "Looked in Twilio's list: nothing there could be it.",
        "It was not canceled: it is unconfirmed.",
        "A dead letter was opened.",
        (
            "Ended as unconfirmed. "
            "It was canceled while it was not known whether Twilio had accepted it."
        ),
    ] == await _texts("canceled_during_the_search")


async def test_a_wait_says_for_what() -> None:
    """And when it was over."""
    assert [
        "Handed in.",
        "Twilio refuses the account's requests (code 20003); it waits.",
        "It waits no longer.",
        f"Attempt 2: Twilio accepted it as {_SID}1.",
        "Asked Twilio for its status: delivered.",
        "Ended as delivered. The carrier confirmed delivery.",
    ] == await _texts("account_held")


async def test_bad_input_names_the_fields() -> None:
    """A message that was refused says what is wrong with it."""
    handed_in, refused = await _timeline("bad_input")

    assert "Handed in." == handed_in.text
    assert Tone.BAD is refused.tone
    assert "tags: " in refused.text


async def test_who_canceled_it_and_why() -> None:
    """As the request said."""
    assert "ops asked to cancel it: wrong text" in await _texts("canceled_while_scheduled")
