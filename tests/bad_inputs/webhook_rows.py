"""Bad requests to the webhook: status callbacks, inbound messages and events."""

import json
from collections.abc import Mapping, Sequence
from hashlib import sha1, sha256
from typing import Any, Final
from urllib.parse import urlencode

from tests.bad_inputs.rows import DIGITS, FORM, NUMBER, TEXT, Headers, Request
from tests.webhook.support import PUBLIC, SID, inbound_fields, sign, status_fields

STATUS: Final = "/webhook/status?message_id=order-17"
INBOUND: Final = "/webhook/inbound"
EVENTS: Final = "/webhook/events"
_JSON: Final = "application/json"
_OTHER_ACCOUNT: Final = "AC" + "b" * 32
_UNSIGNED: Final = "does not carry Twilio's valid signature"

Pairs = Sequence[tuple[str, str]]


def _form(
    name: str,
    status: int,
    says: str = "",
    *,
    target: str = STATUS,
    fields: Mapping[str, str] | Pairs = (),
    signed_as: str | None = None,
    headers: Headers = (),
    body: bytes | None = None,
    method: str = "POST",
    content_type: str = FORM,
) -> Request:
    """A form that Twilio has signed; `signed_as` is another signature."""
    pairs = list(fields.items()) if isinstance(fields, Mapping) else list(fields)
    signature = sign(PUBLIC + target, pairs) if signed_as is None else signed_as
    return Request(
        surface=target.partition("?")[0],
        name=name,
        status=status,
        says=says,
        method=method,
        target=target,
        headers=[
            *([("X-Twilio-Signature", signature)] if signature else []),
            *([("Content-Type", content_type)] if content_type else []),
            *headers,
        ],
        body=urlencode(pairs).encode() if body is None else body,
    )


def _status(name: str, says: str, *more: tuple[str, str], **fields: str) -> Request:
    pairs = [*status_fields(**fields).items(), *more]
    return _form(name, 400, says, fields=pairs)


def _inbound(name: str, says: str, *more: tuple[str, str], **fields: str) -> Request:
    pairs = [*inbound_fields(Body=TEXT, **fields).items(), *more]
    return _form(name, 400, says, target=INBOUND, fields=pairs)


def _json(
    name: str,
    status: int,
    document: Any,
    says: str = "",
    *,
    target: str = STATUS,
    hash_of: bytes | None = None,
    more_query: str = "",
    content_type: str = _JSON,
) -> Request:
    """A JSON document that Twilio has signed; `hash_of` is what its hash is taken of instead."""
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    surface = target
    target += "&" if "?" in target else "?"
    target += f"bodySHA256={sha256(body if hash_of is None else hash_of).hexdigest()}{more_query}"
    return Request(
        surface=surface.partition("?")[0],
        name=name,
        status=status,
        says=says,
        target=target,
        headers=[("Content-Type", content_type), ("X-Twilio-Signature", sign(PUBLIC + target))],
        body=body,
    )


_GOOD: Final = status_fields()
_AT: Final = "/webhook/status"

STATUS_ROWS: Final = (
    _form("no message id", 400, "message_id", target=_AT, fields=_GOOD),
    _form("a blank message id", 400, "message_id", target=f"{_AT}?message_id=", fields=_GOOD),
    _form(
        "two message ids", 400, "message_id: is given more than once",
        target=f"{_AT}?message_id=a&message_id={TEXT}", fields=_GOOD,
    ),
    *(
        _form(
            f"a message id with {what}", 400, "message_id: must be 1 to 200 visible ASCII",
            target=f"{_AT}?message_id={value}", fields=_GOOD,
        )
        for what, value in {
            "a space": f"{TEXT}%20x",
            "NUL": f"{TEXT}%00",
            "a line end": f"{TEXT}%0A",
            "an accent": f"{TEXT}%C3%A9",
            "a surrogate": f"{TEXT}%F0%9F%98%80",
            "201 characters": "x" * 201,
        }.items()
    ),
    *(
        _form(
            f"a message id that is the recipient's number {how}", 400,
            "message_id must not contain the recipient's number",
            target=f"{_AT}?message_id={value}", fields=_GOOD,
        )
        for how, value in {
            "": f"%2B1{DIGITS}", "with hyphens": "1-555-867-5309",
            "in a name": f"order-1{DIGITS}",
        }.items()
    ),
    _status("no SID", "MessageSid: ", MessageSid="-", SmsSid="-"),
    _status("a blank SID", "MessageSid: ", MessageSid="", SmsSid="-"),
    _status("a SID that is too short", "MessageSid: ", MessageSid=SID[:-1]),
    _status("a SID that is too long", "MessageSid: ", MessageSid=SID + "b"),
    _status("the SID of a call", "MessageSid: ", MessageSid="CA" + "b" * 32),
    _status("a SID in small letters", "MessageSid: ", MessageSid=SID.lower()),
    _status("a SID with a line end", "MessageSid: ", MessageSid=SID + "\n"),
    _status("a SID with NUL", "MessageSid: ", MessageSid=SID[:-1] + "\0"),
    _status("a SID that is a number", "MessageSid: ", MessageSid=NUMBER),
    _status("two SIDs", "MessageSid: is given more than once", ("MessageSid", SID)),
    _status("two SIDs that differ", "SmsSid must be the same", SmsSid="SM" + "c" * 32),
    _status("no status", "MessageStatus: ", MessageStatus="-"),
    _status("a blank status", "MessageStatus: ", MessageStatus=""),
    _status("a status with a space", "MessageStatus: ", MessageStatus=f"{TEXT} x"),
    _status("a status of 41 characters", "MessageStatus: ", MessageStatus="x" * 41),
    _status("a status with a line end", "MessageStatus: ", MessageStatus="delivered\n"),
    _status("a status with NUL", "MessageStatus: ", MessageStatus="sent\0"),
    _status("a status that is not ASCII", "MessageStatus: ", MessageStatus="dèlivered"),
    _status(
        "two statuses", "MessageStatus: is given more than once", ("MessageStatus", "failed")
    ),
    *(
        _status(f"an error code that is {what}", "ErrorCode: ", ErrorCode=value)
        for what, value in {
            "a word": TEXT,
            "negative": "-1",
            "a phone number": DIGITS,
            "a fraction": "30003.5",
            "hexadecimal": "0x7533",
            "of other digits": "३०००३",
            "very long": "9" * 5_000,
            "with NUL": "30003\0",
        }.items()
    ),
    _status("two error codes", "ErrorCode: is given more than once",
            ("ErrorCode", "30003"), ErrorCode="30004"),
    _form("another account", 403, _UNSIGNED, fields=status_fields(AccountSid=_OTHER_ACCOUNT)),
    _form(
        "another account besides ours", 403, _UNSIGNED,
        fields=[*_GOOD.items(), ("AccountSid", _OTHER_ACCOUNT)],
    ),
)  # fmt: skip

SIGNATURE_ROWS: Final = tuple(
    row
    for target, fields in ((STATUS, _GOOD), (INBOUND, inbound_fields(Body="STOP")))
    for row in (
        _form("no signature", 403, _UNSIGNED, target=target, fields=fields, signed_as=""),
        _form(
            "two signatures", 403, _UNSIGNED, target=target, fields=fields,
            headers=[("X-Twilio-Signature", "x")],
        ),
        _form("a signature of nothing", 403, _UNSIGNED, target=target, fields=fields,
              signed_as="="),
        _form("a signature that is not ASCII", 403, _UNSIGNED, target=target, fields=fields,
              signed_as="\xe9\xff"),
        _form("a long signature", 403, _UNSIGNED, target=target, fields=fields,
              signed_as="x" * 8_000),
        _form("the signature of another token", 403, _UNSIGNED, target=target, fields=fields,
              signed_as=sign(PUBLIC + target, fields, token=TEXT)),
        _form("the signature of another URL", 403, _UNSIGNED, target=target, fields=fields,
              signed_as=sign(f"https://{TEXT}.example{target}", fields)),
        _form("the signature of other fields", 403, _UNSIGNED, target=target, fields=fields,
              signed_as=sign(PUBLIC + target, {**fields, "Body": TEXT})),
        _form("a signature by SHA-256", 403, _UNSIGNED, target=target, fields=fields,
              signed_as=sign(PUBLIC + target, fields, digest=sha256)),
        _form("the signature by SHA-1 as one of a shared key", 403, _UNSIGNED,
              target=target, fields=fields, signed_as=sign(PUBLIC + target, fields, digest=sha1),
              headers=[("X-Twilio-Webhooks-Signature-Settings",
                        f"key={TEXT},algorithm=HMAC_SHA256")]),
        _form("the Host of another", 403, _UNSIGNED, target=target, fields=fields,
              signed_as=sign(f"https://{TEXT}.example{target}", fields),
              headers=[("X-Forwarded-Host", f"{TEXT}.example"), ("X-Forwarded-Proto", "https")]),
        _form("a changed body", 403, _UNSIGNED, target=target, fields=fields,
              body=urlencode({**fields, "Body": TEXT}).encode()),
        _form("an added field", 403, _UNSIGNED, target=target, fields=fields,
              body=urlencode(fields).encode() + b"&x=" + TEXT.encode()),
    )
)  # fmt: skip

_LARGE: Final = b"Body=" + TEXT.encode() * 6_000

BODY_ROWS: Final = tuple(
    row
    for target in (STATUS, INBOUND)
    for row in (
        _form("a multipart form", 403, _UNSIGNED, target=target, fields=_GOOD,
              content_type="multipart/form-data; boundary=x"),
        _form("text", 403, _UNSIGNED, target=target, fields=_GOOD, content_type="text/plain"),
        _form("no content type", 403, _UNSIGNED, target=target, fields=_GOOD, content_type=""),
        _form("a form called JSON", 403, _UNSIGNED, target=target, fields=_GOOD,
              content_type=_JSON),
        _form("more than 65,536 bytes", 413, "larger than 65536 bytes", target=target,
              body=_LARGE),
        _form("more bytes than it says", 413, "larger than 65536 bytes", target=target,
              headers=[("Transfer-Encoding", "chunked")],
              body=b"%x\r\n%s\r\n0\r\n\r\n" % (len(_LARGE), _LARGE)),
        _form("a huge length", 413, "larger than 65536 bytes", target=target, fields=_GOOD,
              headers=[("Content-Length", "9" * 19)]),
        _form("101 fields", 413, "more than 100 fields", target=target,
              fields=[(f"f{number}", TEXT) for number in range(101)]),
        _form("bytes that are not UTF-8", 403, _UNSIGNED, target=target,
              body=b"Body=\xff\xfe" + TEXT.encode()),
        _form("escapes that are not UTF-8", 403, _UNSIGNED, target=target,
              body=b"Body=%ff%fe" + TEXT.encode()),
        *(
            _form(f"the method {method}", 405, "" if method == "HEAD" else "Method Not Allowed",
                  target=target, fields=_GOOD, method=method)
            for method in ("GET", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE", "X-" + TEXT)
        ),
        _json("JSON without its hash", 403, {"a": TEXT}, _UNSIGNED, target=target, hash_of=b""),
        _json("JSON with two hashes", 403, {"a": TEXT}, _UNSIGNED, target=target,
              more_query="&bodySHA256=00"),
        _json("what is not JSON", 400, b"{" + TEXT.encode(), "is not JSON in UTF-8",
              target=target),
        _json("JSON that is not UTF-8", 400, b'{"a": "\xff"}', "is not JSON in UTF-8",
              target=target),
        _json("JSON in UTF-16", 400, f'{{"a": "{TEXT}"}}'.encode("utf-16"),
              "is not JSON in UTF-8", target=target),
        _json("an array", 400, [TEXT], "is not a JSON object", target=target),
        _json("a JSON text", 400, TEXT, "is not a JSON object", target=target),
        _json("nested JSON", 400, {"a": {"b": TEXT}}, "is not a flat JSON object",
              target=target),
        _json("JSON with 101 fields", 400, {f"f{n}": TEXT for n in range(101)},
              "of up to 100 fields", target=target),
        _json("deep JSON", 400, b'{"a":' * 10_000, "is not JSON in UTF-8", target=target),
        _json("JSON with half a character", 400, b'{"a": "\\ud800"}', "half of a surrogate pair",
              target=target),
        _json("JSON with NaN", 400, b'{"a": NaN}', "is not JSON in UTF-8", target=target),
        _json("JSON with a long number", 400, b'{"a": ' + b"9" * 5_000 + b"}",
              "is not JSON in UTF-8", target=target),
        _json("JSON with a field twice", 400,
              b'{"MessageSid": "%s", "MessageSid": "%s"}' % (SID.encode(), TEXT.encode()),
              "MessageSid: is given more than once", target=target),
        _json("JSON without fields", 400, {}, "MessageSid: ", target=target),
    )
)  # fmt: skip

INBOUND_ROWS: Final = (
    _inbound("no SID", "MessageSid: ", MessageSid="-", SmsSid="-", SmsMessageSid="-"),
    _inbound("a SID that is none", "MessageSid: ", MessageSid=TEXT),
    _inbound("two SIDs", "MessageSid: is given more than once", ("MessageSid", SID)),
    _inbound("SIDs that differ", "must be the same as MessageSid", SmsSid="SM" + "c" * 32),
    _inbound("no From", "From: ", From="-"),
    _inbound("a blank From", "From: ", From=""),
    _inbound("a From that is no address", "From: ", From=f"+{TEXT}"),
    _inbound("a From of another channel", "From: ", From=f"pigeon:{NUMBER}"),
    _inbound("a From with NUL", "From: ", From=NUMBER + "\0"),
    _inbound("a From with a line end", "From: ", From=NUMBER + "\n+15551234567"),
    _inbound("a From that is two", "From: ", From=f"{NUMBER},{NUMBER}"),
    _inbound("a long From", "From: ", From="+1" + DIGITS * 1_000),
    _inbound("two Froms", "From: is given more than once", ("From", "+15551234567")),
    _inbound("no To", "To: ", To="-"),
    _inbound("a To that is no address", "To: ", To=f"{TEXT}!"),
    _inbound("two Tos", "To: is given more than once", ("To", "+15551234567")),
    _inbound("two bodies", "Body: is given more than once", ("Body", "STOP")),
    _inbound("two opt-out types", "OptOutType: is given more than once",
             ("OptOutType", "STOP"), OptOutType="START"),
    _inbound("a Messaging Service that is none", "MessagingServiceSid: ",
             MessagingServiceSid=TEXT),
)  # fmt: skip

_EVENT: Final = {
    "specversion": "1.0",
    "type": "com.twilio.messaging.inbound-message.received",
    "source": f"/2010-04-01/Accounts/{'AC' + 'a' * 32}/Messages/{SID}.json",
    "id": "EZ1",
    "time": "2026-11-29T10:00:00Z",
    "data": {"messageSid": SID, "from": NUMBER, "to": "+15005550006", "body": "STOP"},
}


def _event(name: str, **changes: Any) -> Request:
    """A batch that is answered 204, so that Twilio does not repeat it, and does nothing."""
    return _json(name, 204, [{**_EVENT, **changes}], target=EVENTS)


def _data(name: str, **changes: Any) -> Request:
    data = {"messageSid": SID, "from": NUMBER, "to": "+15005550006", "body": "STOP", **changes}
    return _event(name, data={key: value for key, value in data.items() if value is not ...})


EVENT_ROWS: Final = (
    _form("a form", 403, _UNSIGNED, target=EVENTS, fields=inbound_fields(Body="STOP")),
    _json("no hash of the body", 403, [_EVENT], _UNSIGNED, target=EVENTS, hash_of=b""),
    Request(surface=EVENTS, name="no signature", status=403, says=_UNSIGNED, target=EVENTS,
            headers=[("Content-Type", _JSON)], body=json.dumps([_EVENT]).encode()),
    _json("what is not JSON", 400, b"[" + TEXT.encode(), "is not JSON in UTF-8", target=EVENTS),
    _json("deep JSON", 400, b"[" * 100_000, "is not JSON in UTF-8", target=EVENTS),
    _json("not UTF-8", 400, b'["\xff"]', "is not JSON in UTF-8", target=EVENTS),
    _json("more than a megabyte", 413, b"[" + b" " * 1_048_576 + b"]", "larger than",
          target=EVENTS),
    _json("numbers and texts", 204, [1, TEXT, None, [], {}], target=EVENTS),
    _event("a type that is none", type=7),
    _event("no data", data=None),
    _event("data that is a text", data=NUMBER),
    _event("another account", source=f"/2010-04-01/Accounts/{_OTHER_ACCOUNT}/Messages/x"),
    _event("an unknown type", type=f"com.twilio.{TEXT}"),
    _data("no SID", messageSid=...),
    _data("a SID that is none", messageSid=TEXT),
    _data("a SID that is an object", messageSid={"a": TEXT}),
    _data("no sender", **{"from": ...}),
    _data("a sender that is none", **{"from": TEXT}),
    _data("a sender that is a list", **{"from": [NUMBER]}),
    _data("a body that is a number", body=5),
    _data("an account that is a number", accountSid=7),
    _event("a status without its URL", type="com.twilio.messaging.message.delivered",
           data={"messageSid": SID, "messageStatus": "DELIVERED", "to": NUMBER}),
    _event("a status of a message of others", type="com.twilio.messaging.message.delivered",
           data={"messageSid": SID, "messageStatus": "DELIVERED", "to": NUMBER,
                 "statusCallBackUrl": f"https://{TEXT}.example/?message_id=x"}),
    _event("a status whose URL has no id", type="com.twilio.messaging.message.delivered",
           data={"messageSid": SID, "messageStatus": "DELIVERED", "to": NUMBER,
                 "statusCallBackUrl": f"{PUBLIC}/webhook/status?message_id=%00"}),
    _event("a status whose id is the recipient's number",
           type="com.twilio.messaging.message.delivered",
           data={"messageSid": SID, "messageStatus": "DELIVERED", "to": NUMBER,
                 "statusCallBackUrl": f"{PUBLIC}/webhook/status?message_id=1{DIGITS}"}),
    _event("a reassigned number that is none",
           type="com.twilio.messaging.reassigned-number.detected",
           data={"event_id": "a", "to_number": TEXT, "is_reassigned": True}),
    _event("a reassigned number with an id of spaces",
           type="com.twilio.messaging.reassigned-number.detected",
           data={"event_id": TEXT + " ", "to_number": NUMBER, "is_reassigned": True}),
    _event("a reassigned number that is a number",
           type="com.twilio.messaging.reassigned-number.detected",
           data={"event_id": "a", "to_number": 15558675309, "is_reassigned": True}),
    *(
        _form(f"the method {method}", 405, target=EVENTS, method=method)
        for method in ("GET", "PUT")
    ),
)  # fmt: skip

_PATHS: Final = (
    *("/webhook/status/", "/webhook/statuses", "//webhook/status", "/Webhook/Status"),
    *("/webhook/../webhook/status", f"/{TEXT}", "/%00", "/webhook/status%00", "/%ff", "/docs"),
    *("/openapi.json", "/.env"),
)

PATH_ROWS: Final = tuple(
    Request(surface="the webhook's paths", name=path, status=404, says="Not Found", target=path,
            headers=[("Content-Type", FORM)], body=f"Body={TEXT}".encode())
    for path in _PATHS
)  # fmt: skip

WEBHOOK_ROWS: Final = (
    *STATUS_ROWS,
    *SIGNATURE_ROWS,
    *BODY_ROWS,
    *INBOUND_ROWS,
    *EVENT_ROWS,
    *PATH_ROWS,
)
