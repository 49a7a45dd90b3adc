"""What operators see of a message in the Temporal UI: current details, and summaries of waits."""

import asyncio
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from temporalio.api.sdk.v1 import WorkflowMetadata
from temporalio.client import WorkflowHandle

from devtools.reference_pages import COMMAND_TREE
from signedfor import advice
from signedfor.advice import WaitsFor
from signedfor.contract import PAUSE_UPDATE, RESUME_UPDATE, CampaignState, Progress, Stage
from signedfor.contract.failures import FailureClass
from signedfor.message_activities import AccountHeld, DatabaseAway, Paused, StatusResult
from signedfor.payloads import data_converter
from tests.histories.recording import reaches
from tests.workflows.campaigns import FakeCampaign, serving_campaign, start_campaign
from tests.workflows.fakes import (
    RECIPIENT,
    REQUEST,
    SENDER,
    TimeSkippingEnvironment,
    accept,
    callback,
    deferred,
    failure,
    limited,
    refuse,
    window_closed,
)

HOUR = timedelta(hours=1)
_TIME = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC"


async def details(handle: WorkflowHandle[Any, Any]) -> str:
    """The current details, as the UI queries them."""
    answer: WorkflowMetadata = await handle.query(
        "__temporal_workflow_metadata", result_type=WorkflowMetadata
    )
    return answer.current_details


async def summaries(handle: WorkflowHandle[Any, Any]) -> list[str]:
    """The summaries of timers and activities in the history, in order."""
    found = []
    async for event in handle.fetch_history_events():
        if event.user_metadata.HasField("summary"):
            (text,) = await data_converter.decode([event.user_metadata.summary], [str])
            found.append(text)
    return found


async def test_a_delivered_message_says_so_and_asks_for_nothing(
    env: TimeSkippingEnvironment,
) -> None:
    """Its receipt's timer says what it waited for, until when, and what would have come then."""
    message = await env.submitted()
    await callback(message, "delivered")
    await message.result()

    text = await details(message)

    assert re.match(rf"\*\*delivered\*\* since {_TIME}\n", text)
    assert "The carrier confirmed delivery." in text
    assert "**What to do:** Nothing." in text
    assert f"signedfor show {message.id.removeprefix('message:')}" in text
    (timer,) = await summaries(message)
    assert re.fullmatch(
        rf"waits for Twilio's receipt until {_TIME}, then asks for the status", timer
    )


@pytest.mark.parametrize(
    ("scripted", "expected"),
    [
        (deferred(2 * HOUR), "its sender's rate limit"),
        (window_closed(10 * HOUR), "its send window to open"),
        (limited(10 * HOUR), "a place within a limit: person=5/24h"),
    ],
)
async def test_a_timer_says_what_it_waits_for_and_until_when(
    env: TimeSkippingEnvironment, scripted: Any, expected: str
) -> None:
    """So do the details while it runs."""
    env.fakes.sends = [refuse(scripted), accept()]
    env.fakes.statuses = [StatusResult(status="delivered")]
    message = await env.start()
    await reaches(message, Stage.WAITING)

    text = await details(message)

    assert re.search(rf"Waits for {expected}, until {_TIME}\.\n", text)
    await message.result()
    assert re.fullmatch(rf"waits for {expected} until {_TIME}", (await summaries(message))[0])


async def test_a_retry_says_what_twilio_said_and_how_long_it_is_tried(
    env: TimeSkippingEnvironment,
) -> None:
    """The code has its meaning and a link; the wait and the attempts name the code."""
    busy = failure(FailureClass.TEMPORARILY_UNAVAILABLE, code=20429, retry_after=HOUR)
    env.fakes.sends = [busy, accept()]
    env.fakes.statuses = [StatusResult(status="delivered")]
    message = await env.start()
    await reaches(message, Stage.RETRYING)

    text = await details(message)

    assert "**Twilio said:** [20429](https://www.twilio.com/docs/api/errors/20429) Too many" in text
    assert re.search(rf"- Tried until: {_TIME}\n- Attempts: 1\n", text)
    assert f"signedfor cancel {message.id.removeprefix('message:')}" in text
    await message.result()
    wait, attempt, *_ = await summaries(message)
    after = "after Twilio's 20429"
    assert re.fullmatch(rf"waits for its next attempt until {_TIME}, {after}", wait)
    assert f"attempts from number 2 on, {after}" == attempt


async def test_a_retry_without_an_answer_says_so(env: TimeSkippingEnvironment) -> None:
    """There is no code that would say why."""
    env.fakes.sends = [failure(FailureClass.TEMPORARILY_UNAVAILABLE, retry_after=HOUR)]
    message = await env.start()
    await reaches(message, Stage.RETRYING)

    text = await details(message)

    assert "Twilio could not be reached, or did not process it." in text
    assert "Twilio said" not in text


async def test_a_paused_message_of_a_campaign_names_both_that_may_be_paused(
    env: TimeSkippingEnvironment,
) -> None:
    """Its sender and its campaign."""
    env.fakes.sends, env.fakes.resumes = [refuse(Paused()), accept()], [None]
    message = await env.start({**REQUEST, "campaign_id": "spring"})
    await reaches(message, Stage.WAITING)

    text = await details(message)

    assert "signedfor senders list\nsignedfor campaign status spring\n" in text


async def test_an_unknown_outcome_warns_against_sending_again(
    env: TimeSkippingEnvironment,
) -> None:
    """The recipient may have it; there is no code to show."""
    env.fakes.sends = [failure(FailureClass.OUTCOME_UNKNOWN)]
    message = await env.start()
    await reaches(message, Stage.RESOLVING)

    text = await details(message)

    assert "**What to do:** Do not send it again by hand" in text
    assert "Twilio said" not in text
    assert "Tried until" not in text


@pytest.mark.parametrize(
    ("decision", "waits_for", "to_do"),
    [
        (Paused(), WaitsFor.RESUME, "`signedfor senders resume`"),
        (DatabaseAway(), WaitsFor.DATABASE, "Bring the database back"),
        (AccountHeld(error_code=20003), WaitsFor.ACCOUNT, "Compare account SID and auth token"),
    ],
)
async def test_what_an_operator_must_end_says_how(
    env: TimeSkippingEnvironment, decision: Any, waits_for: WaitsFor, to_do: str
) -> None:
    """A pause, an absent database, an account that Twilio refuses."""
    env.fakes.sends = [refuse(lambda _: decision), accept()]
    env.fakes.resumes = [None]
    message = await env.start()
    await reaches(message, Stage.WAITING)

    text = await details(message)

    assert f"Waits for {waits_for}." in text
    assert to_do in text
    assert [f"waits for {waits_for}"] == await summaries(message)


async def test_a_failed_message_names_its_dead_letter(env: TimeSkippingEnvironment) -> None:
    """With what Twilio said, the advice for its code, and the commands that decide."""
    env.fakes.sends = [failure(FailureClass.SENDER_MISCONFIGURED, code=21408, final=True)]
    message = await env.start(message_id="order-1")
    await message.result()

    text = await details(message)

    assert "**failed** since" in text
    assert "Geo permissions" in text
    assert "- Failure class: SenderMisconfigured" in text
    for command in ("show", "retry", "discard"):
        assert f"signedfor dead-letters {command} order-1\n" in text


async def test_a_closed_dead_letter_offers_no_decision(env: TimeSkippingEnvironment) -> None:
    """An opt-out is recorded, and its dead letter closed at once."""
    env.fakes.sends = [failure(FailureClass.RECIPIENT_OPTED_OUT, code=21610, final=True)]
    message = await env.start()
    await message.result()

    text = await details(message)

    assert "signedfor dead-letters show" in text
    assert "signedfor dead-letters retry" not in text


async def test_no_text_holds_a_number_or_a_body(env: TimeSkippingEnvironment) -> None:
    """Neither the details at any stage nor a summary."""
    busy = failure(FailureClass.TEMPORARILY_UNAVAILABLE, code=20429, retry_after=HOUR)
    env.fakes.sends = [busy, refuse(deferred(HOUR), after_attempts=1), accept()]
    env.fakes.statuses = [StatusResult(status="undelivered", error_code=30006)]
    message = await env.start()
    await reaches(message, Stage.RETRYING)
    shown = [await details(message)]
    await message.result()

    shown += [await details(message), *await summaries(message)]

    assert len(shown) > 5
    for canary in (RECIPIENT[1:], SENDER[1:], REQUEST["body"]):
        assert [] == [each for each in shown if canary in each]


async def test_a_campaign_says_what_it_waits_for_and_how_to_decide(
    env: TimeSkippingEnvironment,
) -> None:
    """Running, paused and finished; its timer says what it waited for."""
    fake = FakeCampaign(rows=3, page=2, next_in=HOUR)
    async with serving_campaign(env.client, fake) as queue:
        campaign = await start_campaign(env.client, queue, workflow_id="campaign:spring")
        await fake.until_dispatched(2)
        running = await _details_with(campaign, "2 of 3 rows")
        await campaign.execute_update(PAUSE_UPDATE)
        paused = await details(campaign)
        await campaign.execute_update(RESUME_UPDATE)
        await campaign.result()
        finished = await details(campaign)

    waits_for = rf"its sender to have sent what it was given, until {_TIME}"
    assert re.search(rf"\*\*running\*\* since {_TIME}\n(.|\n)*Waits for {waits_for}\.", running)
    assert "signedfor campaign pause spring\nsignedfor campaign cancel spring" in running
    assert "**paused**" in paused
    assert "Waits for" not in paused
    assert "signedfor campaign resume spring" in paused
    assert "signedfor campaign report spring" in finished
    assert any(re.fullmatch(f"waits for {waits_for}", each) for each in await summaries(campaign))


async def _details_with(handle: WorkflowHandle[Any, Any], text: str) -> str:
    async with asyncio.timeout(30):
        while text not in (shown := await details(handle)):  # noqa: ASYNC110 - a query
            await asyncio.sleep(0.05)
    return shown


def test_every_command_that_is_advised_exists() -> None:
    """In the advice for each wait and outcome, and among the commands to copy."""
    source = Path(advice.__file__).read_text()
    named = {
        match[1].strip() for match in re.finditer(r"[`\"](signedfor(?: [a-z][a-z-]*)+)", source)
    }

    assert {"signedfor doctor", "signedfor senders resume", "signedfor cancel"} <= named
    assert [] == sorted(named - COMMAND_TREE.keys())


def test_each_wait_and_each_state_of_a_campaign_has_its_advice() -> None:
    """None falls back to "nothing to do"."""
    progress = Progress(message_id="m", status="waiting", since=datetime.now(UTC), waiting_for="")

    assert "Nothing." == advice.what_to_do(progress)
    for each in WaitsFor:
        assert "Nothing." != advice.what_to_do(progress.model_copy(update={"waiting_for": each}))
    for state in CampaignState:
        assert advice.what_to_do_about_campaign(state)
        assert advice.campaign_commands("spring", state)
