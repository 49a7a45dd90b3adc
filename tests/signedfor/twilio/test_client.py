import gzip
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
    Instant,
    TwilioClient,
    _Deadline,
    _limited,
    _TimeoutAdapter,
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
    late = _limited(HTTPConnection, 0.0, 1.0, _Deadline())("127.0.0.1", edge.port)

    with pytest.raises(ConnectTimeoutError):
        late.request("POST", "/")

    assert late.sock is None
    assert issubclass(_limited(connection, 0.0, 1.0, _Deadline()), connection)
    assert [] == edge.asked


def test_a_request_whose_time_is_over_is_not_begun(connect: Connect, edge: Edge) -> None:
    """A process that was frozen on its way to the first byte sends nothing, and can prove it."""
    client = connect(edge.url)

    with (
        client.no_request_after(Instant.now().after(-0.001)),
        pytest.raises(requests.ConnectTimeout) as late,
    ):
        _create(client)

    assert never_connected(late.value)
    assert [] == edge.asked


def test_a_limit_is_for_its_block_and_its_thread(connect: Connect, edge: Edge) -> None:
    """In time, after the block, and in another thread requests go out."""
    client = connect(edge.url)

    with client.no_request_after(Instant.now().after(10)):
        _create(client)
    with client.no_request_after(Instant.now().after(-1)), ThreadPoolExecutor(1) as another:
        another.submit(_create, client).result()
    _create(client)

    assert 3 == len(edge.asked)


@pytest.mark.parametrize("stopped", ["elapsed", "wall"])
def test_a_deadline_passes_by_either_clock(
    connect: Connect, edge: Edge, monkeypatch: pytest.MonkeyPatch, stopped: str
) -> None:
    """On a suspended machine one clock may stand still: the other ends the time for a request."""
    client = connect(edge.url)
    start, hour = Instant.now(), 3600.0
    later = Instant(
        elapsed=start.elapsed + (0 if stopped == "elapsed" else hour),
        wall=start.wall + (0 if stopped == "wall" else hour),
    )
    monkeypatch.setattr(Instant, "now", lambda: later)

    with client.no_request_after(start.after(6)), pytest.raises(requests.ConnectTimeout):
        _create(client)

    assert [] == edge.asked
    assert hour == later.seconds_since(start)


def test_a_deadline_holds_behind_a_proxy(
    connect: Connect, edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxied request has the same limits: none is started after its time."""
    monkeypatch.setenv("HTTP_PROXY", edge.url)
    monkeypatch.setenv("NO_PROXY", "")
    client = connect("http://twilio.example")

    with (
        client.no_request_after(Instant.now().after(-1)),
        pytest.raises(requests.exceptions.ProxyError) as late,
    ):
        _create(client)
    assert never_connected(late.value)
    assert [] == edge.asked

    _create(client)
    assert edge.asked[0].line.startswith("POST http://twilio.example/")


def test_a_whole_answer_has_a_deadline(connect: Connect, edge: Edge) -> None:
    """An answer that arrives byte by byte ends at the read timeout, whatever each byte takes."""
    edge.answers = [Misbehaviour.DRIP]
    client = connect(edge.url, read_timeout=timedelta(seconds=0.3))
    started = time.monotonic()

    with pytest.raises(requests.RequestException) as failed:
        _create(client)

    assert not never_connected(failed.value)
    assert time.monotonic() - started < 3, "all bytes would take ten seconds"


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
def test_an_answer_has_a_maximum_size(connect: Connect, edge: Edge, encoding: str) -> None:
    """Before and after decompression: an endless answer does not fill the worker's memory."""
    body = b"x" * (17 * 2**20)
    content = gzip.compress(body, 1) if encoding == "gzip" else body
    head = f"HTTP/1.1 201 Created\r\nContent-Length: {len(content)}\r\n"
    head += f"Content-Encoding: {encoding}\r\nConnection: close\r\n\r\n"
    edge.answers = [head.encode() + content]

    with pytest.raises(requests.RequestException) as failed:
        _create(connect(edge.url, read_timeout=timedelta(seconds=10)))

    assert not never_connected(failed.value)


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
