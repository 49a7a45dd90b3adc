from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from sqlalchemy import Engine

from activities.send import TwilioSends
from signedfor.store.database import open_engine
from signedfor.store.rate_limiter import RateLimiter
from signedfor.store.send_attempts import SendAttempts
from signedfor.store.suppressions import Suppressions
from signedfor.twilio.client import TwilioClient
from signedfor.twilio.rates import SenderKind
from tests.activities.edge import ACCOUNT, TOKEN, Edge, running_edge

Connect = Callable[..., TwilioClient]
MakeSends = Callable[..., TwilioSends]


def pacing(engine: Engine) -> RateLimiter:
    """RateLimiter that lets everything by: what these tests are about is something else."""
    return RateLimiter(engine, rates=dict.fromkeys(SenderKind, 100_000.0))


@pytest.fixture
def edge() -> Iterator[Edge]:
    """A server at Twilio's place."""
    with running_edge() as edge:
        yield edge


@pytest.fixture
def connect() -> Iterator[Connect]:
    """The real client, aimed at a URL, with a short read timeout; closed after the test."""
    clients: list[TwilioClient] = []

    def client(
        base_url: str,
        *,
        connect_timeout: timedelta = timedelta(seconds=3),
        read_timeout: timedelta = timedelta(seconds=0.3),
    ) -> TwilioClient:
        clients.append(
            TwilioClient(
                account_sid=ACCOUNT,
                username=ACCOUNT,
                password=TOKEN,
                connections=2,
                base_url=base_url,
                connect_timeout=connect_timeout,
                read_timeout=read_timeout,
            )
        )
        return clients[-1]

    yield client
    for each in clients:
        assert each.http_client.session is not None
        each.http_client.session.close()


@pytest.fixture
def sqlite_engine(sqlite_url: str) -> Iterator[Engine]:
    """A fresh, migrated database."""
    engine = open_engine(sqlite_url)
    yield engine
    engine.dispose()


@pytest.fixture
def suppressions(sqlite_engine: Engine) -> Suppressions:
    """The suppression list, empty."""
    return Suppressions(sqlite_engine)


@pytest.fixture
def make_sends(connect: Connect, sqlite_engine: Engine) -> MakeSends:
    """The activity against a URL, with the empty suppression list unless told otherwise."""

    def make(url: str, *, engine: Engine = sqlite_engine, **options: timedelta) -> TwilioSends:
        return TwilioSends(
            connect(url, **options),
            Suppressions(engine),
            SendAttempts(engine, pacing(engine)),
            public_base_url="https://hooks.example",
        )

    return make


@pytest.fixture
def sends(make_sends: MakeSends, edge: Edge) -> TwilioSends:
    """The activity against the edge."""
    return make_sends(edge.url)
