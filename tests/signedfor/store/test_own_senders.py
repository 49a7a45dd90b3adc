"""Our own senders, on both databases."""

from sqlalchemy import Engine

from signedfor.contract import MessageRequest
from signedfor.store.own_senders import OwnSenders
from signedfor.store.rate_limiter import RateLimiter
from signedfor.store.send_attempts import SendAttempts

SENDER = "+15557654321"
MESSAGE = MessageRequest(to="+15558675309", body="Your parcel is at the door.")


class _Clock:
    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def _claim(engine: Engine) -> SendAttempts:
    attempts = SendAttempts(engine, RateLimiter(engine))
    attempts.claim("m1", MESSAGE, sender=SENDER)
    return attempts


def test_a_sender_in_use_is_ours(engine: Engine) -> None:
    """From the first POST on that Twilio may have accepted."""
    assert SENDER not in OwnSenders(engine)
    _claim(engine)

    assert SENDER in OwnSenders(engine)
    assert MESSAGE.to not in OwnSenders(engine)


def test_a_sender_that_twilio_refused_is_not_ours(engine: Engine) -> None:
    """The recipient and the sender may have changed places; messages to that person must go on."""
    _claim(engine).refuse("m1", 1, 1)

    assert SENDER not in OwnSenders(engine)


def test_a_configured_sender_is_ours(engine: Engine) -> None:
    """On every channel: it is known by its number."""
    RateLimiter(engine).set_rate(f"whatsapp:{SENDER}", 5.0)

    assert SENDER in OwnSenders(engine)


def test_the_default_sender_is_ours(engine: Engine) -> None:
    """It needs no message."""
    assert SENDER in OwnSenders(engine, default_sender=f"whatsapp:{SENDER}")


def test_a_new_sender_is_known_after_a_minute(engine: Engine) -> None:
    """The database is not read for each message."""
    clock = _Clock()
    own = OwnSenders(engine, clock=clock)
    assert SENDER not in own
    _claim(engine)

    clock.seconds = 60.0
    assert SENDER not in own
    clock.seconds = 60.1
    assert SENDER in own


def test_senders_show_their_countries(engine: Engine) -> None:
    """Those that are ours; of a Messaging Service and a short code none is known."""
    attempts = _claim(engine)
    for number, sender in enumerate(("MG" + "0" * 32, "72345", "whatsapp:+447400123456"), 2):
        attempts.claim(f"m{number}", MESSAGE, sender=sender)
    attempts.claim("mistaken", MESSAGE, sender="+18765550123")
    attempts.refuse("mistaken", 1, 1)

    own = OwnSenders(engine)

    assert {"US", "GB"} == own.countries()
    assert own.countries() is own.countries()
