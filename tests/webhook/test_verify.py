import logging
from urllib.parse import urlencode

import httpx
import pytest

from tests.webhook.support import (
    ACCOUNT,
    FORM,
    PERSON,
    PREVIOUS_TOKEN,
    PUBLIC,
    SENDER,
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


async def test_takes_a_signature_by_either_token(twilio: Twilio) -> None:
    """Callbacks signed with the current or the previous token are Twilio's."""
    answers = [
        (await Twilio(http=twilio.http, token=token).inbound("hello")).status_code
        for token in (TOKEN, PREVIOUS_TOKEN, "another-token")
    ]

    assert [200, 200, 403] == answers


async def test_refuses_a_wrong_signature(twilio: Twilio, caplog: pytest.LogCaptureFixture) -> None:
    """A wrong signature is a 403, counted, and logged with the URL and what to look at."""
    target = STATUS + f"&to={PERSON}"
    fields = status_fields()

    answer = await _post(
        twilio, target, urlencode(fields), X_Twilio_Signature=sign("https://x" + target, fields)
    )

    assert (403, REFUSED) == (answer.status_code, answer.json())
    assert 1 == await _refused(twilio, "wrong_signature")
    (record,) = [each for each in caplog.records if each.name == "webhook.signature"]
    assert logging.WARNING == record.levelno
    assert f"{PUBLIC}/webhook/status?message_id=order-17 " in record.message
    assert "PUBLIC_BASE_URL is not exactly what Twilio calls" in record.message
    assert not any(secret in caplog.text for secret in (PERSON, SENDER, TOKEN, PREVIOUS_TOKEN))


@pytest.mark.parametrize("query", ["?message_id=a%0Ab", "?message_id=%FF", "?x=1", "?message_id="])
async def test_logs_no_id_that_is_none(
    twilio: Twilio, caplog: pytest.LogCaptureFixture, query: str
) -> None:
    """What a stranger puts into the query reaches the log only if it has the form of an id."""
    answer = await _post(twilio, "/webhook/status" + query, "", X_Twilio_Signature="x")

    assert answer.status_code == 403
    (record,) = [each for each in caplog.records if each.name == "webhook.signature"]
    assert "/webhook/status " in record.message


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"target": INBOUND + "?x=1"}, id="query added"),
        pytest.param({"target": "/webhook/%69nbound"}, id="path spelt otherwise"),
        pytest.param({"body": urlencode(inbound_fields(Body="START"))}, id="body"),
        pytest.param({"body": urlencode(inbound_fields(Body="STOP")) + "&x="}, id="blank field"),
        pytest.param({"body": urlencode(inbound_fields(Body="STOP", NumMedia="-"))}, id="dropped"),
    ],
)
async def test_signature_covers_everything(twilio: Twilio, change: dict[str, str]) -> None:
    """A request that differs from the signed one anywhere is refused."""
    fields = inbound_fields(Body="STOP")
    request = {"target": INBOUND, "body": urlencode(fields), **change}

    answer = await _post(twilio, **request, X_Twilio_Signature=sign(PUBLIC + INBOUND, fields))

    assert answer.status_code == 403


async def test_believes_no_header_about_the_url(twilio: Twilio) -> None:
    """Host and X-Forwarded-* change nothing, neither for the right URL nor for a wrong one."""
    fields = inbound_fields(Body="hello")
    forwarded = {
        "Host": "evil.example.com",
        "X_Forwarded_Host": "evil.example.com",
        "X_Forwarded_Proto": "http",
        "X_Forwarded_Prefix": "/evil",
    }

    answers = [
        await _post(
            twilio,
            INBOUND,
            urlencode(fields),
            X_Twilio_Signature=sign(base + INBOUND, fields),
            **forwarded,
        )
        for base in (PUBLIC, "http://evil.example.com", "http://evil.example.com/evil")
    ]

    assert [200, 403, 403] == [answer.status_code for answer in answers]


@pytest.mark.parametrize("host", ["[::1", "a b", "", "x:99999999", "é"])
async def test_a_strange_host_breaks_nothing(twilio: Twilio, host: str) -> None:
    """A Host header that is no host neither helps nor breaks a request."""
    headers = [
        (b"host", host.encode()),
        (b"content-type", FORM.encode()),
        (b"x-twilio-signature", b"x"),
    ]

    answer = await twilio.http.post(INBOUND, content="x=1", headers=headers)

    assert 403 == answer.status_code


async def test_needs_exactly_one_signature(twilio: Twilio) -> None:
    """No signature, a blank one and two of them are refused, even if one of the two is right."""
    fields = inbound_fields(Body="hello")
    right = sign(PUBLIC + INBOUND, fields)

    for signatures in ([], [""], [right, right], [right, "x"]):
        answer = await twilio.http.post(
            INBOUND,
            content=urlencode(fields),
            headers=[("Content-Type", FORM)] + [("X-Twilio-Signature", s) for s in signatures],
        )

        assert (403, REFUSED) == (answer.status_code, answer.json())
    assert 4 == await _refused(twilio, "unsigned")


async def test_refuses_shared_key_signatures(twilio: Twilio) -> None:
    """What says it is signed with a shared key is refused: the token must not check that."""
    fields = inbound_fields(Body="hello")

    answer = await _post(
        twilio,
        INBOUND,
        urlencode(fields),
        X_Twilio_Signature=sign(PUBLIC + INBOUND, fields),
        X_Twilio_Webhooks_Signature_Settings="key=webhooks_sharedkey_1,algorithm=HMAC_SHA256",
    )

    assert 403 == answer.status_code
    assert 1 == await _refused(twilio, "shared_key")


@pytest.mark.parametrize("content_type", ["", "text/plain", "multipart/form-data", "text/xml"])
async def test_refuses_bodies_that_no_signature_covers(twilio: Twilio, content_type: str) -> None:
    """With another content type the signature would cover the URL alone."""
    answer = await _post(
        twilio,
        INBOUND,
        urlencode(inbound_fields(Body="STOP")),
        X_Twilio_Signature=sign(PUBLIC + INBOUND),
        Content_Type=content_type,
    )

    assert 403 == answer.status_code
    assert 1 == await _refused(twilio, "content_type")


@pytest.mark.parametrize("body", [b"From=%FF", b"From=\xff", b"\x00\xfe"])
async def test_refuses_what_cannot_be_checked(twilio: Twilio, body: bytes) -> None:
    """A body that cannot be decoded cannot be checked, so it is not Twilio's."""
    answer = await _post(twilio, INBOUND, body, X_Twilio_Signature="RSOYDt4T1cUTdK1PDd93/VVr8B8=")

    assert 403 == answer.status_code
    assert 1 == await _refused(twilio, "unreadable")


async def test_takes_signed_json(twilio: Twilio) -> None:
    """JSON whose hash stands in the signed query is Twilio's."""
    body = b'{"AccountSid": "%s", "MessageSid": "SM%s", "MessageStatus": "sent", "n": 1}'

    answer = await twilio.post_json(STATUS, body % (ACCOUNT.encode(), b"c" * 32))

    assert 204 == answer.status_code


async def test_signed_nonsense_in_json_is_a_bad_request(twilio: Twilio) -> None:
    """JSON that Twilio signed and that is no flat object is a 400."""
    answer = await twilio.post_json(STATUS, b"[1, 2]")

    assert 400 == answer.status_code
    assert {"detail": "The body is not a JSON object of up to 100 fields."} == answer.json()


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
async def test_refuses_json_without_its_one_hash(twilio: Twilio, hashes: str) -> None:
    """JSON is covered by the one hash in the signed query, or it is refused."""
    right = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"  # of {}
    target = STATUS + hashes.format(right=right)

    answer = await _post(
        twilio,
        target,
        b"{}",
        X_Twilio_Signature=sign(PUBLIC + target),
        Content_Type="application/json",
    )

    assert 403 == answer.status_code
    assert 1 == await _refused(twilio, "wrong_body_hash")


async def test_refuses_other_accounts(twilio: Twilio, caplog: pytest.LogCaptureFixture) -> None:
    """A callback about another account's message is refused, with the setting to look at."""
    answer = await twilio.status("order-17", "delivered", AccountSid="AC" + "f" * 32)

    assert 403 == answer.status_code
    assert 1 == await _refused(twilio, "wrong_account")
    assert "TWILIO_ACCOUNT_SID" in caplog.text


async def test_refuses_too_many_fields_unchecked(twilio: Twilio) -> None:
    """More than a hundred fields are refused before their signature costs anything."""
    answer = await twilio.post(INBOUND, [(f"x{n}", "") for n in range(101)])

    assert 413 == answer.status_code


async def test_takes_fields_it_does_not_know(twilio: Twilio) -> None:
    """Twilio's parameters may grow: unknown ones, repeated or blank, do no harm."""
    fields = [*inbound_fields(Body="hello").items(), ("New", "1"), ("New", "2"), ("Blank", "")]

    answer = await twilio.post(INBOUND, fields)

    assert 200 == answer.status_code


async def test_a_flood_of_refusals_does_not_flood_the_log(
    twilio: Twilio, caplog: pytest.LogCaptureFixture
) -> None:
    """Refusals of one kind are all counted, and logged once in a while."""
    for _ in range(20):
        await _post(twilio, INBOUND, "x=1", X_Twilio_Signature="wrong")

    assert 20 == await _refused(twilio, "wrong_signature")
    assert 1 == len([each for each in caplog.records if each.name == "webhook.signature"])
