"""Twilio's copies: what is asked of Twilio, and what is done when it refuses or does not answer."""

from collections.abc import Callable, Iterator

import pytest

from signedfor.erasure.twilio import TwilioCopies, TwilioResult
from signedfor.errors import Unavailable
from signedfor.settings import AtTwilio
from signedfor.twilio.client import TwilioClient
from tests.activities.fake_twilio import (
    ACCOUNT,
    CANARIES,
    RECIPIENT,
    SID,
    TOKEN,
    ConnectionFault,
    FakeTwilio,
    http,
    refused,
    running_fake_twilio,
)

OTHER_SID = "SM" + "b" * 32
DONE = http(204)
NOT_COMPLETE = refused(409, 20009)
EMPTY = http(200, {"messages": []})

MakeCopies = Callable[[AtTwilio], TwilioCopies]


def _listed(*messages: dict[str, object]) -> bytes:
    return http(200, {"messages": messages})


def _message(sid: str = SID, body: str = "a text", media: int = 0) -> dict[str, object]:
    return {"sid": sid, "body": body, "num_media": str(media)}


@pytest.fixture
def fake_twilio() -> Iterator[FakeTwilio]:
    """A fake Twilio API server."""
    with running_fake_twilio() as fake_twilio:
        yield fake_twilio


@pytest.fixture
def waits() -> list[float]:
    """How long it has waited, in seconds, each time."""
    return []


@pytest.fixture
def copies(fake_twilio: FakeTwilio, waits: list[float]) -> MakeCopies:
    """Makes what is tested, without waiting."""
    client = TwilioClient(
        account_sid=ACCOUNT,
        username=ACCOUNT,
        password=TOKEN,
        connections=1,
        base_url=fake_twilio.url,
    )
    return lambda action: TwilioCopies(client, action, sleep=waits.append)


def _lines(fake_twilio: FakeTwilio) -> list[str]:
    prefix = f"/2010-04-01/Accounts/{ACCOUNT}/"
    return [
        each.line.removesuffix(" HTTP/1.1").replace(prefix, "") for each in fake_twilio.requests
    ]


def test_messages_to_and_from_each_address_are_found_once(
    fake_twilio: FakeTwilio, copies: MakeCopies
) -> None:
    """Also those without a text, which are deleted too."""
    fake_twilio.responses = [_listed(_message(), _message(OTHER_SID, body="")), _listed(_message())]

    assert [SID, OTHER_SID] == copies(AtTwilio.DELETE).find([RECIPIENT])
    assert ["To", "From"] == [
        line.partition("?")[2].partition("=")[0] for line in _lines(fake_twilio)
    ]


def test_what_has_neither_text_nor_media_is_not_redacted_again(
    fake_twilio: FakeTwilio, copies: MakeCopies
) -> None:
    """So a second run has nothing to do."""
    fake_twilio.responses = [_listed(_message(body=""), _message(OTHER_SID, "", media=1)), EMPTY]

    assert [OTHER_SID] == copies(AtTwilio.REDACT).find([RECIPIENT])


def test_deleting_is_one_request_for_each(fake_twilio: FakeTwilio, copies: MakeCopies) -> None:
    """Twilio deletes its media with a message."""
    fake_twilio.responses = [DONE, refused(404, 20404)]

    result = copies(AtTwilio.DELETE).erase([SID, OTHER_SID], within=0)

    assert TwilioResult(done=2, left=0) == result
    assert [f"DELETE Messages/{SID}.json", f"DELETE Messages/{OTHER_SID}.json"] == _lines(
        fake_twilio
    )


def test_redacting_takes_away_text_and_media(fake_twilio: FakeTwilio, copies: MakeCopies) -> None:
    """An empty body; then each file, which Twilio lists apart."""
    medium = {"sid": "ME1", "parent_sid": SID, "account_sid": ACCOUNT}
    fake_twilio.responses = [
        http(200, _message()),
        http(200, {"media_list": [medium]}),
        DONE,
    ]

    assert 1 == copies(AtTwilio.REDACT).erase([SID], within=0).done
    assert [
        f"POST Messages/{SID}.json",
        f"GET Messages/{SID}/Media.json",
        f"DELETE Messages/{SID}/Media/ME1.json",
    ] == _lines(fake_twilio)
    assert [("Body", "")] == fake_twilio.requests[0].form


def test_keeping_asks_twilio_nothing(fake_twilio: FakeTwilio, copies: MakeCopies) -> None:
    """Another program may use the account."""
    keep = copies(AtTwilio.KEEP)

    assert TwilioResult(done=0, left=0) == keep.erase(keep.find([RECIPIENT]), within=0)
    assert [] == fake_twilio.requests


def test_a_limit_of_requests_is_kept(
    fake_twilio: FakeTwilio, copies: MakeCopies, waits: list[float]
) -> None:
    """It waits for as long as Twilio says, and tries again."""
    fake_twilio.responses = [refused(429, 20429, {"Retry-After": "7"}), refused(503, 20503), DONE]

    assert 1 == copies(AtTwilio.DELETE).erase([SID], within=0).done
    assert 2 == len(waits)
    assert 7 <= waits[0] <= 9
    assert waits[1] < 7


def test_what_twilio_is_still_sending_is_left_for_later(
    fake_twilio: FakeTwilio, copies: MakeCopies
) -> None:
    """After asking again for as long as allowed; the others are done."""
    fake_twilio.responses = [NOT_COMPLETE, DONE, NOT_COMPLETE]
    assert TwilioResult(done=1, left=1) == copies(AtTwilio.DELETE).erase([SID, OTHER_SID], within=0)

    fake_twilio.responses = [*fake_twilio.responses, DONE]
    assert TwilioResult(done=1, left=0) == copies(AtTwilio.DELETE).erase([SID], within=60)


@pytest.mark.parametrize(
    ("responses", "requests", "says"),
    [
        ([refused(401, 20003)], 1, "TWILIO_ACCOUNT_SID"),
        ([refused(400, 20001)], 1, "HTTP 400"),
        ([refused(500, 20500)], 6, "Try again later"),
        ([ConnectionFault.CLOSE], 6, "Try again later"),
        ([http(200, "no JSON")], 6, "Try again later"),
    ],
)
def test_what_twilio_does_not_do_is_said_without_its_text(
    fake_twilio: FakeTwilio,
    copies: MakeCopies,
    responses: list[bytes | str],
    requests: int,
    says: str,
) -> None:
    """Which repeats numbers. A refusal is not tried again, an outage a few times."""
    fake_twilio.responses = responses

    with pytest.raises(Unavailable, match=says) as error:
        copies(AtTwilio.DELETE).find([RECIPIENT])

    assert requests == len(fake_twilio.requests)
    assert not [each for each in CANARIES if each in str(error.value)]
