"""Bad requests to the operations page and to the codec server."""

import json
from typing import Any, Final
from urllib.parse import quote, urlencode

from tests.bad_inputs.rows import DIGITS, FORM, NUMBER, TEXT, Headers, Request

CODEC_TOKEN: Final = "t" * 40
_PAGE: Final = "the operations page"
_CODEC: Final = "the codec server"
_LONG: Final = "x" * 2_000
_JSON: Final = "application/json"


def _get(name: str, status: int, says: str, path: str, *, is_signed_in: bool = True) -> Request:
    return Request(surface=_PAGE, name=name, status=status, says=says, method="GET", target=path,
                   is_signed_in=is_signed_in)  # fmt: skip


def _post(
    name: str,
    status: int,
    says: str,
    path: str,
    *,
    is_signed_in: bool = True,
    headers: Headers = (("Content-Type", FORM),),
    body: bytes | None = None,
    **fields: str,
) -> Request:
    encoded = urlencode({each.removesuffix("_"): value for each, value in fields.items()})
    return Request(
        surface=_PAGE, name=name, status=status, says=says, target=path, headers=headers,
        body=encoded.encode() if body is None else body, is_signed_in=is_signed_in,
    )  # fmt: skip


def _multipart(name: str, status: int, says: str, file: bytes, **fields: str) -> Request:
    """The form of a new campaign with this file."""
    given = {"from": "+15005550006", "body": TEXT, **fields}
    parts = [
        f'--edge\r\nContent-Disposition: form-data; name="{field}"\r\n\r\n{value}\r\n'.encode()
        for field, value in given.items()
    ]
    head = b'--edge\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\n\r\n'
    return _post(
        name, status, says, "/campaigns/preview",
        headers=[("Content-Type", "multipart/form-data; boundary=edge")],
        body=b"".join(parts) + head + file + b"\r\n--edge--\r\n",
    )  # fmt: skip


_TIMES: Final = {
    "a word": TEXT,
    "a number": DIGITS,
    "no day": "2026-02-30T00:00",
    "before all time": "0001-01-01T00:00:00+23:59",
    "after all time": "9999-12-31T23:59:59-23:59",
    "NUL": "2026-11-29T12:00\0",
}

SIGN_IN_ROWS: Final = (
    _post("a wrong password", 403, "Name or password is wrong", "/sign-in", is_signed_in=False,
          name_=TEXT, password=TEXT),
    _post("a name with NUL", 403, "Name or password is wrong", "/sign-in", is_signed_in=False,
          name_=f"{TEXT}\0", password="x"),
    _post("no fields", 403, "Name or password is wrong", "/sign-in", is_signed_in=False),
    _post("a long password", 400, "", "/sign-in", is_signed_in=False,
          name_="a", password=TEXT * 10_000),
    _post("JSON to sign in", 403, "Name or password is wrong", "/sign-in", is_signed_in=False,
          headers=[("Content-Type", _JSON)], body=b'{"name": "%s"}' % TEXT.encode()),
    _post("a form of another site", 403, "Another site", "/sign-in", is_signed_in=False,
          headers=[("Content-Type", FORM), ("Sec-Fetch-Site", "cross-site")], name_=TEXT),
    _post("a multipart form without its edge", 400, "", "/sign-in", is_signed_in=False,
          headers=[("Content-Type", "multipart/form-data")], body=TEXT.encode()),
    _post("a multipart form that is none", 400, "", "/sign-in", is_signed_in=False,
          headers=[("Content-Type", "multipart/form-data; boundary=x")], body=TEXT.encode()),
    _post("a sign-in that leads elsewhere", 403, 'value="/"', "/sign-in", is_signed_in=False,
          name_="a", password="b", next_=f"https://{TEXT}.example/"),
    _post("a sign-in that leads to no URL", 403, 'value="/"', "/sign-in", is_signed_in=False,
          name_="a", password="b", next_=f"//[{TEXT}"),
    _get("a link that leads to no URL", 200, 'value="/"', f"/sign-in?next=//[{TEXT}",
         is_signed_in=False),
    Request(surface=_PAGE, name="the Host of another", status=400, says="Invalid host header",
            method="GET", target="/sign-in", raw=(
                f"GET /sign-in HTTP/1.1\r\nHost: {TEXT}.example\r\nConnection: close\r\n\r\n"
            ).encode()),
    Request(surface=_PAGE, name="a cookie of nobody", status=303, method="GET",
            target="/messages", headers=[("Cookie", f"signedfor_ops={TEXT}")]),
    Request(surface=_PAGE, name="a cookie with NUL", status=303, method="GET",
            target="/messages", headers=[("Cookie", 'signedfor_ops="\\000x"')]),
    _post("an action without a session", 401, "", "/opt-outs/add", is_signed_in=False,
          recipient=NUMBER),
    *(
        Request(surface=_PAGE, name=f"the method {method} for {path}", status=405, method=method,
                target=path, is_signed_in=True)
        for path in ("/messages", "/opt-outs/add", "/sign-in")
        for method in ("PUT", "DELETE")
    ),
    *(
        Request(surface=_PAGE, name=f"the path {path}", status=404, method="GET", target=path,
                is_signed_in=True)
        for path in (f"/{TEXT}", "/%00", "/static/../../pyproject.toml", "/static/%2e%2e/app.py",
                     f"/static/{TEXT}", "/static/%00")
    ),
)  # fmt: skip

QUERY_ROWS: Final = (
    *(
        _get(f"{path} {field} that is {what}", 400, field, f"{path}?{field}={quote(value)}")
        for path, field in (("/messages", "since"), ("/messages", "before"), ("/opt-outs", "since"),
                            ("/opt-outs/inbound", "since"))
        for what, value in _TIMES.items()
    ),
    *(
        _get(f"a code that is {what}", 400, "The code must be a number", f"/messages?code={value}")
        for what, value in {"a word": TEXT, "long": "9" * 30, "negative": "-1",
                            "other digits": "%D9%A3"}.items()
    ),
    *(
        _get(f"messages whose {field} has NUL", 400, f"The field {field} has a NUL",
             f"/messages?{field}={TEXT}%00")
        for field in ("id", "sid", "sender", "tenant", "campaign", "person", "status")
    ),
    *(
        _get(f"an opt-out's {field} that is none", 400, f"The {field} must be one of",
             f"/opt-outs?{field}={TEXT}")
        for field in ("reason", "scope", "source")
    ),
    _get("opt-outs before a word", 400, "must be the number of a row", f"/opt-outs?before={TEXT}"),
    _get("opt-outs before a long number", 400, "must be the number of a row",
         "/opt-outs?before=" + "9" * 30),
    _get("opt-outs of a sender with NUL", 400, "The field sender has a NUL",
         f"/opt-outs?sender={TEXT}%00"),
    _get("a kind of inbound message that is none", 400, "The kind must be one of",
         f"/opt-outs/inbound?kind={TEXT}"),
    _get("inbound messages after NUL", 400, "The field after has a NUL",
         f"/opt-outs/inbound?after={TEXT}%00"),
    _get("a person who is none", 404, "no such person", f"/opt-outs/person?person={TEXT}"),
    _get("a person with NUL", 400, "The field person has a NUL",
         f"/opt-outs/person?person={TEXT}%00"),
    _get("a person with other letters", 404, "no such person", "/opt-outs/person?person=%C3%A9"),
    *(
        _get(f"{what} that is {how}", 404, "There is no", f"{path}?id={quote(value, safe=chr(37))}")
        for what, path in {
            "a message": "/message", "a dead letter": "/dead-letter", "a job": "/dead-letters/job",
        }.items()
        for how, value in {"a number": NUMBER, "a number without a plus": "1-555-867-5309",
                           "an address": f"whatsapp:{NUMBER}", "blank": "", "long": _LONG,
                           "a text": f"{TEXT} x", "not ASCII": f"%C3%A9{TEXT}"}.items()
    ),
    *(
        _get(f"a campaign that is {how}", status, says, f"/campaign?id={value}")
        for how, status, says, value in (
            ("none", 404, "There is no campaign", "x"),
            ("blank", 400, "Campaign", ""),
            ("long", 400, "Campaign", _LONG),
            ("with NUL", 400, "The field id has a NUL", f"{TEXT}%00"),
            ("not ASCII", 400, "Campaign", "%C3%A9"),
        )
    ),
    *(
        _get(f"dead letters with a {field} of {what}", 400, field,
             f"/dead-letters?{field}={quote(value)}")
        for field, what, value in (
            ("error_code", "letters", TEXT),
            ("error_code", "31 digits", "9" * 31),
            ("failure_class", "no class", TEXT),
            ("tenant", "a number", NUMBER),
            ("tenant", "quotes", "' OR 1=1 --"),
            ("sender", "quotes", "' OR 1=1 --"),
            ("campaign_id", "NUL", f"{TEXT}\0"),
        )
    ),
    *(
        _get(f"the audit log with a {field} with NUL", 400, f"The field {field} has a NUL",
             f"/audit-log?{field}={TEXT}%00")
        for field in ("who", "action", "person")
    ),
    *(
        _get(f"the audit log before {what}", 400, "must be the number",
             f"/audit-log?before={value}")
        for what, value in {"a word": TEXT, "a long number": "9" * 30,
                            "a small two": "%C2%B2"}.items()
    ),
)  # fmt: skip

_JOB: Final = {
    "resolution": {"action": "retry", "by": "x"},
    "selection": {
        "clause": "NoAttribute = 'x' OR (",
        "opened_from": "2026-11-29T00:00:00Z",
        "opened_until": "2026-11-29T00:00:00Z",
    },
    "selected": 1,
}

ACTION_ROWS: Final = (
    _post("a form without the token", 403, "not from your session", "/opt-outs/add",
          recipient=NUMBER, csrf_token=TEXT,
          headers=[("Content-Type", FORM), ("X-CSRF-Token", "x")]),
    _post("101 fields", 400, "", "/opt-outs/add",
          body=urlencode({f"f{n}": TEXT for n in range(101)}).encode()),
    _post("a field that is too large", 400, "", "/opt-outs/add", evidence=TEXT * 6_000),
    _post("a form that is too large", 413, "The form is too large", "/opt-outs/add",
          body=urlencode({f"f{n}": "x" * 60_000 for n in range(20)}).encode()),
    _post("an opt-out of nobody", 400, "Phone number", "/opt-outs/add", evidence=TEXT),
    *(
        _post(f"an opt-out of {what}", 400, "Phone number", "/opt-outs/add",
              recipient=value, evidence=TEXT)
        for what, value in {
            "a word": TEXT, "two": f"{NUMBER},{NUMBER}", "a number with letters": NUMBER + "x",
            "a short number": "+155", "a long number": "+1" + DIGITS * 3, "a name": TEXT[:11],
        }.items()
    ),
    _post("an opt-out whose evidence has the number", 400, "Evidence", "/opt-outs/add",
          recipient=NUMBER, evidence=f"called {DIGITS}"),
    _post("an opt-out whose evidence has NUL", 400, "The field evidence has a NUL", "/opt-outs/add",
          recipient=NUMBER, evidence=f"{TEXT}\0"),
    _post("an opt-out for no reason", 400, "The reason must be one of", "/opt-outs/add",
          recipient=NUMBER, evidence="x", reason=TEXT),
    _post("an opt-out from no sender", 400, "Only from", "/opt-outs/add",
          recipient=NUMBER, evidence="x", sender=f"{TEXT}!"),
    _post("an opt-out of no category", 400, "Only of the category", "/opt-outs/add",
          recipient=NUMBER, evidence="x", category=f"{TEXT} x"),
    _post("a search for a word", 400, "Phone number", "/opt-outs/search", recipient=TEXT),
    _post("a search for messages to a word", 400, "The number", "/messages/search", to=TEXT),
    _post("a search for messages to a short word", 400, "The number", "/messages/search",
          to=TEXT[:3]),
    _post("lifting of nobody", 404, "no such person", "/opt-outs/remove", person=TEXT),
    _post("revealing nobody", 404, "no such person", "/opt-outs/person/reveal", person=TEXT),
    _post("a review without an answer", 400, "Say whether", "/opt-outs/reviews/decide",
          message_sid=TEXT),
    _post("a review of no message", 404, "no such message", "/opt-outs/reviews/decide",
          message_sid=TEXT, is_opt_out="yes"),
    _post("a review of NUL", 400, "The field message_sid has a NUL", "/opt-outs/reviews/decide",
          message_sid=f"{TEXT}\0", is_opt_out="yes"),
    *(
        _post(f"a {action} for {what}", 404, "never been used or configured", f"/senders/{action}",
              sender=value, rate="1")
        for action in ("pause", "resume", "rate")
        for what, value in {"no sender": TEXT, "two": f"{TEXT},{TEXT}"}.items()
    ),
    *(
        _post(f"a rate of {what}", 400, "The rate must be a number", "/senders/rate",
              sender="+15005550006", rate=value)
        for what, value in {"a word": TEXT, "zero": "0", "minus one": "-1", "NaN": "nan",
                            "infinity": "inf", "a long number": "9" * 400}.items()
    ),
    *(
        _post(f"canceling {what}", 404, "There is no such message", "/message/cancel", id=value,
              why="x")
        for what, value in {"no message": NUMBER, "a blank id": "", "a long id": _LONG,
                            "an id with spaces": f"{TEXT} x"}.items()
    ),
    _post("revealing no message", 404, "There is no such message", "/message/reveal", id=NUMBER),
    _post("an action that is none", 400, "action", "/dead-letter/resolve", id="x", action=TEXT),
    _post("a retry of no dead letter", 404, "There is no such dead letter", "/dead-letter/resolve",
          id=NUMBER, action="retry"),
    _post("a retry to a word", 400, "to: ", "/dead-letter/resolve", id="x", action="retry",
          to=TEXT),
    _post("a long note", 400, "note: ", "/dead-letter/resolve", id="x", action="discard",
          why=TEXT * 1_000),
    _post("a preview of no action", 400, "action", "/dead-letters/preview", action=TEXT),
    _post("a job that is no JSON", 400, "not complete", "/dead-letters/start", job=TEXT),
    _post("a job without fields", 400, "not complete", "/dead-letters/start", job="{}"),
    _post("a job with a bad query", 400, "Temporal cannot use", "/dead-letters/count",
          job=json.dumps(_JOB),
          counts="{}", page_token=""),
    _post("a page that is none", 400, "not complete", "/dead-letters/count", job=json.dumps(_JOB),
          counts="{}", page_token=TEXT + "!"),
    _post("stopping no job", 404, "There is no such job", "/dead-letters/stop", id=NUMBER),
    _post("starting no campaign", 400, "Campaign ID", "/campaigns/start", id=f"{TEXT} x"),
    _post("starting a file that is gone", 409, "not kept any more", "/campaigns/start",
          id="spring", upload=TEXT),
    _post("starting a file with NUL", 400, "The field upload has a NUL", "/campaigns/start",
          id="spring", upload=f"{TEXT}\0"),
    _post("discarding no file", 409, "not kept any more", "/campaigns/discard", upload=TEXT),
    _post("a campaign without a file", 400, "File", "/campaigns/preview", body_=TEXT),
    _multipart("an empty file", 400, "File", b""),
    _multipart("a file in UTF-16", 400, "UTF-16", f"to\n{NUMBER}\n".encode("utf-16")),
    _multipart("a workbook", 400, "workbook", b"PK\x03\x04" + TEXT.encode()),
    _multipart("a file without the column", 400, "no column", f"phone\n{NUMBER}\n".encode()),
    _multipart("a file with bad rows", 400, 'data-label="Line">2<', f"to\n{TEXT}\n".encode()),
    _multipart("a campaign from no sender", 400, "Sender", f"to\n{NUMBER}\n".encode(),
               **{"from": f"{TEXT}!"}),
    _multipart("a campaign with a column that is missing", 400, "Text",
               f"to\n{NUMBER}\n".encode(), body=f"{{missing}} {TEXT}"),
    _multipart("a campaign with a bad id", 400, "Campaign ID", f"to\n{NUMBER}\n".encode(),
               id=f"{TEXT} x"),
    _multipart("a campaign with a bad time", 400, "Expires", f"to\n{NUMBER}\n".encode(),
               expires_at=TEXT),
    _multipart("a campaign with a bad window", 400, "Send window", f"to\n{NUMBER}\n".encode(),
               opens=TEXT),
    _multipart("a campaign with a bad time zone", 400, "Time zone", f"to\n{NUMBER}\n".encode(),
               opens="09:00", closes="20:00", time_zone=TEXT),
    _multipart("a campaign with bad tags", 400, "Tags", f"to\n{NUMBER}\n".encode(), tags=TEXT),
    _multipart("a campaign with a bad price", 400, "Price", f"to\n{NUMBER}\n".encode(),
               price=TEXT),
    _multipart("a campaign with bad media", 400, "Media", f"to\n{NUMBER}\n".encode(),
               media_urls=f"ftp://{TEXT}.example/a.png"),
)  # fmt: skip


def _codec(
    name: str,
    status: int,
    says: str,
    document: Any,
    *,
    target: str = "/decode",
    method: str = "POST",
    headers: Headers = (),
    token: str = CODEC_TOKEN,
) -> Request:
    return Request(
        surface=_CODEC, name=name, status=status, says=says, method=method, target=target,
        headers=[("Content-Type", _JSON), ("Authorization", f"Bearer {token}"), *headers],
        body=document if isinstance(document, bytes) else json.dumps(document).encode(),
    )  # fmt: skip


_NOT_PAYLOADS: Final = "is not Payloads in Protocol Buffers' JSON"

CODEC_ROWS: Final = (
    _codec("a wrong token", 401, "missing or wrong", {"a": TEXT}, token=TEXT),
    _codec("a token that is not ASCII", 401, "missing or wrong", {"a": TEXT}, token="\xe9"),
    _codec("a token in the path that is wrong", 401, "missing or wrong", {"a": TEXT},
           target=f"/{TEXT}/decode", token="x"),
    _codec("another page", 403, "Only the page at TEMPORAL_UI_URL", {},
           headers=[("Origin", f"https://{TEXT}.example")]),
    *(
        _codec(f"the method {method}", 405, "Method Not Allowed", {"a": TEXT}, method=method)
        for method in ("GET", "PUT", "DELETE")
    ),
    *(
        _codec(f"the path {path}", 404, "Not Found", {"a": TEXT}, target=path)
        for path in (f"/{TEXT}", "/decode/x/y", "/%00")
    ),
    *(
        _codec(what, 400, _NOT_PAYLOADS, document)
        for what, document in {
            "what is not JSON": b"{" + TEXT.encode(),
            "nothing": b"",
            "an array": [TEXT],
            "a text": TEXT,
            "payloads that are a text": {"payloads": TEXT},
            "payloads of texts": {"payloads": [TEXT]},
            "metadata that is no base64": {"payloads": [{"metadata": {TEXT: "a"}}]},
            "data that is a number": {"payloads": [{"data": 5558675309}]},
            "deep JSON": b'{"payloads":' * 10_000,
            "not UTF-8": b'{"payloads": "\xff"}',
            "UTF-16": f'{{"a": "{TEXT}"}}'.encode("utf-16"),
        }.items()
    ),
    _codec("5,001 payloads", 413, "more than 5000 payloads", {"payloads": [{}] * 5_001}),
    _codec("more than 16 MiB", 413, "larger than", b" " * ((16 << 20) + 1)),
    _codec("a long namespace", 400, "X-Namespace", {}, headers=[("X-Namespace", TEXT * 100)]),
    _codec("a namespace with a tab", 400, "X-Namespace", {},
           headers=[("X-Namespace", f"{TEXT}\tx")]),
)  # fmt: skip

PAGE_ROWS: Final = (*SIGN_IN_ROWS, *QUERY_ROWS, *ACTION_ROWS, *CODEC_ROWS)
