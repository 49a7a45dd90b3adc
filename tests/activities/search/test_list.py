"""Searching Twilio's list for a message: what matches and what must not."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine
from temporalio.client import Client
from temporalio.exceptions import ApplicationError
from twilio.base.exceptions import TwilioRestException

from activities.search import TwilioSearch
from devtools.sandbox.client import SandboxControl
from signedfor.message_activities import Absent, Ambiguous, Found, NeverSubmitted
from signedfor.store.send_attempts import SendAttempts
from signedfor.twilio.client import TwilioClient
from tests.activities.conftest import unlimited_rates
from tests.activities.search.conftest import TEXT, Finding, find, found_sid, message, template
from tests.devtools.sandbox.support import SENDER, SERVICE
from tests.integration.support import until_true


async def _failed(twilio: TwilioClient, sandbox_url: str, to: str) -> str:
    """Create a message that fails soon after Twilio has accepted it; return its SID."""
    with SandboxControl(sandbox_url) as control:
        control.script(to, [{"final": "failed", "error_code": 30008}])
        sent_after = control.settings()["sent_after"]
        control.settings(sent_after=0)
        sid = str(twilio.messages.create(to=to, from_=SENDER, body=TEXT).sid)
        await until_true(
            lambda: str(twilio.messages(sid).fetch().status) == "failed",
            "the message to fail",
        )
        control.settings(sent_after=sent_after)
    return sid


async def test_a_listed_message_is_found(
    search: TwilioSearch, twilio: TwilioClient, to: str
) -> None:
    """It has the same recipient, sender and text, and was created since the POST."""
    created = twilio.messages.create(to=to, from_=SENDER, body=TEXT)

    result = await find(search, message(to))

    assert isinstance(result, Found)
    assert (created.sid, "queued") == (
        result.message_sid,
        result.status,
    )


@pytest.mark.parametrize(
    ("created", "sender"),
    [
        ({"from_": "+15005550009"}, SENDER),
        ({"from_": SENDER}, SERVICE),
        ({"from_": SENDER, "messaging_service_sid": SERVICE}, SENDER),
    ],
)
async def test_messages_from_another_sender_do_not_match(
    search: TwilioSearch, twilio: TwilioClient, to: str, created: dict[str, Any], sender: str
) -> None:
    """Nor do those without our service, or from a service that chose the number we send from."""
    twilio.messages.create(to=to, body=TEXT, **created)

    assert isinstance(await find(search, message(to), sender=sender), Absent)


async def test_messages_of_a_messaging_service_match_by_service(
    search: TwilioSearch, twilio: TwilioClient, to: str
) -> None:
    """Their sender is chosen by the service, or not yet; only the service's SID counts."""
    created = twilio.messages.create(to=to, messaging_service_sid=SERVICE, body=TEXT)

    result = await find(search, message(to), sender=SERVICE)

    assert isinstance(result, Found)
    assert created.sid == result.message_sid


async def test_refused_creates_do_not_match(
    search: TwilioSearch, twilio: TwilioClient, sandbox_url: str, to: str
) -> None:
    """Twilio lists a create that it refused as `failed`, although it was not accepted."""
    with SandboxControl(sandbox_url) as control:
        control.script(to, [{"respond": "error", "code": 21612, "http_status": 400}])
    with pytest.raises(TwilioRestException, match="HTTP 400"):
        twilio.messages.create(to=to, from_=SENDER, body=TEXT)

    assert isinstance(await find(search, message(to)), Absent)


async def test_a_message_that_failed_after_acceptance_is_found(
    search: TwilioSearch, twilio: TwilioClient, sandbox_url: str, to: str
) -> None:
    """Its error code decides what happens next; it is not sent again as never submitted."""
    sid = await _failed(twilio, sandbox_url, to)

    result = await find(search, message(to))

    assert isinstance(result, Found)
    assert (sid, "failed", 30008) == (
        result.message_sid,
        result.status,
        result.error_code,
    )


async def test_a_failed_message_does_not_match_beside_another_match(
    search: TwilioSearch, twilio: TwilioClient, sandbox_url: str, to: str
) -> None:
    """If two messages match, the failed one belongs to another program."""
    await _failed(twilio, sandbox_url, to)
    created = twilio.messages.create(to=to, from_=SENDER, body=TEXT)

    assert created.sid == await found_sid(find(search, message(to)))


def _claim(engine: Engine, to: str, *, at: datetime) -> None:
    """Record a POST of the message at that time."""
    attempts = SendAttempts(engine, unlimited_rates(engine), now=lambda: at)
    attempts.claim("mine", message(to), sender=SENDER)


async def test_older_and_own_messages_do_not_match(
    sqlite_engine: Engine, search: TwilioSearch, twilio: TwilioClient, to: str
) -> None:
    """These were created before the POST, or are earlier submissions of the same message."""
    created = twilio.messages.create(to=to, from_=SENDER, body=TEXT)
    later = datetime.now(UTC) + timedelta(minutes=5)
    _claim(sqlite_engine, to, at=later)

    assert isinstance(await find(search, message(to), recorded=False, since=later), Absent)
    assert isinstance(
        await find(search, message(to), recorded=False, own_sids=(created.sid,)), Absent
    )


async def test_a_post_of_an_earlier_run_is_found(
    sqlite_engine: Engine, search: TwilioSearch, twilio: TwilioClient, to: str
) -> None:
    """The workflow was reset, and its own attempt, minutes later, was lost before the claim."""
    created = twilio.messages.create(to=to, from_=SENDER, body=TEXT)
    _claim(sqlite_engine, to, at=datetime.now(UTC))
    later = datetime.now(UTC) + timedelta(minutes=14)

    found = find(search, message(to), recorded=False, since=later)

    assert created.sid == await found_sid(found)


async def test_a_message_without_an_attempt_record_was_never_submitted(
    search: TwilioSearch, twilio: TwilioClient, to: str
) -> None:
    """A record is written before each POST; without one, Twilio's list does not matter."""
    assert NeverSubmitted() == await find(search, message(to), recorded=False)
    twilio.messages.create(to=to, from_=SENDER, body=TEXT)

    assert NeverSubmitted() == await find(search, message(to), recorded=False)


async def test_the_search_is_ambiguous_for_sends_older_than_the_attempt_records(
    search: TwilioSearch, twilio: TwilioClient, to: str
) -> None:
    """Records are deleted after some days, this message's own and those of others."""
    days_ago = datetime.now(UTC) - timedelta(days=3)

    async def finding() -> Finding:
        return await find(search, message(to), recorded=False, since=days_ago)

    assert isinstance(await finding(), Absent)
    twilio.messages.create(to=to, from_=SENDER, body=TEXT)

    assert Ambiguous() == await finding()


async def test_only_the_recorded_post_counts_if_older_records_are_deleted(
    sqlite_engine: Engine, search: TwilioSearch, twilio: TwilioClient, to: str
) -> None:
    """Messages that Twilio created before that POST do not match."""
    twilio.messages.create(to=to, from_=SENDER, body=TEXT)
    now = datetime.now(UTC)
    _claim(sqlite_engine, to, at=now + timedelta(minutes=5))
    days_ago = now - timedelta(days=3)

    result = await find(search, message(to), recorded=False, since=days_ago)

    assert isinstance(result, Absent)


async def test_the_search_for_a_template_is_ambiguous_between_two_texts(
    search: TwilioSearch, twilio: TwilioClient, to: str
) -> None:
    """Neither belongs to another message, so either could be the rendered template."""
    wanted = template(to)
    for text in ("As it was rendered.", "By another program."):
        twilio.messages.create(to=wanted.to, from_=SENDER, body=text)

    assert Ambiguous() == await find(search, wanted)


async def test_a_failed_search_contains_no_personal_data(
    sqlite_engine: Engine, temporal: Client, twilio: TwilioClient, to: str
) -> None:
    """Twilio's error messages repeat numbers; ours do not."""
    twilio.api.base_url = "http://127.0.0.1:9"
    search = TwilioSearch(
        twilio, SendAttempts(sqlite_engine, unlimited_rates(sqlite_engine)), temporal
    )
    with pytest.raises(ApplicationError) as failed:
        await find(search, message(to))

    assert "SearchFailed" == failed.value.type
    assert to.removeprefix("+") not in str(failed.value)
