import base64
import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr
from starlette.datastructures import ImmutableMultiDict
from twilio.request_validator import RequestValidator

from tests.webhook.support import sign
from webhook.signature import Signatures, has_body_hash

TARGET = "/myapp.php?foo=1&bar=2"
HTTPS = "https://mycompany.com"
HTTP = "http://mycompany.com"
CALL = {
    "CallSid": "CA1234567890ABCDE",
    "Digits": "1234",
    "From": "+14158675309",
    "To": "+18005551212",
    "Caller": "+14158675309",
}
REPEATED = [
    ("Sid", "CA123"),
    ("SidAccount", "AC123"),
    ("Digits", "5678"),
    ("Digits", "1234"),
    ("Digits", "1234"),
]
JSON_BODY = b'{"property": "value", "boolean": true}'
JSON_HASH = "0a1ff7634d9ab3b95db5c9a2dfe9416e41502b283a80c7cf19632632f96e6620"
RIGHT = "RSOYDt4T1cUTdK1PDd93/VVr8B8="
EMPTY_BODY = {"Body": "", "From": "+15551234567"}


def _signatures(base: str, token: str = "12345", previous: str | None = None) -> Signatures:
    return Signatures(
        public_base_url=base,
        auth_token=SecretStr(token),
        previous_auth_token=None if previous is None else SecretStr(previous),
    )


@pytest.mark.parametrize(
    ("base", "target", "fields", "signature"),
    [
        pytest.param(HTTPS, TARGET, CALL, "RSOYDt4T1cUTdK1PDd93/VVr8B8=", id="1 https"),
        pytest.param(HTTPS + ":443", TARGET, CALL, "kvajT1Ptam85bY51eRf/AJRuM3w=", id="2 :443"),
        pytest.param(HTTP, TARGET, CALL, "OyGYPqTF6ztdbRNCvuQO/oPvqQ4=", id="3 http"),
        pytest.param(HTTP + ":80", TARGET, CALL, "0ZXoZLH/DfblKGATFgpif+LLRf4=", id="4 :80"),
        pytest.param(HTTP + ":1234", TARGET, CALL, "Zmvh+3yNM1Phv2jhDCwEM3q5ebU=", id="5 :1234"),
        pytest.param(HTTPS + ":1234", TARGET, CALL, "CYn1h0gLBdNxDGkKJg6hYohgeD8=", id="6 :1234"),
        pytest.param(HTTPS + ":8443", TARGET, CALL, "ZOaJEsozlsUyzk5k5fpaCxTxXDA=", id="7 :8443"),
        pytest.param(HTTPS, TARGET, REPEATED, "IK+Dwps556ElfBT0I3Rgjkr1wJU=", id="8 repeated"),
        pytest.param(
            HTTPS, f"{TARGET}&bodySHA256={JSON_HASH}", {}, "a9nBmqA0ju/hNViExpshrM61xv4=", id="9"
        ),
        pytest.param(HTTPS, TARGET, {}, "zYQTYrRWXE7LtzbG4PfP7/bkkGo=", id="11 no fields"),
        pytest.param(HTTPS, TARGET, EMPTY_BODY, "dh2A1KKZrj1ss0qmrxJzZjiCus0=", id="12 blank"),
        pytest.param(
            "https://example.com",
            "/sms",
            {"Body": "Hé👍", "From": "+15551234567"},
            "7CIZoFqpaTKasDBRIZ2+kgfckyM=",
            id="14 UTF-8",
        ),
        pytest.param(HTTPS, TARGET, CALL, "kvajT1Ptam85bY51eRf/AJRuM3w=", id="port added"),
        pytest.param(HTTPS + ":443", TARGET, CALL, "RSOYDt4T1cUTdK1PDd93/VVr8B8=", id="dropped"),
        pytest.param(HTTP, TARGET, CALL, "0ZXoZLH/DfblKGATFgpif+LLRf4=", id="http port added"),
        pytest.param(HTTPS + ":8443", TARGET, CALL, "RSOYDt4T1cUTdK1PDd93/VVr8B8=", id="like SDK"),
    ],
)
def test_known_signatures_match(
    base: str, target: str, fields: dict[str, str], signature: str
) -> None:
    """The default port may be in the URL or not."""
    assert _signatures(base).match(
        target=target, fields=ImmutableMultiDict(fields), signature=signature
    )


@pytest.mark.parametrize(
    ("base", "target", "fields", "signature"),
    [
        pytest.param(
            HTTPS, TARGET, CALL, "033hgUJA9M/hXIZsYjwkerEP/DBm35nEri5FhCYjA5s=", id="10 SHA-256"
        ),
        pytest.param(
            HTTPS, TARGET, EMPTY_BODY, "vTnUSjSZ52c2utPSH2cmlvNAno4=", id="13 blank dropped"
        ),
        pytest.param(HTTPS, TARGET, CALL, "CYn1h0gLBdNxDGkKJg6hYohgeD8=", id="another port"),
        pytest.param(HTTPS, TARGET, CALL, "OyGYPqTF6ztdbRNCvuQO/oPvqQ4=", id="another scheme"),
        pytest.param(HTTPS, "/myapp.php?bar=2&foo=1", CALL, RIGHT, id="order"),
        pytest.param(HTTPS, TARGET, CALL, "", id="empty"),
        pytest.param(HTTPS, TARGET, CALL, "RSOYDt4T1cUTdK1PDd93/VVr8B8", id="cut"),
        pytest.param(HTTPS, TARGET, CALL, "rsoydt4t1cutdk1pdd93/vvr8b8=", id="other case"),
        pytest.param(HTTPS, TARGET, CALL, "ÿ👍", id="not ASCII"),
    ],
)
def test_other_signatures_do_not_match(
    base: str, target: str, fields: dict[str, str], signature: str
) -> None:
    """Only the signature of exactly this request does."""
    assert not _signatures(base).match(
        target=target, fields=ImmutableMultiDict(fields), signature=signature
    )


def test_current_and_previous_token_both_match() -> None:
    """Both are valid while a token is rotated, and no other token is."""
    signatures = _signatures(HTTPS, "new", "old")

    matches = [
        signatures.match(target=TARGET, signature=sign(HTTPS + TARGET, token=token))
        for token in ("new", "old", "other")
    ]

    assert [True, True, False] == matches


def test_the_base_url_may_have_an_ipv6_host() -> None:
    """The SDK does not handle an IPv6 address with a port."""
    signatures = _signatures("https://[2001:db8::1]:443", "token")

    for base in ("https://[2001:db8::1]:443", "https://[2001:db8::1]"):
        assert signatures.match(target="/x", signature=sign(base + "/x", token="token"))


_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@given(
    pairs=st.lists(st.tuples(_text, _text), max_size=8),
    base=st.sampled_from([HTTPS, HTTPS + ":443", HTTP, HTTP + ":80", HTTPS + ":8443"]),
    signed=st.sampled_from([HTTPS, HTTPS + ":443", HTTP, HTTP + ":80", HTTPS + ":8443"]),
)
def test_signatures_match_as_in_the_sdk(
    pairs: list[tuple[str, str]], base: str, signed: str
) -> None:
    """For plain hosts our result is the SDK's."""
    fields = ImmutableMultiDict(pairs)
    signature = sign(signed + TARGET, pairs, token="12345")

    sdk = RequestValidator("12345")  # type: ignore[no-untyped-call] # the SDK has no types
    expected = sdk.validate(base + TARGET, fields, signature)  # type: ignore[no-untyped-call]
    actual = _signatures(base).match(target=TARGET, fields=fields, signature=signature)

    assert expected == actual


def test_the_body_hash_is_hexadecimal_in_either_case() -> None:
    """Only the hash of exactly the same bytes matches."""

    def matches(value: str, body: bytes = JSON_BODY) -> bool:
        return has_body_hash(ImmutableMultiDict({"bodySHA256": value}), body)

    assert matches(JSON_HASH)
    assert matches(JSON_HASH.upper())
    assert not matches(JSON_HASH, JSON_BODY + b"\n")
    assert not matches("")
    assert not matches("é")


def test_our_signer_creates_known_signatures() -> None:
    """So the tests do not share a mistake with the code."""
    assert sign(HTTPS + TARGET, CALL, token="12345") == "RSOYDt4T1cUTdK1PDd93/VVr8B8="
    digest = hmac.new(b"12345", (HTTPS + TARGET).encode(), hashlib.sha1).digest()
    assert sign(HTTPS + TARGET, token="12345") == base64.b64encode(digest).decode()


def test_a_shared_keys_signature_is_that_of_twilios_sdk() -> None:
    """The same text, with the key's secret and SHA-256: the SDK's own example."""
    signatures = Signatures(
        public_base_url=HTTPS,
        auth_token=SecretStr("other"),
        shared_keys={"webhooks_sharedkey_1": SecretStr("12345")},
    )
    signer = signatures.signer(["key=webhooks_sharedkey_1,algorithm=HMAC_SHA256"])

    assert signer is not None
    assert signer.match(
        target=TARGET,
        fields=ImmutableMultiDict(CALL),
        signature="033hgUJA9M/hXIZsYjwkerEP/DBm35nEri5FhCYjA5s=",
    )


def test_a_header_that_is_sent_twice_names_nobody() -> None:
    """Readers differ in which of the two they take."""
    settings = "key=webhooks_sharedkey_1,algorithm=HMAC_SHA256"
    signatures = Signatures(
        public_base_url=HTTPS,
        auth_token=SecretStr("other"),
        shared_keys={"webhooks_sharedkey_1": SecretStr("12345")},
    )

    assert signatures.signer([settings, settings]) is None
