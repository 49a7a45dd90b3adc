import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from ssl import SSLCertVerificationError

import pytest
import requests
from twilio.base.exceptions import TwilioRestException
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import (
    ConnectTimeoutError,
    MaxRetryError,
    NewConnectionError,
    ProtocolError,
    ProxyError,
    ReadTimeoutError,
    SSLError,
)

from signedfor.retry import CONNECT_TIMEOUT, READ_TIMEOUT
from signedfor.twilio.client import (
    TwilioClient,
    _Deadline,
    _TimeoutAdapter,
    _with_deadline,
    never_connected,
)
from tests.activities.conftest import Connect
from tests.activities.edge import ACCOUNT, RECIPIENT, SENDER, Edge, Misbehaviour, created, refused


def _create(client: TwilioClient) -> None:
    client.messages.create(to=RECIPIENT, from_=SENDER, body="x")


def test_both_timeouts_reach_the_connection() -> None:
    """Without other wishes a client waits as long as the retry policy reckons with."""
    client = TwilioClient(account_sid=ACCOUNT, username=ACCOUNT, password="x", connections=1)

    assert client.http_client.session is not None
    for scheme in ("https", "http"):
        adapter = client.http_client.session.get_adapter(f"{scheme}://api.twilio.com")
        assert isinstance(adapter, _TimeoutAdapter)
        expected = (CONNECT_TIMEOUT.total_seconds(), READ_TIMEOUT.total_seconds())
        assert (expected, 0) == (adapter._timeouts, adapter.max_retries.total)
        pool = adapter.poolmanager.connection_from_url(f"{scheme}://api.twilio.com")
        assert "Connection" == pool.ConnectionCls.__name__


def test_read_timeout(connect: Connect, edge: Edge) -> None:
    """A server that does not answer is given up after the read timeout."""
    edge.answers = [Misbehaviour.HANG]

    with pytest.raises(requests.ReadTimeout):
        _create(connect(edge.url, read_timeout=timedelta(seconds=0.1)))


@pytest.mark.parametrize("connection", [HTTPConnection, HTTPSConnection])
def test_a_late_connection_is_closed_unused(edge: Edge, connection: type[HTTPConnection]) -> None:
    """Nothing is written to a connection that took longer in all than it may."""
    late = _with_deadline(HTTPConnection, 0.0, _Deadline())("127.0.0.1", edge.port)

    with pytest.raises(ConnectTimeoutError):
        late.request("POST", "/")

    assert late.sock is None
    assert issubclass(_with_deadline(connection, 0.0, _Deadline()), connection)
    assert [] == edge.asked


def test_a_request_whose_time_is_over_is_not_begun(connect: Connect, edge: Edge) -> None:
    """A process that was frozen on its way to the first byte sends nothing, and can prove it."""
    client = connect(edge.url)

    with (
        client.no_request_after(time.monotonic() - 0.001),
        pytest.raises(requests.ConnectTimeout) as late,
    ):
        _create(client)

    assert never_connected(late.value)
    assert [] == edge.asked


def test_a_limit_is_for_its_block_and_its_thread(connect: Connect, edge: Edge) -> None:
    """In time, after the block, and in another thread requests go out."""
    client = connect(edge.url)

    with client.no_request_after(time.monotonic() + 10):
        _create(client)
    with client.no_request_after(time.monotonic() - 1), ThreadPoolExecutor(1) as another:
        another.submit(_create, client).result()
    _create(client)

    assert 3 == len(edge.asked)


@pytest.mark.parametrize("answer", [Misbehaviour.CLOSE, refused(500, 20500), refused(429, 20429)])
def test_no_retries_of_its_own(connect: Connect, edge: Edge, answer: bytes | str) -> None:
    """Whatever comes back, one call is one request."""
    edge.answers = [answer]

    with pytest.raises((requests.RequestException, TwilioRestException)):
        _create(connect(edge.url))

    assert 1 == len(edge.asked)


def test_last_answer_is_of_the_last_request(connect: Connect, edge: Edge) -> None:
    """A header of an earlier answer is not taken for one of a request that got none."""
    edge.answers = [refused(429, 20429, {"Retry-After": "5"}), Misbehaviour.CLOSE]
    client = connect(edge.url)

    with pytest.raises(TwilioRestException):
        _create(client)
    answer = client.last_response()
    with pytest.raises(requests.ConnectionError):
        _create(client)

    assert answer is not None
    assert (429, timedelta(seconds=5)) == (answer.http_status, answer.retry_after)
    assert client.last_response() is None


def test_last_answer_is_of_the_own_thread(connect: Connect, edge: Edge) -> None:
    """Threads that send at the same time do not see each other's answers."""
    edge.answers = [refused(429, 20429, {"Retry-After": "5"}), created()]
    client = connect(edge.url)
    turn = threading.Barrier(2, timeout=10)

    def first() -> object:
        with pytest.raises(TwilioRestException):
            _create(client)
        turn.wait()
        turn.wait()
        return client.last_response()

    def second() -> object:
        turn.wait()
        _create(client)
        answer = client.last_response()
        turn.wait()
        return answer

    with ThreadPoolExecutor(2) as threads:
        answers = [each.result() for each in [threads.submit(first), threads.submit(second)]]

    assert [429, 201] == [getattr(each, "http_status", None) for each in answers]


_PROOF = NewConnectionError(HTTPConnection("x"), "refused")


@pytest.mark.parametrize(
    ("error", "proven"),
    [
        (requests.ConnectTimeout(), True),
        (requests.ConnectionError(MaxRetryError(None, "/", _PROOF)), True),  # type: ignore[arg-type] # the pool is not read
        (requests.ConnectionError(MaxRetryError(None, "/", ProxyError("x", _PROOF))), True),  # type: ignore[arg-type] # the pool is not read
        (requests.exceptions.SSLError(SSLError(SSLCertVerificationError("expired"))), True),
        (requests.exceptions.SSLError(SSLError("record layer failure")), False),
        (requests.exceptions.SSLError(SSLError()), False),
        (requests.ConnectionError(ProtocolError("Connection aborted.")), False),
        (requests.ReadTimeout(ReadTimeoutError(None, "/", "x")), False),  # type: ignore[arg-type] # the pool is not read
        (requests.ConnectionError(MaxRetryError(None, "/", ProxyError("x", OSError()))), False),  # type: ignore[arg-type] # the pool is not read
        (requests.exceptions.ChunkedEncodingError(), False),
        (requests.RequestException(), False),
    ],
    ids=repr,
)
def test_never_connected(error: requests.RequestException, proven: bool) -> None:
    """Only what fails before the first byte proves that nothing was sent."""
    assert proven == never_connected(error)
