"""The search in Twilio's list: what it takes for ours, and what it must not."""

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
from tests.activities.conftest import pacing
from tests.activities.search.conftest import TEXT, Finding, found_sid, look, message, template
from tests.devtools.sandbox.support import SENDER, SERVICE
from tests.integration.support import until_true


async def _failed(twilio: TwilioClient, sandbox_url: str, to: str) -> str:
    """Create a message that fails soon after Twilio has accepted it; return its SID."""
    with SandboxControl(sandbox_url) as control:
        control.script(to, [{"final": "failed", "error_code": 30008}])
        usual = control.settings()["sent_after"]
        control.settings(sent_after=0)
        sid = str(twilio.messages.create(to=to, from_=SENDER, body=TEXT).sid)
        await until_true(
            lambda: str(twilio.messages(sid).fetch().status) == "failed",
            "the message to fail",
        )
        control.settings(sent_after=usual)
    return sid


async def test_a_listed_message_is_found(
    searching: TwilioSearch, twilio: TwilioClient, to: str
) -> None:
    """Same recipient, sender and text, created since: that is ours."""
    created = twilio.messages.create(to=to, from_=SENDER, body=TEXT)

    result = await look(searching, message(to))

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
async def test_what_was_sent_from_elsewhere_is_not_ours(
    searching: TwilioSearch, twilio: TwilioClient, to: str, created: dict[str, Any], sender: str
) -> None:
    """Another sender; no service, or one that chose the number that we send from directly."""
    twilio.messages.create(to=to, body=TEXT, **created)

    assert isinstance(await look(searching, message(to), sender=sender), Absent)


async def test_a_service_is_searched_by_recipient(
    searching: TwilioSearch, twilio: TwilioClient, to: str
) -> None:
    """A Messaging Service's row has its own sender, or none yet; the service is what counts."""
    created = twilio.messages.create(to=to, messaging_service_sid=SERVICE, body=TEXT)

    result = await look(searching, message(to), sender=SERVICE)

    assert isinstance(result, Found)
    assert created.sid == result.message_sid


async def test_refused_creates_are_passed_over(
    searching: TwilioSearch, twilio: TwilioClient, sandbox_url: str, to: str
) -> None:
    """Twilio lists a create that it refused as `failed`: that is no acceptance."""
    with SandboxControl(sandbox_url) as control:
        control.script(to, [{"respond": "error", "code": 21612, "http_status": 400}])
    with pytest.raises(TwilioRestException, match="HTTP 400"):
        twilio.messages.create(to=to, from_=SENDER, body=TEXT)

    assert isinstance(await look(searching, message(to)), Absent)


async def test_what_failed_after_it_was_taken_is_found(
    searching: TwilioSearch, twilio: TwilioClient, sandbox_url: str, to: str
) -> None:
    """Twilio had it: it is not sent again as if it had not, but goes the way of its code."""
    sid = await _failed(twilio, sandbox_url, to)

    result = await look(searching, message(to))

    assert isinstance(result, Found)
    assert (sid, "failed", 30008) == (
        result.message_sid,
        result.status,
        result.error_code,
    )


async def test_what_failed_is_not_taken_where_something_else_could_be_it(
    searching: TwilioSearch, twilio: TwilioClient, sandbox_url: str, to: str
) -> None:
    """Beside a message that goes on, one that failed is another program's."""
    await _failed(twilio, sandbox_url, to)
    created = twilio.messages.create(to=to, from_=SENDER, body=TEXT)

    assert created.sid == await found_sid(look(searching, message(to)))


async def test_older_and_own_messages_are_passed_over(
    searching: TwilioSearch, twilio: TwilioClient, to: str
) -> None:
    """What was created before the POST, or is an earlier submission of ours, is not the new one."""
    created = twilio.messages.create(to=to, from_=SENDER, body=TEXT)
    later = datetime.now(UTC) + timedelta(minutes=5)

    assert isinstance(await look(searching, message(to), since=later), Absent)
    assert isinstance(await look(searching, message(to), own_sids=(created.sid,)), Absent)


async def test_what_was_never_noted_was_not_submitted(
    searching: TwilioSearch, twilio: TwilioClient, to: str
) -> None:
    """A note comes before each POST: without one there was none, whatever Twilio lists."""
    assert NeverSubmitted() == await look(searching, message(to), recorded=False)
    twilio.messages.create(to=to, from_=SENDER, body=TEXT)

    assert NeverSubmitted() == await look(searching, message(to), recorded=False)


async def test_what_is_older_than_the_notes_is_not_guessed(
    searching: TwilioSearch, twilio: TwilioClient, to: str
) -> None:
    """Notes are kept for days: its own may be gone, and those of other messages too."""
    days_ago = datetime.now(UTC) - timedelta(days=3)

    async def finding() -> Finding:
        return await look(searching, message(to), recorded=False, since=days_ago)

    assert isinstance(await finding(), Absent)
    twilio.messages.create(to=to, from_=SENDER, body=TEXT)

    assert Ambiguous() == await finding()


async def test_what_is_older_than_its_notes_is_not_ours(
    sqlite_engine: Engine, searching: TwilioSearch, twilio: TwilioClient, to: str
) -> None:
    """It was unknown days ago, and of that time no notes are kept: only the new POST counts."""
    twilio.messages.create(to=to, from_=SENDER, body=TEXT)
    now = datetime.now(UTC)
    posts = SendAttempts(
        sqlite_engine, pacing(sqlite_engine), now=lambda: now + timedelta(minutes=5)
    )
    posts.claim("mine", message(to), sender=SENDER)
    days_ago = now - timedelta(days=3)

    result = await look(searching, message(to), recorded=False, since=days_ago)

    assert isinstance(result, Absent)


async def test_a_template_is_not_guessed(
    searching: TwilioSearch, twilio: TwilioClient, to: str
) -> None:
    """Of two texts that nobody owns either could be the template's."""
    wanted = template(to)
    for text in ("As it was rendered.", "By another program."):
        twilio.messages.create(to=wanted.to, from_=SENDER, body=text)

    assert Ambiguous() == await look(searching, wanted)


async def test_a_search_that_fails_says_nothing_personal(
    sqlite_engine: Engine, temporal: Client, twilio: TwilioClient, to: str
) -> None:
    """Twilio's own texts repeat numbers; ours do not."""
    twilio.api.base_url = "http://127.0.0.1:9"
    searching = TwilioSearch(twilio, SendAttempts(sqlite_engine, pacing(sqlite_engine)), temporal)
    with pytest.raises(ApplicationError) as failed:
        await look(searching, message(to))

    assert "SearchFailed" == failed.value.type
    assert to.removeprefix("+") not in str(failed.value)
