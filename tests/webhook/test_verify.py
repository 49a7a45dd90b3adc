import hashlib
import logging
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest

from signedfor.twilio.overrides import OVERRIDES
from signedfor.webhook_probe import probe_of
from tests.webhook.support import (
    ACCOUNT,
    FORM,
    PERSON,
    PREVIOUS_TOKEN,
    PUBLIC,
    SENDER,
    SHARED_KEYS,
    TOKEN,
    Twilio,
    inbound_fields,
    metric,
    sign,
    status_fields,
)

INBOUND = "/webhook/inbound"
STATUS = "/webhook/status?message_id=order-17"
REFUSED = {"detail": "This request does not carry Twilio's valid signature."}


async def _post(twilio: Twilio, target: str, body: bytes | str, **headers: str) -> httpx.Response:
    return await twilio.http.post(
        target,
        content=body,
        headers={"Content-Type": FORM} | {k.replace("_", "-"): v for k, v in headers.items()},
    )


async def _refused(twilio: Twilio, reason: str) -> float:
    return await metric(twilio.http, "signedfor_webhook_refused_total", reason=reason)


async def test_signatures_with_either_token_are_accepted(twilio: Twilio) -> None:
    """Callbacks may be signed with the current or the previous token, and no other."""
    responses = [
        (await Twilio(http=twilio.http, token=token).inbound("hello")).status_code
        for token in (TOKEN, PREVIOUS_TOKEN, "another-token")
    ]

    assert [200, 200, 403] == responses


async def test_a_wrong_signature_is_refused(
    twilio: Twilio, caplog: pytest.LogCaptureFixture
) -> None:
    """It is counted, and logged with the URL and the likely cause."""
    target = STATUS + f"&to={PERSON}"
    fields = status_fields()

    response = await _post(
        twilio, target, urlencode(fields), X_Twilio_Signature=sign("https://x" + target, fields)
    )

    assert (403, REFUSED) == (response.status_code, response.json())
    assert 1 == await _refused(twilio, "wrong_signature")
    (record,) = [each for each in caplog.records if each.name == "webhook.signature"]
    assert logging.WARNING == record.levelno
    assert f"{PUBLIC}/webhook/status?message_id=order-17 " in record.message
    assert "PUBLIC_BASE_URL is not exactly what Twilio calls" in record.message
    assert not any(secret in caplog.text for secret in (PERSON, SENDER, TOKEN, PREVIOUS_TOKEN))


@pytest.mark.parametrize("token", [TOKEN, PREVIOUS_TOKEN])
async def test_the_probe_of_our_own_check_is_refused_without_a_count(
    twilio: Twilio, caplog: pytest.LogCaptureFixture, token: str
) -> None:
    """It has a wrong signature and a header that only who has the token can make."""
    wrong = sign("https://x" + STATUS, status_fields())

    response = await _post(
        twilio,
        STATUS,
        urlencode(status_fields()),
        X_Twilio_Signature=wrong,
        X_Signedfor_Probe=probe_of(wrong, token=token),
    )

    assert (403, REFUSED) == (response.status_code, response.json())
    assert 0 == await _refused(twilio, "wrong_signature")
    assert [] == [each for each in caplog.records if each.name == "webhook.signature"]


@pytest.mark.parametrize(
    "probe",
    [
        pytest.param(probe_of("another", token=TOKEN), id="for another signature"),
        pytest.param(probe_of("x", token="another-token"), id="by another token"),
        pytest.param("\xe9", id="not ASCII"),
        pytest.param("", id="empty"),
    ],
)
async def test_strangers_make_no_probe(twilio: Twilio, probe: str) -> None:
    """Their requests are counted as before."""
    headers = {"Content-Type": FORM, "X-Twilio-Signature": "x", "X-Signedfor-Probe": probe}

    response = await twilio.http.post(
        STATUS,
        content=urlencode(status_fields()),
        headers=[(name.encode(), value.encode("latin-1")) for name, value in headers.items()],
    )

    assert 403 == response.status_code
    assert 1 == await _refused(twilio, "wrong_signature")


async def test_a_probe_is_no_signature(twilio: Twilio) -> None:
    """With its header alone a request is refused as unsigned, and counted."""
    probe = probe_of("", token=TOKEN)

    response = await _post(twilio, STATUS, urlencode(status_fields()), X_Signedfor_Probe=probe)

    assert 403 == response.status_code
    assert 1 == await _refused(twilio, "unsigned")


@pytest.mark.parametrize("query", ["?message_id=a%0Ab", "?message_id=%FF", "?x=1", "?message_id="])
async def test_an_invalid_message_id_is_not_logged(
    twilio: Twilio, caplog: pytest.LogCaptureFixture, query: str
) -> None:
    """Only a valid id from the query of an unsigned request gets into the log."""
    response = await _post(twilio, "/webhook/status" + query, "", X_Twilio_Signature="x")

    assert response.status_code == 403
    (record,) = [each for each in caplog.records if each.name == "webhook.signature"]
    assert "/webhook/status " in record.message


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"target": INBOUND + "?x=1"}, id="query added"),
        pytest.param({"target": "/webhook/%69nbound"}, id="path encoded differently"),
        pytest.param({"body": urlencode(inbound_fields(Body="START"))}, id="body"),
        pytest.param({"body": urlencode(inbound_fields(Body="STOP")) + "&x="}, id="blank field"),
        pytest.param({"body": urlencode(inbound_fields(Body="STOP", NumMedia="-"))}, id="dropped"),
    ],
)
async def test_the_signature_covers_the_whole_request(
    twilio: Twilio, change: dict[str, str]
) -> None:
    """A request that differs from the signed one in any part is refused."""
    fields = inbound_fields(Body="STOP")
    request = {"target": INBOUND, "body": urlencode(fields), **change}

    response = await _post(twilio, **request, X_Twilio_Signature=sign(PUBLIC + INBOUND, fields))

    assert response.status_code == 403


async def test_connection_overrides_are_not_signed(twilio: Twilio) -> None:
    """Twilio takes the fragment off the URL, and signs what is left."""
    fields = inbound_fields()
    responses = [
        await _post(
            twilio,
            INBOUND,
            urlencode(fields),
            X_Twilio_Signature=sign(PUBLIC + INBOUND + fragment, fields),
        )
        for fragment in ("", f"#{OVERRIDES}")
    ]

    assert [200, 403] == [each.status_code for each in responses]


async def test_headers_do_not_change_the_signed_url(twilio: Twilio) -> None:
    """Host and X-Forwarded-* are ignored."""
    fields = inbound_fields(Body="hello")
    forwarded = {
        "Host": "evil.example.com",
        "X_Forwarded_Host": "evil.example.com",
        "X_Forwarded_Proto": "http",
        "X_Forwarded_Prefix": "/evil",
    }

    responses = [
        await _post(
            twilio,
            INBOUND,
            urlencode(fields),
            X_Twilio_Signature=sign(base + INBOUND, fields),
            **forwarded,
        )
        for base in (PUBLIC, "http://evil.example.com", "http://evil.example.com/evil")
    ]

    assert [200, 403, 403] == [response.status_code for response in responses]


@pytest.mark.parametrize("host", ["[::1", "a b", "", "x:99999999", "é"])
async def test_an_invalid_host_header_is_ignored(twilio: Twilio, host: str) -> None:
    """It causes no internal error."""
    headers = [
        (b"host", host.encode()),
        (b"content-type", FORM.encode()),
        (b"x-twilio-signature", b"x"),
    ]

    response = await twilio.http.post(INBOUND, content="x=1", headers=headers)

    assert 403 == response.status_code


async def test_exactly_one_signature_is_required(twilio: Twilio) -> None:
    """Without a signature, or with a blank one or two, the request is refused."""
    fields = inbound_fields(Body="hello")
    right = sign(PUBLIC + INBOUND, fields)

    for signatures in ([], [""], [right, right], [right, "x"]):
        response = await twilio.http.post(
            INBOUND,
            content=urlencode(fields),
            headers=[("Content-Type", FORM)] + [("X-Twilio-Signature", s) for s in signatures],
        )

        assert (403, REFUSED) == (response.status_code, response.json())
    assert 4 == await _refused(twilio, "unsigned")


_KEY_1, _KEY_2 = SHARED_KEYS


async def _signed_by(
    twilio: Twilio, secret: str, settings: str, digest: Callable[..., Any] = hashlib.sha256
) -> int:
    """Post a message signed with this secret, and what the header says of the signature."""
    fields = inbound_fields(Body="hello")
    response = await _post(
        twilio,
        INBOUND,
        urlencode(fields),
        X_Twilio_Signature=sign(PUBLIC + INBOUND, fields, token=secret, digest=digest),
        X_Twilio_Webhooks_Signature_Settings=settings,
    )
    return response.status_code


@pytest.mark.parametrize("key", SHARED_KEYS)
async def test_a_shared_key_that_is_configured_is_accepted(twilio: Twilio, key: str) -> None:
    """With the algorithm that the header names."""
    settings = f"key={key},algorithm=HMAC_SHA256"

    assert 200 == await _signed_by(twilio, SHARED_KEYS[key], settings)


@pytest.mark.parametrize(
    ("secret", "settings"),
    [
        (SHARED_KEYS[_KEY_1], f"key={_KEY_2},algorithm=HMAC_SHA256"),
        (TOKEN, f"key={_KEY_1},algorithm=HMAC_SHA256"),
        (PREVIOUS_TOKEN, f"key={_KEY_1},algorithm=HMAC_SHA256"),
        ("", f"key={_KEY_1},algorithm=HMAC_SHA256"),
    ],
)
async def test_a_shared_key_verifies_only_what_it_signed(
    twilio: Twilio, secret: str, settings: str
) -> None:
    """Neither another key nor the auth token stands in for it."""
    assert 403 == await _signed_by(twilio, secret, settings)
    assert 1 == await _refused(twilio, "wrong_signature")


@pytest.mark.parametrize("digest", [hashlib.sha1, hashlib.sha256])
@pytest.mark.parametrize(
    "settings",
    [
        "key=webhooks_sharedkey_3,algorithm=HMAC_SHA256",
        "algorithm=HMAC_SHA256",
        "algorithm=HMAC_SHA1",
        "key=,algorithm=HMAC_SHA256",
        f"key={_KEY_1},algorithm=HMAC_SHA1",
        f"key={_KEY_1},algorithm=none",
        f"key={_KEY_1}",
        "",
        ",",
        "=",
    ],
)
async def test_a_request_that_names_no_known_key_is_refused(
    twilio: Twilio, settings: str, digest: Callable[..., Any]
) -> None:
    """Whatever it is signed with, the auth token included."""
    for secret in (TOKEN, *SHARED_KEYS.values()):
        assert 403 == await _signed_by(twilio, secret, settings, digest)
    assert 3 == await _refused(twilio, "shared_key")


async def test_without_the_header_only_the_auth_token_counts(twilio: Twilio) -> None:
    """By its own algorithm; the keys that are configured change nothing."""
    fields = inbound_fields(Body="hello")
    for secret, digest, expected in (
        (TOKEN, hashlib.sha1, 200),
        (TOKEN, hashlib.sha256, 403),
        (SHARED_KEYS[_KEY_1], hashlib.sha1, 403),
        (SHARED_KEYS[_KEY_1], hashlib.sha256, 403),
    ):
        signature = sign(PUBLIC + INBOUND, fields, token=secret, digest=digest)
        response = await _post(twilio, INBOUND, urlencode(fields), X_Twilio_Signature=signature)
        assert expected == response.status_code


@pytest.mark.parametrize("content_type", ["", "text/plain", "multipart/form-data", "text/xml"])
async def test_other_content_types_are_refused(twilio: Twilio, content_type: str) -> None:
    """The signature would cover the URL only."""
    response = await _post(
        twilio,
        INBOUND,
        urlencode(inbound_fields(Body="STOP")),
        X_Twilio_Signature=sign(PUBLIC + INBOUND),
        Content_Type=content_type,
    )

    assert 403 == response.status_code
    assert 1 == await _refused(twilio, "content_type")


@pytest.mark.parametrize("body", [b"From=%FF", b"From=\xff", b"\x00\xfe"])
async def test_a_body_that_cannot_be_decoded_is_refused(twilio: Twilio, body: bytes) -> None:
    """Its signature cannot be checked."""
    response = await _post(twilio, INBOUND, body, X_Twilio_Signature="RSOYDt4T1cUTdK1PDd93/VVr8B8=")

    assert 403 == response.status_code
    assert 1 == await _refused(twilio, "unreadable")


async def test_signed_json_is_accepted(twilio: Twilio) -> None:
    """The hash of the JSON is in the signed query."""
    body = b'{"AccountSid": "%s", "MessageSid": "SM%s", "MessageStatus": "sent", "n": 1}'

    response = await twilio.post_json(STATUS, body % (ACCOUNT.encode(), b"c" * 32))

    assert 204 == response.status_code


async def test_signed_json_that_is_no_flat_object_is_a_bad_request(twilio: Twilio) -> None:
    """The response says what is expected."""
    response = await twilio.post_json(STATUS, b"[1, 2]")

    assert 400 == response.status_code
    assert {"detail": "The body is not a JSON object of up to 100 fields."} == response.json()


@pytest.mark.parametrize(
    "hashes",
    [
        pytest.param("", id="missing"),
        pytest.param("&bodySHA256=" + "0" * 64, id="wrong"),
        pytest.param("&bodySHA256=", id="blank"),
        pytest.param("&bodySHA256={right}&bodySHA256={right}", id="twice"),
        pytest.param("&bodySHA256={right}&bodySHA256=" + "0" * 64, id="right and wrong"),
    ],
)
async def test_json_without_exactly_one_right_hash_is_refused(twilio: Twilio, hashes: str) -> None:
    """The signature covers JSON only through the hash in the query."""
    right = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"  # of {}
    target = STATUS + hashes.format(right=right)

    response = await _post(
        twilio,
        target,
        b"{}",
        X_Twilio_Signature=sign(PUBLIC + target),
        Content_Type="application/json",
    )

    assert 403 == response.status_code
    assert 1 == await _refused(twilio, "wrong_body_hash")


async def test_callbacks_of_other_accounts_are_refused(
    twilio: Twilio, caplog: pytest.LogCaptureFixture
) -> None:
    """The log names the setting to check."""
    response = await twilio.status("order-17", "delivered", AccountSid="AC" + "f" * 32)

    assert 403 == response.status_code
    assert 1 == await _refused(twilio, "wrong_account")
    assert "TWILIO_ACCOUNT_SID" in caplog.text


async def test_too_many_fields_are_refused(twilio: Twilio) -> None:
    """More than a hundred fields are refused before the signature is computed."""
    response = await twilio.post(INBOUND, [(f"x{n}", "") for n in range(101)])

    assert 413 == response.status_code


async def test_unknown_fields_are_ignored(twilio: Twilio) -> None:
    """Twilio may add parameters, even repeated or blank ones."""
    fields = [*inbound_fields(Body="hello").items(), ("New", "1"), ("New", "2"), ("Blank", "")]

    response = await twilio.post(INBOUND, fields)

    assert 200 == response.status_code


async def test_repeated_refusals_are_logged_rarely(
    twilio: Twilio, caplog: pytest.LogCaptureFixture
) -> None:
    """Refusals of one kind are all counted, but not all logged."""
    for _ in range(20):
        await _post(twilio, INBOUND, "x=1", X_Twilio_Signature="wrong")

    assert 20 == await _refused(twilio, "wrong_signature")
    assert 1 == len([each for each in caplog.records if each.name == "webhook.signature"])
