import gzip
import json
import re
import select
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from ssl import PROTOCOL_TLS_SERVER, SSLCertVerificationError, SSLContext, TLSVersion
from traceback import format_exception
from urllib.parse import parse_qs, urlsplit

import certifi
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from twilio.base.exceptions import TwilioRestException
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPSConnectionPool
from urllib3.exceptions import (
    ConnectTimeoutError,
    DecodeError,
    HTTPError,
    IncompleteRead,
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
    UnusableProxy,
    _Deadline,
    _limited,
    never_connected,
)
from tests.activities.conftest import Connect
from tests.activities.fake_twilio import (
    ACCOUNT,
    RECIPIENT,
    SENDER,
    ConnectionFault,
    FakeTwilio,
    created,
    http,
    refused,
)


def _create(client: TwilioClient) -> None:
    client.messages.create(to=RECIPIENT, from_=SENDER, body="x")


def test_the_default_timeouts_are_those_of_the_retry_policy() -> None:
    """They apply to connections of both schemes, and requests are not retried."""
    client = TwilioClient(account_sid=ACCOUNT, username=ACCOUNT, password="x", connections=1)

    limits = client.http_client._timeout
    expected = (CONNECT_TIMEOUT.total_seconds(), READ_TIMEOUT.total_seconds())
    assert expected == (limits.connect_timeout, limits.read_timeout)
    for scheme in ("https", "http"):
        pool = client.http_client._pool(f"{scheme}://api.twilio.com/2010-04-01")
        assert "Connection" == pool.ConnectionCls.__name__
        assert expected[0] == pool.connect_seconds


def test_a_request_without_response_times_out(connect: Connect, fake_twilio: FakeTwilio) -> None:
    """The request fails after the read timeout."""
    fake_twilio.responses = [ConnectionFault.HANG]

    with pytest.raises(ReadTimeoutError):
        _create(connect(fake_twilio.url, read_timeout=timedelta(seconds=0.1)))


@pytest.mark.parametrize("connection", [HTTPConnection, HTTPSConnection])
def test_a_late_connection_is_closed_unused(
    fake_twilio: FakeTwilio, connection: type[HTTPConnection]
) -> None:
    """Nothing is written to a connection that took too long in total."""
    late = _limited(HTTPConnection, 0.0, 1.0, _Deadline())("127.0.0.1", fake_twilio.port)

    with pytest.raises(ConnectTimeoutError):
        late.request("POST", "/")

    assert late.sock is None
    assert issubclass(_limited(connection, 0.0, 1.0, _Deadline()), connection)
    assert [] == fake_twilio.requests


def test_a_request_is_not_started_after_its_deadline(
    connect: Connect, fake_twilio: FakeTwilio
) -> None:
    """A process that was frozen before the first byte sends nothing, and the error proves it."""
    client = connect(fake_twilio.url)

    with (
        client.no_request_after(Instant.now().after(-0.001)),
        pytest.raises(ConnectTimeoutError) as late,
    ):
        _create(client)

    assert never_connected(late.value)
    assert [] == fake_twilio.requests


def test_a_deadline_applies_to_its_block_and_thread(
    connect: Connect, fake_twilio: FakeTwilio
) -> None:
    """Before the deadline, after the block and in other threads requests are sent."""
    client = connect(fake_twilio.url)

    with client.connected(), client.no_request_after(Instant.now().after(10)):
        _create(client)
    with client.no_request_after(Instant.now().after(-1)), ThreadPoolExecutor(1) as other_thread:
        other_thread.submit(_create, client).result()
    _create(client)

    assert 3 == len(fake_twilio.requests)


def test_a_request_uses_the_connection_that_is_ready(
    connect: Connect, fake_twilio: FakeTwilio
) -> None:
    """Connecting is done before; a connection that was not used is left for another request."""
    client = connect(fake_twilio.url)

    with client.connected() as is_connected:
        assert is_connected
    with client.connected(), client.no_request_after(Instant.now().after(10)):
        _create(client)

    assert 1 == len(fake_twilio.requests)
    assert 1 == fake_twilio.connections


@pytest.mark.parametrize("closes", [False, True])
def test_a_tls_connection_is_ready_although_the_server_has_sent_tickets(
    connect: Connect, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, closes: bool
) -> None:
    """With TLS 1.3 they come before anything is asked; one that the server has closed is gone."""
    certificate = _certificate(tmp_path)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    tls = SSLContext(PROTOCOL_TLS_SERVER)
    tls.minimum_version = TLSVersion.TLSv1_3
    tls.load_cert_chain(certificate)
    has_closed = threading.Event()

    def serve(listening: socket.socket) -> None:
        plain, _ = listening.accept()
        with tls.wrap_socket(plain, server_side=True) as connection:
            if closes:
                connection.close()
                has_closed.set()
            elif connection.recv(65_536):
                connection.sendall(created())

    with socket.create_server(("127.0.0.1", 0)) as listening, ThreadPoolExecutor(1) as server:
        serving = server.submit(serve, listening)
        client = connect(f"https://localhost:{listening.getsockname()[1]}")
        with client.connected() as is_connected, client.no_request_after(Instant.now().after(10)):
            assert is_connected
            if closes:
                assert has_closed.wait(10)
                with pytest.raises(ConnectTimeoutError):
                    _create(client)
            else:
                sock = client.http_client._pool(client.api.base_url)._ready.connection.sock
                assert select.select([sock], [], [], 10)[0], "no tickets came"
                _create(client)
        serving.result(10)


def _certificate(folder: Path) -> Path:
    """A file with a new certificate of localhost, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    file = folder / "localhost.pem"
    file.write_bytes(
        certificate.public_bytes(Encoding.PEM)
        + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    return file


def test_a_request_with_a_deadline_does_not_connect(
    connect: Connect, fake_twilio: FakeTwilio
) -> None:
    """Connecting could take until after the deadline; the error proves that nothing was sent."""
    client = connect(fake_twilio.url)

    with (
        client.no_request_after(Instant.now().after(10)),
        pytest.raises(ConnectTimeoutError) as not_ready,
    ):
        _create(client)

    assert never_connected(not_ready.value)
    assert [] == fake_twilio.requests


def test_connecting_in_advance_has_the_connect_timeout(connect: Connect) -> None:
    """A server that does not answer makes the block yield False, not wait."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for each in waiting:  # with a full backlog the kernel does not answer further connects
            each.setblocking(False)
            each.connect_ex(full.getsockname())
        client = connect(
            f"http://127.0.0.1:{full.getsockname()[1]}", connect_timeout=timedelta(seconds=0.3)
        )
        started = time.monotonic()

        with client.connected() as is_connected:
            assert not is_connected

        for each in waiting:
            each.close()
    assert time.monotonic() - started < 3


@pytest.mark.parametrize("stopped", ["elapsed", "wall"])
def test_a_deadline_passes_by_either_clock(
    connect: Connect, fake_twilio: FakeTwilio, monkeypatch: pytest.MonkeyPatch, stopped: str
) -> None:
    """On a suspended machine one clock may stand still: the other ends the time for a request."""
    client = connect(fake_twilio.url)
    start, hour = Instant.now(), 3600.0
    later = Instant(
        elapsed=start.elapsed + (0 if stopped == "elapsed" else hour),
        wall=start.wall + (0 if stopped == "wall" else hour),
    )
    monkeypatch.setattr(Instant, "now", lambda: later)

    with client.no_request_after(start.after(6)), pytest.raises(ConnectTimeoutError):
        _create(client)

    assert [] == fake_twilio.requests
    assert pytest.approx(hour) == later.seconds_since(start)


def test_a_deadline_holds_behind_a_proxy(
    connect: Connect, fake_twilio: FakeTwilio, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxied request has the same limits: none is started after its time."""
    monkeypatch.setenv("HTTP_PROXY", fake_twilio.url)
    monkeypatch.setenv("NO_PROXY", "")
    client = connect("http://twilio.example")

    with (
        client.no_request_after(Instant.now().after(-1)),
        pytest.raises(ProxyError) as late,
    ):
        _create(client)
    assert never_connected(late.value)
    assert [] == fake_twilio.requests

    _create(client)
    assert fake_twilio.requests[0].line.startswith("POST http://twilio.example/")


@pytest.mark.parametrize("proxy", ["http://", "nothing://user:canary@proxy.example:1"])
def test_a_proxy_that_cannot_be_used_is_like_no_connection(
    connect: Connect, monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    """Nothing is sent, and the error proves it; it does not repeat the proxy's password."""
    monkeypatch.setenv("HTTP_PROXY", proxy)
    monkeypatch.setenv("NO_PROXY", "")
    client = connect("http://twilio.example")

    with client.connected() as is_connected:
        assert not is_connected
    with pytest.raises(UnusableProxy) as refused:
        _create(client)

    assert never_connected(refused.value)
    assert "canary" not in "".join(format_exception(refused.value))


def test_a_whole_answer_has_a_deadline(connect: Connect, fake_twilio: FakeTwilio) -> None:
    """An answer that arrives byte by byte ends at the read timeout, whatever each byte takes."""
    fake_twilio.responses = [ConnectionFault.DRIP]
    client = connect(fake_twilio.url, read_timeout=timedelta(seconds=0.3))
    started = time.monotonic()

    with pytest.raises(HTTPError) as failed:
        _create(client)

    assert not never_connected(failed.value)
    assert time.monotonic() - started < 3, "all bytes would take ten seconds"


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
def test_an_answer_has_a_maximum_size(
    connect: Connect, fake_twilio: FakeTwilio, encoding: str
) -> None:
    """Before and after decompression: an endless answer does not fill the worker's memory."""
    body = b"x" * (17 * 2**20)
    content = gzip.compress(body, 1) if encoding == "gzip" else body
    head = f"HTTP/1.1 201 Created\r\nContent-Length: {len(content)}\r\n"
    head += f"Content-Encoding: {encoding}\r\nConnection: close\r\n\r\n"
    fake_twilio.responses = [head.encode() + content]

    with pytest.raises(HTTPError) as failed:
        _create(connect(fake_twilio.url, read_timeout=timedelta(seconds=10)))

    assert not never_connected(failed.value)


def test_a_compressed_answer_is_read(connect: Connect, fake_twilio: FakeTwilio) -> None:
    """The client asks for one, and a page of a list shrinks to a tenth."""
    head, body = created().split(b"\r\n\r\n", 1)
    content = gzip.compress(body)
    head = re.sub(rb"Content-Length: [0-9]+", b"Content-Length: %d" % len(content), head)
    fake_twilio.responses = [head + b"\r\nContent-Encoding: gzip\r\n\r\n" + content]

    sent = connect(fake_twilio.url).messages.create(to=RECIPIENT, from_=SENDER, body="x")

    assert json.loads(body)["sid"] == sent.sid
    assert "gzip" in fake_twilio.requests[0].headers["accept-encoding"]


def test_a_redirect_is_not_followed(connect: Connect, fake_twilio: FakeTwilio) -> None:
    """Its target would get the credentials and the message."""
    fake_twilio.responses = [refused(307, 20000, {"Location": f"{fake_twilio.url}/elsewhere"})]

    with pytest.raises(TwilioRestException):
        _create(connect(fake_twilio.url))

    assert 1 == len(fake_twilio.requests)


def test_a_request_has_the_fields_that_were_given(
    connect: Connect, fake_twilio: FakeTwilio
) -> None:
    """In the form of a POST and the query of a list: several values, and none for what is unset."""
    client = connect(fake_twilio.url)
    fake_twilio.responses = [created(), http(200, {"messages": []})]
    media = ["https://m.example/1.png?a=b&c=d", "https://m.example/2.png"]

    client.messages.create(to=RECIPIENT, from_=SENDER, body="Zoë & +", media_url=media)
    client.messages.list(to=RECIPIENT, date_sent_after=datetime(2026, 11, 30, tzinfo=UTC))

    form = parse_qs(fake_twilio.requests[0].body, strict_parsing=True)
    assert {"To": [RECIPIENT], "From": [SENDER], "Body": ["Zoë & +"], "MediaUrl": media} == form
    _, target, _ = fake_twilio.requests[1].line.split(" ")
    query = parse_qs(urlsplit(target).query, strict_parsing=True)
    assert {"To": [RECIPIENT], "DateSent>": ["2026-11-30T00:00:00Z"]} == {
        name: values for name, values in query.items() if name != "PageSize"
    }


def test_certificates_are_those_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """From the first connection on, also if the system has no bundle of its own."""
    bundle = tmp_path / "bundle.pem"
    bundle.touch()

    def certificates() -> str | None:
        client = TwilioClient(account_sid=ACCOUNT, username=ACCOUNT, password="x", connections=1)
        pool = client.http_client._pool("https://api.twilio.com/2010-04-01")
        assert isinstance(pool, HTTPSConnectionPool)
        return pool.ca_certs

    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    assert certifi.where() == certificates()
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(bundle))
    assert str(bundle) == certificates()


@pytest.mark.parametrize(
    "response", [ConnectionFault.CLOSE, refused(500, 20500), refused(429, 20429)]
)
def test_the_client_does_not_retry(
    connect: Connect, fake_twilio: FakeTwilio, response: bytes | str
) -> None:
    """Whatever the response, one call is one request."""
    fake_twilio.responses = [response]

    with pytest.raises((HTTPError, TwilioRestException)):
        _create(connect(fake_twilio.url))

    assert 1 == len(fake_twilio.requests)


def test_last_answer_is_of_the_last_request(connect: Connect, fake_twilio: FakeTwilio) -> None:
    """If a request gets no response, the answer of an earlier request is not returned."""
    fake_twilio.responses = [refused(429, 20429, {"Retry-After": "5"}), ConnectionFault.CLOSE]
    client = connect(fake_twilio.url)

    with pytest.raises(TwilioRestException):
        _create(client)
    answer = client.last_response()
    with pytest.raises(ProtocolError):
        _create(client)

    assert answer is not None
    assert (429, timedelta(seconds=5)) == (answer.http_status, answer.retry_after)
    assert client.last_response() is None


def test_last_answer_is_of_the_current_thread(connect: Connect, fake_twilio: FakeTwilio) -> None:
    """Threads that send at the same time do not see each other's answers."""
    fake_twilio.responses = [refused(429, 20429, {"Retry-After": "5"}), created()]
    client = connect(fake_twilio.url)
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


_NOT_CONNECTED = NewConnectionError(HTTPConnection("x"), "refused")


@pytest.mark.parametrize(
    ("error", "proven"),
    [
        (_NOT_CONNECTED, True),
        (ConnectTimeoutError(), True),
        (ProxyError("x", _NOT_CONNECTED), True),
        (SSLError(SSLCertVerificationError("expired")), True),
        (SSLError("record layer failure"), False),
        (SSLError(), False),
        (ProtocolError("Connection aborted."), False),
        (ReadTimeoutError(None, "/", "x"), False),  # type: ignore[arg-type] # the pool is not read
        (ProxyError("x", OSError()), False),
        (IncompleteRead(1, 2), False),
        (DecodeError(), False),
        (HTTPError(), False),
    ],
    ids=repr,
)
def test_only_connection_errors_prove_that_nothing_was_sent(error: HTTPError, proven: bool) -> None:
    """The request must have failed before its first byte."""
    assert proven == never_connected(error)
