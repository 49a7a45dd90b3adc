from collections.abc import Callable, Collection, Container, Iterator, Mapping
from datetime import timedelta
from types import MappingProxyType

import pytest
from sqlalchemy import Engine

from activities.send import TwilioSends
from signedfor.destinations import EVERYWHERE, Destinations
from signedfor.message_activities import AttemptFailed
from signedfor.message_limits import parse_rules
from signedfor.store.account_hold import AccountHold
from signedfor.store.held_back_messages import HeldBackMessages
from signedfor.store.rate_limiter import RateLimiter
from signedfor.store.send_attempts import SendAttempts
from signedfor.store.suppressions import Suppressions
from signedfor.twilio.client import TwilioClient
from signedfor.twilio.rates import SenderKind
from signedfor.worker_metrics import WorkerMetrics
from tests.activities.fake_twilio import ACCOUNT, TOKEN, FakeTwilio, running_fake_twilio
from tests.activities.sending import POLICY, no_hold

Connect = Callable[..., TwilioClient]
MakeSends = Callable[..., TwilioSends]


def unlimited_rates(engine: Engine) -> RateLimiter:
    """A rate limiter that never defers, for tests of something else."""
    return RateLimiter(engine, rates=dict.fromkeys(SenderKind, 100_000.0))


@pytest.fixture
def fake_twilio() -> Iterator[FakeTwilio]:
    """A fake Twilio API server."""
    with running_fake_twilio() as fake_twilio:
        yield fake_twilio


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Make real Twilio clients for a URL, with a short read timeout; closed after the test."""
    clients: list[TwilioClient] = []

    def client(
        base_url: str,
        *,
        account_sid: str = ACCOUNT,
        token: str = TOKEN,
        connect_timeout: timedelta = timedelta(seconds=3),
        read_timeout: timedelta = timedelta(seconds=0.3),
    ) -> TwilioClient:
        clients.append(
            TwilioClient(
                account_sid=account_sid,
                username=account_sid,
                password=token,
                connections=2,
                base_url=base_url,
                connect_timeout=connect_timeout,
                read_timeout=read_timeout,
            )
        )
        return clients[-1]

    yield client
    for each in clients:
        each.http_client.close()


@pytest.fixture
def suppressions(sqlite_engine: Engine) -> Suppressions:
    """An empty suppression list."""
    return Suppressions(sqlite_engine)


@pytest.fixture
def reports() -> list[AttemptFailed]:
    """What the activities of `make_sends` have reported of their failed attempts."""
    return []


@pytest.fixture
def make_sends(connect: Connect, sqlite_engine: Engine, reports: list[AttemptFailed]) -> MakeSends:
    """Make send activities for a URL, by default without a limit to the rate."""

    def make(
        url: str,
        *,
        engine: Engine = sqlite_engine,
        limiter: RateLimiter | None = None,
        default_sender: str | None = None,
        require_opt_in: Collection[str] = (),
        quiet_hours: Mapping[str, Collection[str]] = MappingProxyType({}),
        own_senders: Container[str] = (),
        destinations: Destinations = EVERYWHERE,
        limits: str | None = None,
        duplicate_window: timedelta = timedelta(0),
        metrics: WorkerMetrics | None = None,
        **options: timedelta,
    ) -> TwilioSends:
        return TwilioSends(
            connect(url, **options),
            Suppressions(engine),
            SendAttempts(
                engine,
                limiter or unlimited_rates(engine),
                limits=() if limits is None else parse_rules(limits),
                duplicate_window=duplicate_window,
            ),
            AccountHold(engine),
            outage_hold=no_hold(engine),
            held_back=HeldBackMessages(engine),
            public_base_url="https://hooks.example",
            default_sender=default_sender,
            require_opt_in=require_opt_in,
            quiet_hours=quiet_hours,
            own_senders=own_senders,
            destinations=destinations,
            policy=POLICY,
            report=reports.append,
            metrics=metrics or WorkerMetrics(),
        )

    return make


@pytest.fixture
def sends(make_sends: MakeSends, fake_twilio: FakeTwilio) -> TwilioSends:
    """The send activity against the fake Twilio."""
    return make_sends(fake_twilio.url)
