"""Replies to keywords, from the file INBOUND_REPLIES_FILE."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from sqlalchemy import Engine
from temporalio.client import Client

from signedfor.contract import InboundKind
from signedfor.store.database import open_engine
from tests.webhook.support import PERSON, SENDER, SETTINGS, Twilio
from webhook.app import create_app
from webhook.replies import NO_REPLY, InvalidReplies, Replies, read_replies

SERVICE = "MG" + "d" * 32
TEXTS = f"""
[default]
help = 'Mail to <help@example.com> & "us" 👍'

["+1 500 555 0006"]
help = "Call us.\\nAny time."
start = ""

["{SERVICE}"]
help = "The service's text"
stop = "You get no more."
start = "Hello again."
"""

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write the file."""

    def written(text: str) -> Path:
        path = tmp_path / "replies.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return written


def _text(twiml: bytes) -> str | None:
    """What Twilio sends to the person."""
    document = ET.fromstring(twiml)  # noqa: S314 - our own response
    assert "Response" == document.tag
    return document.findtext("Message")


@pytest.fixture
async def twilio(
    client_without_server: Client, sqlite_engine: Engine, write: Write
) -> AsyncIterator[Twilio]:
    """Twilio, calling a webhook that has replies."""
    settings = SETTINGS.model_copy(update={"inbound_replies_file": write(TEXTS)})
    app = create_app(settings, client=client_without_server, engine=sqlite_engine)
    twilio = Twilio.calling(app)
    yield twilio
    await twilio.http.aclose()


@pytest.mark.parametrize(
    ("body", "fields", "expected"),
    [
        ("HELP", {}, "Call us.\nAny time."),
        ("HELP", {"To": "+15005550001"}, 'Mail to <help@example.com> & "us" 👍'),
        ("HELP", {"To": "+15005550001", "MessagingServiceSid": SERVICE}, "The service's text"),
        ("HELP", {"MessagingServiceSid": SERVICE}, "Call us.\nAny time."),
        ("STOP", {"MessagingServiceSid": SERVICE}, "You get no more."),
        ("STOP", {}, None),
        ("start", {"MessagingServiceSid": SERVICE}, None),
        ("help me please, where is it?", {}, None),
        ("please stop texting me", {"MessagingServiceSid": SERVICE}, None),
    ],
)
async def test_a_keyword_is_answered_with_the_senders_text(
    twilio: Twilio, body: str, fields: dict[str, str], expected: str | None
) -> None:
    """That of the number, else of its service, else the default; an empty text is no reply."""
    response = await twilio.inbound(body, **fields)

    assert 200 == response.status_code
    assert "text/xml" == response.headers["content-type"].partition(";")[0]
    assert expected == _text(response.content)


async def test_the_same_delivery_gets_the_same_answer(twilio: Twilio) -> None:
    """Twilio did not get the first one, or does not say."""
    first, second = [await twilio.inbound("HELP") for _ in range(2)]

    assert "Call us.\nAny time." == _text(first.content)
    assert first.content == second.content


async def test_a_short_code_gets_no_reply(twilio: Twilio) -> None:
    """Nothing can be sent to it."""
    response = await twilio.inbound("HELP", From="72345")

    assert NO_REPLY == response.content


async def test_a_message_that_is_not_stored_gets_no_reply(
    client_without_server: Client, write: Write, tmp_path: Path
) -> None:
    """Twilio is asked to try again."""
    engine = open_engine(f"sqlite:///{tmp_path}/empty.db")
    settings = SETTINGS.model_copy(update={"inbound_replies_file": write(TEXTS)})
    app = create_app(settings, client=client_without_server, engine=engine)

    response = await Twilio.calling(app).inbound("HELP")
    engine.dispose()

    assert 503 == response.status_code
    assert "Call us" not in response.text


@pytest.mark.parametrize("kind", InboundKind)
def test_without_a_file_there_is_no_reply(kind: InboundKind) -> None:
    """The TwiML is empty."""
    assert NO_REPLY == read_replies(None).to(kind, SENDER, service=None)
    assert NO_REPLY == Replies().to(kind, SENDER, service=SERVICE)


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ('["+15005550006"]\nhelp = "a" b', ["is not TOML (at line 2"]),
        ('["+15005550006"]\n["+15005550006"]', ["is not TOML"]),
        ('help = "secret text"', ["table 1: must be a table, such as [default]"]),
        ('["+15005550006"]\nother = "secret text"', ["table 1 (+1500***0006): other: Extra"]),
        ('["+15005550006"]\nhelp = 5', ["table 1 (+1500***0006): help: Input should be"]),
        ('[default]\nhelp = "secret \\u0007 text"', ["table 1 (default): help: has a control"]),
        (f'[default]\nhelp = "{"secret " * 300}"', ["table 1 (default): help: is longer than"]),
        (
            '[default]\nhelp = "x"\n["5005550006"]\nhelp = "x"\n["12"]',
            ["table 2: its name must be default or a sender", "table 3: its name must be"],
        ),
    ],
)
def test_a_wrong_file_is_refused(write: Write, text: str, problems: list[str]) -> None:
    """The error says where, and repeats no number and no text."""
    with pytest.raises(InvalidReplies) as caught:
        read_replies(write(text))

    assert [] == [each for each in problems if each not in str(caught.value)]
    shown = str(caught.value)
    assert "INBOUND_REPLIES_FILE" in shown
    assert not any(secret in shown for secret in ("5005550006", "secret", PERSON))


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    """The error says why."""
    (tmp_path / "latin").write_bytes(b'[default]\nhelp = "\xe9"')

    for path, why in (
        (tmp_path / "missing", "No such file"),
        (tmp_path, "Is a directory"),
        (tmp_path / "latin", "is not UTF-8"),
    ):
        with pytest.raises(InvalidReplies, match=why):
            read_replies(path)
