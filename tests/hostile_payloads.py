"""Start payloads that are meant to do harm: too large, too deep, not what they say they are."""

import json
from typing import Any, Final

from temporalio.api.common.v1 import Payload

TO: Final = "+15558675309"
MANY: Final = 30_000


def plain(document: Any, *, encoding: bytes = b"json/plain") -> Payload:
    """A payload of JSON."""
    data = document if isinstance(document, bytes) else json.dumps(document).encode()
    return Payload(metadata={"encoding": encoding}, data=data)


def _message(**fields: Any) -> Payload:
    return plain({"to": TO, "body": "quiet", **fields})


_GOOD: Final = _message()

STARTS: Final[dict[str, tuple[Payload, ...]]] = {
    "30,000 unknown fields": (_message(**{f"field{n}": n for n in range(MANY)}),),
    "900 unknown fields": (_message(**{f"field{n}": n for n in range(900)}),),
    "60,000 tags": (_message(tags={f"tag{n}": n for n in range(2 * MANY)}),),
    "300,000 media URLs": (_message(media_urls=["x"] * (10 * MANY)),),
    "900 media URLs": (_message(media_urls=["x"] * 900),),
    "500 bad variables": (_message(content_variables={f"v{n}": n for n in range(500)}),),
    "a megabyte of text": (_message(body="x" * 1_000_000),),
    "a megabyte in an unknown field": (_message(colour="x" * 1_000_000),),
    "a long number": (plain(b'{"to": "x", "receipt_timeout_seconds": ' + b"9" * 200_000 + b"}"),),
    "deep arrays": (plain(b'{"to": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"),),
    "deep objects": (plain(b'{"to": ' + b'{"to": ' * 20_000),),
    "arrays as deep as the parser goes": (plain(b'{"to": ' + b"[" * 900 + b"]" * 900 + b"}"),),
    "a name twice": (plain(b'{"to": "+15558675309", "body": "quiet", "body": "quieter"}'),),
    "metadata that is not UTF-8": (plain({}, encoding=b"json/plain\xff"),),
    "a message type that is not UTF-8": (
        Payload(metadata={"encoding": b"json/protobuf", "messageType": b"\xff"}, data=b"{}"),
    ),
    "null with data": (plain(b"{}", encoding=b"binary/null"),),
    "two arguments, one of an unknown encoding": (_GOOD, plain({}, encoding=b"\xff")),
    "20,000 arguments": (plain(1),) * 20_000,
    "a good one and a megabyte": (_GOOD, plain({"x": "x" * 1_000_000})),
    "900 names with half a character": (
        plain(b"{" + b", ".join(b'"\\ud800%d": 1' % n for n in range(900)) + b"}"),
    ),
}
"""What is wrong, and the arguments of a start."""
