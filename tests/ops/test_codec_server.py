"""The codec server: clear text for who has the token, and in a browser for the Temporal UI only."""

import base64
import logging
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from google.protobuf import json_format
from temporalio.api.common.v1 import Payload, Payloads

from devtools.stack.ports import HOST, free_ports
from ops.codec_server import app as module
from ops.codec_server.app import create_app
from ops.codec_server.settings import CodecServerSettings, load_codec_server_settings, token_of
from signedfor.encryption import Encryption, EncryptionCodec
from signedfor.errors import InvalidSettings
from signedfor.payloads import data_converter
from tests.devtools.stack.support import ROOT, wait_for
from tests.encryption import KEYS

TOKEN = "t0ken-canary_" + "x" * 30
UI = "http://127.0.0.1:8233"
CANARY = "+15558675309"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
ENCRYPTION = Encryption.parse(KEYS)
CLEAR: Payload = data_converter.payload_converter.to_payload({"to": CANARY})


def _encrypted(namespace: str = "default", keys: str = KEYS) -> Payload:
    return EncryptionCodec(Encryption.parse(keys), namespace).encrypt(CLEAR)


def _json(*payloads: Payload) -> dict[str, Any]:
    document: dict[str, Any] = json_format.MessageToDict(Payloads(payloads=payloads))
    return document


def _payloads(response: httpx.Response) -> list[Payload]:
    assert 200 == response.status_code, response.text
    return list(json_format.ParseDict(response.json(), Payloads()).payloads)


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    """A client of the application."""
    app = create_app(
        ENCRYPTION,
        token=TOKEN,
        origins=CodecServerSettings(temporal_ui_url=UI).origins,
        namespace="default",
    )
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://codec") as client:
        yield client


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/decode", BEARER),
        (f"/{TOKEN}/decode", {}),
        ("/decode", {"Authorization": f"bearer {TOKEN}"}),
    ],
)
async def test_it_decodes_with_the_token(
    http: httpx.AsyncClient, path: str, headers: dict[str, str]
) -> None:
    """In the header, as Temporal's command line sends it, or in the path, for a UI that cannot."""
    response = await http.post(path, json=_json(_encrypted(), CLEAR), headers=headers)

    assert [CLEAR, CLEAR] == _payloads(response)
    assert "no-store" == response.headers["cache-control"]


@pytest.mark.parametrize("path", ["/decode", "/encode", "/wrong/decode", f"/{TOKEN[:-1]}/encode"])
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": TOKEN},
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": "Bearer \u00e9".encode("latin-1")},
    ],
)
async def test_without_the_token_it_does_nothing(
    http: httpx.AsyncClient, path: str, headers: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """It reads no body, and logs a line without the wrong token."""
    response = await http.post(path, json=_json(_encrypted()), headers=headers)

    assert 401 == response.status_code
    assert CANARY not in response.text
    assert ["Refused a request without the token of the codec server"] == caplog.messages


async def test_it_encodes(http: httpx.AsyncClient) -> None:
    """The UI and the command line start and signal workflows through it."""
    response = await http.post("/encode", json=_json(CLEAR), headers=BEARER)

    [encrypted] = _payloads(response)
    assert b"binary/encrypted" == encrypted.metadata["encoding"]
    assert CLEAR == EncryptionCodec(ENCRYPTION, "default").decrypt(encrypted)


async def test_the_namespace_counts(http: httpx.AsyncClient) -> None:
    """Each namespace has payloads of its own."""
    headers = {**BEARER, "X-Namespace": "payments"}
    right = await http.post("/decode", json=_json(_encrypted("payments")), headers=headers)
    wrong = await http.post("/decode", json=_json(_encrypted("default")), headers=headers)

    assert [CLEAR] == _payloads(right)
    assert b"for another namespace" in _payloads(wrong)[0].data


async def test_an_unknown_key_is_named(http: httpx.AsyncClient) -> None:
    """In place of the payload, and the others are shown."""
    unknown = _encrypted(keys=KEYS.replace("test", "2026-05"))

    response = await http.post("/decode", json=_json(unknown, _encrypted()), headers=BEARER)

    first, second = _payloads(response)
    assert first.data.startswith(b'"What Temporal holds is encrypted with the key 2026-05')
    assert CLEAR == second


@pytest.mark.parametrize("origin", [UI, "http://localhost:8233"])
async def test_the_ui_may_ask(http: httpx.AsyncClient, origin: str) -> None:
    """Its browser asks first, without the token, and then may read the answer."""
    asks = {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type,x-namespace",
    }
    may = await http.options(f"/{TOKEN}/decode", headers=asks)
    response = await http.post(
        "/decode", json=_json(_encrypted()), headers={**BEARER, "Origin": origin}
    )

    assert (204, b"") == (may.status_code, may.content)
    assert "POST" == may.headers["access-control-allow-methods"]
    assert {"content-type", "x-namespace"} <= set(
        may.headers["access-control-allow-headers"].split(", ")
    )
    assert [CLEAR] == _payloads(response)
    for each in (may, response):
        assert (origin, "Origin") == (
            each.headers["access-control-allow-origin"],
            each.headers["vary"],
        )
        assert "access-control-allow-credentials" not in each.headers


@pytest.mark.parametrize(
    "origin", ["http://127.0.0.1:8234", "https://127.0.0.1:8233", "http://evil.example", "null", ""]
)
async def test_other_pages_may_not_ask(http: httpx.AsyncClient, origin: str) -> None:
    """Not even with the token."""
    headers = {**BEARER, "Origin": origin}

    asked = await http.options("/decode", headers=headers)
    response = await http.post("/decode", json=_json(_encrypted()), headers=headers)

    assert [403, 403] == [asked.status_code, response.status_code]
    assert "access-control-allow-origin" not in {*asked.headers, *response.headers}
    assert CANARY not in response.text


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b'{"payloads": 1}', b"\xff", b"[" * 9999],
)
async def test_a_wrong_body_is_refused(http: httpx.AsyncClient, body: bytes) -> None:
    """With a sentence that repeats nothing of it."""
    response = await http.post("/decode", content=body, headers=BEARER)

    assert 400 == response.status_code
    assert {"error": "The body is not Payloads in Protocol Buffers' JSON."} == response.json()


async def test_a_large_body_is_refused(
    http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also without a length, and many payloads."""
    monkeypatch.setattr(module, "MAX_BODY_BYTES", 1000)
    monkeypatch.setattr(module, "MAX_PAYLOADS", 10)

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b" " * 100

    refused = [
        await http.post("/decode", content=content, headers=BEARER)
        for content in (b" " * 1001, pieces(), b'{"payloads":[' + b"{}," * 10 + b"{}]}")
    ]

    assert [413] * 3 == [each.status_code for each in refused]


async def test_a_wrong_namespace_is_refused(http: httpx.AsyncClient) -> None:
    """A name that no namespace can have."""
    headers = {**BEARER, "X-Namespace": "x" * 256}

    assert 400 == (await http.post("/decode", json=_json(), headers=headers)).status_code


async def test_what_goes_wrong_is_not_logged_with_its_text(
    http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An unexpected error may quote a payload."""

    def fail(*_: object) -> Payload:
        raise ValueError(CANARY)

    monkeypatch.setattr(EncryptionCodec, "decrypt", fail)
    with caplog.at_level(logging.DEBUG):
        response = await http.post("/decode", json=_json(_encrypted()), headers=BEARER)

    assert 500 == response.status_code
    assert "Unexpected ValueError" in caplog.text
    assert CANARY not in caplog.text + response.text


@pytest.mark.parametrize("token", ["", "short", "x" * 31, "x" * 40 + "/", "\u00e9" * 40])
def test_a_weak_token_is_refused(token: str) -> None:
    """It does not start with a token that could be guessed, or that a URL would have to escape."""
    with pytest.raises(InvalidSettings, match="CODEC_SERVER_TOKEN") as refused:
        token_of(CodecServerSettings(codec_server_token=token or None))
    assert not token or token not in str(refused.value).replace("CODEC_SERVER_TOKEN", "")


def test_wrong_settings_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """As by the other processes."""
    monkeypatch.setenv("CODEC_SERVER_PORT", "canary")
    monkeypatch.setenv("TEMPORAL_UI_URL", "canary")

    with pytest.raises(InvalidSettings, match="CODEC_SERVER_PORT") as refused:
        load_codec_server_settings()

    assert "TEMPORAL_UI_URL" in str(refused.value)
    assert "canary" not in str(refused.value)


@pytest.mark.integration
def test_the_process(tmp_path: Path) -> None:
    """It serves, ends in order, and its output has neither token nor clear text."""
    [port] = free_ports(1)
    log, keys = tmp_path / "log", tmp_path / "keys"
    keys.write_text(KEYS)
    environment = {
        "PATH": os.environ["PATH"],
        "CODEC_SERVER_PORT": str(port),
        "CODEC_SERVER_TOKEN": TOKEN,
        "PAYLOAD_KEYS_FILE": str(keys),
    }
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "ops.codec_server"],
            cwd=ROOT,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        with httpx.Client(base_url=f"http://{HOST}:{port}", trust_env=False) as http:

            def is_alive() -> bool:
                try:
                    return http.get("/healthz").status_code == 200
                except httpx.TransportError:
                    return False

            wait_for(is_alive, "the codec server")
            answers = [
                http.post(path, json=_json(_encrypted()))
                for path in (f"/{TOKEN}/decode", f"/{TOKEN[1:]}/decode")
            ]
        process.send_signal(signal.SIGTERM)
        assert 0 == process.wait(20)
    finally:
        process.kill()
        process.wait()

    assert [200, 401] == [each.status_code for each in answers]
    assert base64.b64encode(CLEAR.data).decode() in answers[0].text
    assert not any(each in log.read_text() for each in (TOKEN, TOKEN[1:], CANARY))


@pytest.mark.integration
@pytest.mark.parametrize(
    ("variables", "problem"),
    [
        ({}, "there is no key"),
        ({"PAYLOAD_ENCRYPTION": "off"}, "there is nothing to decode"),
        ({"PAYLOAD_KEYS": KEYS}, "CODEC_SERVER_TOKEN"),
    ],
)
def test_it_does_not_start_without(variables: dict[str, str], problem: str) -> None:
    """Keys and a token; a sentence says which."""
    done = subprocess.run(
        [sys.executable, "-m", "ops.codec_server"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **variables},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (1, "") == (done.returncode, done.stdout)
    assert done.stderr.startswith("signedfor codec server: ")
    assert problem in done.stderr
    assert "Traceback" not in done.stderr
